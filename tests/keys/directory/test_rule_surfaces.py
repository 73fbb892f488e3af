"""Group rules by page, API and command."""

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from keys.actions import organisations
from keys.models import GroupRule
from tests.keys.api.callers import API, program, refused
from tests.keys.people import signed_in

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]
PAGE = "/admin/group-rules/"


@pytest.fixture
def acme(db):
    return organisations.create_organisation(slug="acme")


def by_command(*arguments: str):
    told = StringIO()
    call_command("group_rules", "--json", *arguments, stdout=told)
    return json.loads(told.getvalue())


def test_the_page_adds_shows_and_removes(alice, acme):
    sent = {"group": "Modellers", "role": "owner", "organisation": "acme", "directory": ""}
    assert alice.post(PAGE, {**sent, "role": "auditor"}).status_code == 200  # in staff, not in acme
    assert alice.post(PAGE, {**sent, "organisation": "none"}).status_code == 200
    assert alice.post(PAGE, sent).status_code == 303

    rule = GroupRule.objects.get()
    assert (rule.group, rule.role, rule.organisation) == ("Modellers", "owner", acme)
    assert "Modellers" in alice.get(PAGE).content.decode()
    alice.post(f"{PAGE}{rule.pk}/remove/")
    assert not GroupRule.objects.exists()


def test_the_api_adds_lists_and_removes(cast, acme):
    caller, dora = program(cast["alice"], "portal:admin"), program(cast["dora"], "portal:admin")
    sent = {"group": "Modellers", "role": "member", "organisation": "acme"}
    made = caller.post("/group-rules", sent)
    assert (made.status_code, made.json()["directory"]) == (201, "shared")
    refused(caller.post("/group-rules", sent), 409, "not_possible")
    refused(caller.post("/group-rules", {"group": "x", "role": "key_admin"}), 403, "not_granted")
    refused(caller.post("/group-rules", {**sent, "organisation": "none"}), 400, "bad_value")
    assert caller.get("/group-rules").json()["results"] == [made.json()]
    assert dora.get("/group-rules").json()["results"] == []

    address = f"/group-rules/{made.json()['id']}/remove"
    refused(dora.post(address), 404, "not_found")
    assert caller.post(address).status_code == 200
    refused(caller.post(address), 404, "not_found")


def test_an_owner_manages_the_rules_of_the_own_directory(cast, acme):
    organisations.add_member(organisation=acme, user=cast["dora"], role="owner")
    dora = signed_in(cast["dora"])
    sent = {"group": "all", "role": "member", "organisation": "acme", "directory": "acme"}

    made = dora.post(f"{API}/group-rules", sent, content_type="application/json")

    assert made.status_code == 201, made.json()
    assert len(dora.get(f"{API}/group-rules").json()["results"]) == 1


def test_the_command_adds_lists_and_removes(acme):
    (made,) = by_command("--add", "Audit", "--role", "auditor")
    assert (made["group"], made["organisation"]) == ("Audit", None)
    assert by_command() == [made]
    (of_acme,) = by_command("--add", "All", "--role", "member", "--organisation", "acme")
    assert by_command("--organisation", "acme") == [of_acme]
    assert by_command("--directory", "shared") == [of_acme, made]
    with pytest.raises(CommandError, match="organisation list shows them all"):
        by_command("--organisation", "none")
    with pytest.raises(CommandError, match="a rule grants in staff one of auditor, key_admin"):
        by_command("--add", "Audit", "--role", "superuser")
    assert by_command("--remove", made["id"]) == [of_acme]
    with pytest.raises(CommandError, match="there is no rule"):
        by_command("--remove", made["id"])
