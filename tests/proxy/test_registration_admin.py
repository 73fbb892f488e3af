"""The ledger's pages: for reading, and what is read is what was written."""

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from keys import actions
from keys.models import User
from tests.proxy.ledger_rows import pending, row

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]

LEDGER = "/admin/proxy/registration/"


@pytest.fixture
def key():
    return actions.issue(owner=User.objects.create_user("alice"), name="training")[0]


@pytest.fixture
def auditor() -> Client:
    """May look at everything and has every other permission on the ledger too."""
    user = User.objects.create_user("audrey", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(content_type__model="registration"))
    client = Client()
    client.force_login(user)
    return client


def test_the_list_says_who_did_what_and_what_came_of_it(key, auditor, django_assert_max_num_queries):
    row(key, "registered-models.create", "vision")
    row(key, "registered-models.create", "vision", "refused_by_mlflow")
    pending(None, "model-versions.set-tag", "vision", version="1")

    with django_assert_max_num_queries(8):  # session, user, permissions, one page of rows
        page = auditor.get(LEDGER).content.decode()

    for text in ("vision", "alice", "training", "Done", "Refused by MLflow", "Pending", "unknown"):
        assert text in page
    assert auditor.get(LEDGER, {"q": "vision"}).status_code == 200
    assert "alice" not in auditor.get(LEDGER, {"q": "vis"}).content.decode()


def test_a_row_shows_its_tags_as_text_and_how_the_rules_find_them(key, auditor):
    tags = {"hokusai_token_id": "<b>-", "benchmark_metric": "accuracy"}
    version = row(key, "model-versions.create", "vision", version="1", tags=tags)
    row(key, "model-versions.set-tag", "vision", version="1", tags={"hokusai_token_id": "abc"})

    page = auditor.get(f"{LEDGER}{version.pk}/change/").content.decode()

    assert "&lt;b&gt;-" in page
    assert "<b>-" not in page
    assert "missing; benchmark_value is missing" in page
    assert version.hash in page


def test_nobody_changes_or_deletes_a_row(key, auditor):
    found = row(key, "registered-models.create", "vision")

    assert auditor.get(f"{LEDGER}add/").status_code == 403
    assert auditor.post(f"{LEDGER}{found.pk}/change/", {"source": "x"}).status_code == 403
    assert auditor.post(f"{LEDGER}{found.pk}/delete/", {"post": "yes"}).status_code == 403
    assert (
        auditor.post(LEDGER, {"action": "delete_selected", "_selected_action": found.pk}).status_code != 500
    )
    found.refresh_from_db()
    assert found.source == ""
