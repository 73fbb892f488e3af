"""Organisations over the management API, by role; for others, an organisation does not exist."""

import pytest

from keys.actions import organisations
from keys.models import ApiKey, Membership, Organisation, User
from keys.rights.scopes import Scope
from tests.keys.api.callers import program, refused

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]


@pytest.fixture
def lab(cast) -> Organisation:
    return organisations.create_organisation(slug="lab", name="The Lab")


def member(lab: Organisation, name: str, role: str):
    user, _ = User.objects.get_or_create(username=name)
    organisations.add_member(organisation=lab, user=user, role=role)
    return program(user, Scope.PORTAL_ADMIN, organisation=lab)


def test_staff_create_change_and_close_one(alice, cast):
    made = alice.post("/organisations", {"slug": "lab", "name": "The Lab"})
    alice.post("/organisations/lab/add-member", {"user": "dora", "role": "owner"})
    changed = alice.patch("/organisations/lab", {"monthly_requests": 5000}).json()
    key = program(cast["dora"], organisation=Organisation.objects.get(slug="lab")).key

    assert made.status_code == 201
    assert changed["monthly_requests"] == 5000
    assert [(each["user"], each["role"]) for each in changed["members"]] == [("dora", "owner")]
    assert alice.post("/organisations/lab/close").json()["closed_at"]
    assert ApiKey.objects.get(pk=key.pk).revoked_at
    refused(alice.post("/organisations", {"slug": "lab"}), 409, "not_possible")
    refused(alice.post("/organisations", {"slug": "Workspaces"}), 409, "not_possible")


def test_it_does_not_exist_for_people_of_another_organisation(lab, cast):
    member(lab, "olga", "owner")
    other = organisations.create_organisation(slug="clinic")
    eve = member(other, "eve", "owner")
    posts = ["invite", "service-users", "members/usr_1/role", "members/usr_1/remove"]

    answers = {
        slug: [
            eve.get(f"/organisations/{slug}"),
            *(eve.post(f"/organisations/{slug}/{path}") for path in posts),
        ]
        for slug in ("lab", "made-up")
    }
    for of_another, made_up in zip(answers["lab"], answers["made-up"], strict=True):
        assert (of_another.status_code, made_up.status_code) == (404, 404)
        assert set(of_another.headers) == set(made_up.headers)
    assert [each["slug"] for each in eve.get("/organisations").json()["results"]] == ["clinic"]
    for path in ("close", "add-member"):
        assert eve.post(f"/organisations/lab/{path}").status_code == 403
        assert eve.post(f"/organisations/made-up/{path}").status_code == 403


def test_a_member_sees_the_own_role_and_changes_nothing(lab, cast):
    member(lab, "olga", "owner")
    mia = member(lab, "mia", "member")

    assert [each["user"] for each in mia.get("/organisations/lab").json()["members"]] == ["mia"]
    olga = User.objects.get(username="olga").public_id
    refused(mia.post("/organisations/lab/invite", {"email": "x@example.org"}), 403, "not_granted")
    refused(mia.post("/organisations/lab/service-users", {"name": "x"}), 403, "not_granted")
    refused(mia.post(f"/organisations/lab/members/{olga}/role", {"role": "member"}), 403, "not_granted")
    refused(mia.post(f"/organisations/lab/members/{olga}/remove"), 403, "not_granted")
    assert Membership.objects.get(user__username="olga").role == "owner"


def test_owners_and_maintainers_manage_their_own(lab, cast):
    olga, max_ = member(lab, "olga", "owner"), member(lab, "max", "maintainer")
    mia = member(lab, "mia", "member").key.owner.public_id

    assert olga.post("/organisations/lab/invite", {"email": "new@example.org"}).json()["link"]
    changed = olga.post(f"/organisations/lab/members/{mia}/role", {"role": "maintainer"}).json()
    assert {each["user"]: each["role"] for each in changed["members"]}["mia"] == "maintainer"
    assert "lab.nightly" in str(max_.post("/organisations/lab/service-users", {"name": "nightly"}).json())
    refused(max_.post(f"/organisations/lab/members/{mia}/remove"), 403, "not_granted")
    assert "mia" not in str(olga.post(f"/organisations/lab/members/{mia}/remove").json())
