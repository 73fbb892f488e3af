"""The organisation of keys, prepared keys and requests, in the API, the pages and the commands."""

import json

import pytest
from django.core.management import call_command

from keys.actions import collecting, organisations, requests
from keys.models import ApiKey, Organisation, PreparedKey
from tests.keys.api.callers import refused
from tests.keys.people import by, filled, page_of, signed_in

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]
NEW = {"user": "dora", "name": "training", "expires_in": "90d"}


@pytest.fixture
def lab(cast) -> Organisation:
    """Dora is in two organisations."""
    for slug in ("lab", "clinic"):
        made = organisations.create_organisation(slug=slug)
        organisations.add_member(organisation=made, user=cast["dora"])
    return Organisation.objects.get(slug="lab")


class TestApi:
    def test_issues_a_key_in_the_organisation_that_is_sent(self, alice, lab):
        issued = alice.post("/keys", {**NEW, "organisation": "lab", "only_own": True}).json()

        assert (issued["organisation"], issued["only_own"]) == ("lab", True)
        assert ApiKey.objects.get(public_id=issued["id"]).organisation == lab
        assert [key["id"] for key in alice.get("/keys?organisation=lab").json()["results"]] == [issued["id"]]
        assert alice.get("/keys?organisation=clinic").json()["results"] == []

    @pytest.mark.parametrize(
        ("sent", "status", "reason", "words"),
        [
            ({}, 409, "not_possible", "in several organisations (clinic, lab)"),
            ({"organisation": "shared"}, 409, "not_possible", "not a member of shared"),
            ({"organisation": "hospital"}, 400, "bad_value", "no organisation"),
            ({"organisation": 7}, 400, "bad_value", "Send a string"),
        ],
    )
    def test_says_which_organisations_are_possible(self, alice, lab, sent, status, reason, words):
        answer = refused(alice.post("/keys", {**NEW, **sent}), status, reason)

        assert words in json.dumps(answer, ensure_ascii=False)

    def test_a_prepared_key_and_a_request_name_theirs(self, alice, cast, lab):
        prepared = alice.post("/prepared-keys", {**NEW, "organisation": "lab"}).json()
        row = PreparedKey.objects.get(public_id=prepared["id"])
        key, _ = collecting.collect(prepared=row, actor=by(cast["dora"]))

        assert (prepared["organisation"], key.organisation) == ("lab", lab)
        made = requests.request(
            kind="new",
            name="more",
            scopes=["tracking:read"],
            days=9,
            organisation=lab,
            actor=by(cast["dora"]),
        )
        assert alice.get("/key-requests").json()["results"][0]["organisation"] == "lab"
        assert requests.approve(request=made)[0].prepared.organisation == lab


class TestPages:
    def test_the_form_to_issue_offers_it(self, cast, lab):
        client = signed_in(cast["alice"])
        answers = filled(client, cast["dora"], organisation=str(lab.pk), only_own="on", delivery="show")

        assert client.post("/admin/keys/apikey/add/", answers).status_code == 200
        key = ApiKey.objects.get(name="laptop")
        assert (key.organisation, key.only_own) == (lab, True)
        assert "lab" in client.get(page_of(key)).content.decode()
        assert list(client.get("/admin/keys/apikey/?organisation=lab").context["cl"].queryset) == [key]

    def test_a_holder_in_several_organisations_chooses_one(self, cast, lab, settings):
        settings.SELF_SERVICE = True
        client = signed_in(cast["dora"])
        form = client.get("/account/keys/issue/").context["form"]
        answers = {
            "name": "own",
            "preset": "reader",
            "days": str(form["days"].initial),
            "environment": "live",
        }
        answers["form_id"] = form["form_id"].value()

        assert "organisation" in client.post("/account/keys/issue/", answers).context["form"].errors
        client.post("/account/keys/issue/", {**answers, "organisation": "lab"})
        key = ApiKey.objects.get(name="own")
        assert key.organisation == lab
        assert "(<code>lab</code>)" in client.get(f"/account/keys/{key.public_id}/").content.decode()


def test_commands_issue_list_and_narrow_a_key(cast, lab, capsys):
    call_command("issue_key", "--user", "dora", "--name", "n", "--organisation", "lab", "--json")
    issued = json.loads(capsys.readouterr().out)
    call_command("change_key", issued["id"], "--only-own", "--json")
    changed = json.loads(capsys.readouterr().out)
    call_command("list_keys", "--organisation", "lab", "--json")
    listed = json.loads(capsys.readouterr().out)

    assert (issued["only_own"], changed["only_own"]) == (False, True)
    assert [key["id"] for key in listed] == [issued["id"]]
    event = ApiKey.objects.get().events.first()
    assert event.detail["after"] == {"only_own": True}
