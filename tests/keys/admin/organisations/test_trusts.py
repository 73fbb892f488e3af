"""The trusts of all organisations: the same rows on the page, in the file, over the API and by command."""

import io
from urllib.parse import parse_qsl

import pytest
from django.core.management import call_command

from keys import actions
from keys.actions.actor import COMMAND
from keys.models import Organisation, Trust, User
from keys.organisations.trusts import create_trust
from tests.keys.trusts import FIELDS, client_of, make_trust

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]


@pytest.fixture
def trust(db) -> Trust:
    return make_trust()


def test_staff_list_the_trusts_of_all_organisations(trust, alice):
    shared = Organisation.objects.get(slug="shared")
    fields = {**FIELDS, "issuer": "https://k8s.example", "owner": User.objects.get(username="dora")}
    ours = create_trust(organisation=shared, name="cluster", actor=COMMAND, **fields)
    actions.pause(key=ours.key)

    def named(filters: str) -> list[set[str]]:
        """Which of the two each of page, file, API and command lists."""
        told, options = io.StringIO(), dict(parse_qsl(filters))
        call_command("trusts", *filter(None, [options.pop("organisation", None)]), **options, stdout=told)
        texts = [
            alice.get(f"/admin/keys/trust/?{filters}").content.decode().partition("result_list")[2],
            b"".join(alice.get(f"/admin/keys/trust/export/?{filters}").streaming_content).decode(),
            str(alice.get(f"/api/v1/trusts?{filters}").json()["results"]),
            told.getvalue(),
        ]
        return [{name for name in ("nightly", "cluster") if name in text} for text in texts]

    assert named("") == [{"nightly", "cluster"}] * 4
    assert named("organisation=lab") == [{"nightly"}] * 4
    assert named("state=paused") == [{"cluster"}] * 4
    assert named("issuer=https://k8s.example") == [{"cluster"}] * 4
    page = alice.get(f"/admin/keys/trust/{trust.pk}/change/")
    assert page.url == f"/admin/keys/apikey/{trust.key_id}/change/"
    listed = [client_of(name).get("/api/v1/trusts").json()["results"] for name in ("max", "mia")]
    assert [[each["name"] for each in trusts] for trusts in listed] == [["nightly"], []]
