"""What an organisation has made: maintainers hand it over within the organisation, owners download the records."""

import csv
import io
import json

import pytest
from django.core.management import CommandError, call_command

from keys import actions
from keys.actions import organisations
from keys.models import Organisation, User
from proxy.lists import parquet
from proxy.models import Owner
from tests.keys.api.callers import program, refused
from tests.keys.people import call, signed_in
from tests.portal.account.test_usage import total
from tests.proxy.ledger_rows import row

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]
LAB = "/account/organisations/lab/"


@pytest.fixture
def lab() -> Organisation:
    """Olga owns it, max maintains it, mia is a member with a run in it and a run elsewhere; eve is in another one."""
    lab, clinic = (organisations.create_organisation(slug=slug) for slug in ("lab", "clinic"))
    for name, role in (("olga", "owner"), ("max", "maintainer"), ("mia", "member")):
        organisations.add_member(organisation=lab, user=User.objects.create_user(name), role=role)
    mia, eve = User.objects.get(username="mia"), User.objects.create_user("eve")
    for user in (mia, eve):
        organisations.add_member(organisation=clinic, user=user, role="owner")
    for organisation, name in ((lab, "here"), (clinic, "there")):
        Owner.objects.create(environment="live", organisation=organisation, kind="run", name=name, user=mia)
        key = actions.issue(owner=mia, name=name, organisation=organisation)[0]
        call(key, organisation.pk, organisation=organisation, object_name=name)
        row(key, "registered-models.create", name, organisation=organisation)
        total(key, organisation=organisation, calls=7)
    return lab


def user(name: str) -> User:
    return User.objects.get(username=name)


def owners() -> dict[str, str]:
    return dict(Owner.objects.values_list("name", "user__username"))


class TestHandOver:
    @pytest.mark.parametrize(("name", "status"), [("olga", 200), ("max", 200), ("mia", 404), ("eve", 404)])
    def test_maintainers_hand_over_what_is_in_their_organisation(self, lab, name, status):
        client, page = signed_in(user(name)), f"{LAB}hand-over/"
        answers = {"giver": user("mia").public_id, "taker": user("max").public_id}

        asked = client.post(page, answers)
        assert asked.status_code == status
        if status == 200:
            assert "Hand over 1 object of mia to max" in asked.content.decode()
        assert owners() == {"here": "mia", "there": "mia"}
        client.post(page, {**answers, "confirmed": "yes"})
        assert owners() == {"here": "max" if status == 200 else "mia", "there": "mia"}

    @pytest.mark.parametrize(("giver", "taker"), [("mia", "eve"), ("max", "olga"), ("mia", "mia")])
    def test_only_owners_give_and_only_other_members_take(self, lab, giver, taker):
        answers = {"giver": user(giver).public_id, "taker": user(taker).public_id, "confirmed": "yes"}

        response = signed_in(user("max")).post(f"{LAB}hand-over/", answers)

        assert response.context["form"].errors
        assert owners() == {"here": "mia", "there": "mia"}

    def test_what_a_former_member_owns_can_be_handed_over(self, lab):
        organisations.remove_member(membership=lab.memberships.get(user=user("mia")))

        call_command("hand_over", "mia", "max", "--organisation", "lab", "--json")

        assert owners() == {"here": "max", "there": "mia"}
        with pytest.raises(CommandError, match="eve is not an active member of lab"):
            call_command("hand_over", "max", "eve", "--organisation", "lab")

    def test_the_api_asks_for_the_role_too(self, lab):
        def sent(name: str):
            client = program(
                user(name), "portal:admin", organisation=user(name).memberships.first().organisation
            )
            return client.post("/organisations/lab/hand-over", {"giver": "mia", "to": "max"})

        assert sent("eve").status_code == 404
        refused(sent("mia"), 403, "not_granted")
        assert sent("max").json() == {"objects": 1}


class TestDownload:
    @pytest.mark.parametrize("what", ["calls", "registrations", "usage"])
    def test_owners_get_all_of_their_organisation_and_nothing_else(self, lab, what):
        statuses = {
            name: signed_in(user(name)).get(f"{LAB}{what}/download.csv").status_code
            for name in ("olga", "max", "mia", "eve")
        }
        assert statuses == {"olga": 200, "max": 404, "mia": 404, "eve": 404}
        response = signed_in(user("olga")).get(f"{LAB}{what}/download.csv")
        rows = list(csv.DictReader(io.StringIO(b"".join(response.streaming_content).decode())))
        assert [(each["organisation"], each["user"], each["key"]) for each in rows] == [
            ("lab", "mia", "here")
        ]
        assert f"lab-{what}-" in response["Content-Disposition"]
        lines = b"".join(signed_in(user("olga")).get(f"{LAB}{what}/download.jsonl").streaming_content)
        assert json.loads(lines)["organisation"] == "lab"

    def test_they_have_the_forms_of_the_exports_of_staff(self, lab):
        client = signed_in(user("olga"))
        statuses = {
            what: client.get(f"{LAB}{what}/download.parquet").status_code for what in ("calls", "usage")
        }

        assert set(statuses.values()) == {200 if parquet.is_available() else 404}
        assert client.get(f"{LAB}registrations/download.parquet").status_code == 404
        text = client.get(LAB).content.decode()
        assert 'aria-label="Registrations as JSON Lines"' in text
        assert "Download everything" not in signed_in(user("max")).get(LAB).content.decode()
