"""With ISOLATION=off, every page states that reads are shared; with workspaces, none does."""

import pytest
from django.template.loader import render_to_string

from keys.models import Organisation, User

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]
WORDS = "Reads are shared"
PAGES = ("/", "/docs/", "/docs/quickstart/", "/account/", "/account/usage/", "/admin/", "/admin/keys/apikey/")
PAGES += ("/api/v1/docs/", "/account/no-such-page/")


@pytest.mark.parametrize("isolation", ["off", "required"])
def test_every_page_states_that_reads_are_shared(alice, settings, isolation):
    settings.ISOLATION = isolation
    found = {
        address: WORDS in alice.get(address, follow=True, headers={"accept": "text/html"}).content.decode()
        for address in PAGES
    }
    bar = {"user": User(username="alice"), "organisation": Organisation.objects.shared(), "organisations": []}
    found["MLflow's pages"] = WORDS in render_to_string("mlflow_bar.html", bar)

    assert found == dict.fromkeys(found, isolation == "off")
