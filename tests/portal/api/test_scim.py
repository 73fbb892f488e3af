"""SCIM over Django's client: what a directory may do to users and groups. `make scim` runs scim2-tester in full."""

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from keys import actions
from keys.actions import organisations
from keys.directory.rules import add_rule
from keys.models import ApiKey, DirectoryUser, Membership, User
from keys.rights.roles import Role
from tests.keys.api.callers import program
from tests.keys.people import key_of, signed_in

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]

SCIM = "/scim/v2"
USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"


class Directory:
    """A directory's connector: the key of one organisation."""

    def __init__(self, owner: User, organisation=None) -> None:
        rights = {"organisation": organisation} if organisation else {}
        self.caller = program(owner, "portal:scim", **rights)

    def __call__(self, method: str, path: str, body=None, **headers: str):
        sent = {"Authorization": f"Bearer {self.caller.secret}"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        options = {} if body is None else {"data": body, "content_type": "application/scim+json"}
        return getattr(Client(headers=sent), method.lower())(f"{SCIM}{path}", **options)

    def add(self, user_name: str, **attributes):
        return self("POST", "/Users", {"schemas": [USER], "userName": user_name, **attributes})

    def patch(self, path: str, *operations, **headers: str):
        body = {"schemas": [PATCH], "Operations": list(operations)}
        return self("PATCH", path, body, **headers)

    def find(self, condition: str, kind: str = "Users"):
        return self("GET", f"/{kind}?filter={condition}").json()


@pytest.fixture
def directory(cast) -> Directory:
    """The directory for all, written with the superuser's key."""
    return Directory(cast["alice"])


@pytest.fixture
def acme(cast):
    return organisations.create_organisation(slug="acme")


def replace(path: str, value):
    return {"op": "replace", "path": path, "value": value}


def test_adds_changes_and_finds_a_user(directory):
    sent = {"externalId": "ext-1", "emails": [{"value": "eve@example.org", "primary": True}], "title": "Dr"}
    made = directory.add(
        "eve", **sent, name={"givenName": "Eve", "familyName": "Moss"}, password="none of ours"
    )
    user = User.objects.get(username="eve")
    address = f"/Users/{user.public_id}"

    assert (made.status_code, made["Content-Type"]) == (201, "application/scim+json")
    assert made["Location"].endswith(f"{SCIM}{address}")
    assert (made["ETag"], made.json()["title"]) == (made.json()["meta"]["version"], "Dr")
    assert (user.email, user.first_name, user.is_active) == ("eve@example.org", "Eve", True)
    assert not user.has_usable_password()
    assert "none of ours" not in f"{made.json()} {user.directory_user.document}"
    for condition in ('userName eq "EVE"', 'externalId eq "ext-1"', 'title eq "dr" and userName eq "eve"'):
        assert directory.find(condition)["totalResults"] == 1, condition
    for condition in ('userName eq "eve\\u0000"', 'title eq "none"', 'externalId eq "EXT-1"'):
        assert directory.find(condition)["totalResults"] == 0, condition

    stale = directory.patch(address, replace("title", "Prof"), If_Match='W/"0"')
    assert stale.status_code == 412
    changed = directory.patch(address, replace("userName", "eve.moss"), If_Match=made["ETag"])
    assert (changed.status_code, changed["ETag"] == made["ETag"]) == (204, False)
    user.refresh_from_db()
    assert user.username == "eve.moss"
    assert directory("GET", address, If_None_Match=changed["ETag"]).status_code == 304


def test_pages_through_users(directory):
    for name in ("ada", "ben", "cleo"):
        directory.add(name)

    page = directory("GET", "/Users?startIndex=2&count=1").json()
    assert (page["totalResults"], page["itemsPerPage"]) == (3, 1)
    assert [each["userName"] for each in page["Resources"]] == ["ben"]


def test_deactivation_ends_sessions_and_pauses_keys_and_staff_keep_the_last_word(directory):
    address = f"/Users/{directory.add('eve').json()['id']}"
    user = User.objects.get(username="eve")
    key, browser = key_of(user), signed_in(user)
    assert browser.get("/account/").status_code == 200

    directory.patch(address, replace("active", "False"))  # as Microsoft Entra writes it

    user.refresh_from_db()
    assert (user.is_active, ApiKey.objects.get(pk=key.pk).paused_at is None) == (False, False)
    assert browser.get("/account/").status_code == 302
    directory.patch(address, replace("active", True))
    user.refresh_from_db()
    assert user.is_active

    actions.deactivate(user=user)
    again = directory("PUT", address, {"schemas": [USER], "userName": "eve", "active": True})
    user.refresh_from_db()
    assert (again.json()["active"], user.is_active) == (False, False)


def test_a_deleted_user_stays_in_the_history_and_leaves_the_name(directory):
    address = f"/Users/{directory.add('eve', emails=[{'value': 'eve@example.org'}]).json()['id']}"
    user = User.objects.get(username="eve")
    key = key_of(user)

    assert directory("DELETE", address).status_code == 204
    assert directory("GET", address).status_code == 404

    user.refresh_from_db()
    assert (user.is_active, user.email) == (False, "")
    assert user.username.startswith("eve.deleted-")
    assert ApiKey.objects.get(pk=key.pk).revoked_at
    texts = [entry.change_message for entry in LogEntry.objects.filter(object_id=str(user.pk))]
    assert any("The directory deleted the user eve." in text for text in texts)
    assert directory.add("eve").status_code == 201


def test_adopts_only_users_without_rights(cast, directory):
    assert directory.add("dora").status_code == 201
    assert DirectoryUser.objects.get(user=cast["dora"]).name == "dora"
    for name in ("alice", "Bob", "dora"):  # staff, and a user of this directory
        refused = directory.add(name)
        assert (refused.status_code, refused.json()["scimType"]) == (409, "uniqueness"), name
    User.objects.create_user("gone", is_active=False)
    assert directory.add("gone").status_code == 409


def test_the_directory_cannot_take_over_who_became_staff(cast, directory):
    made = directory.add("eve", emails=[{"value": "eve@example.org"}]).json()
    User.objects.filter(username="eve").update(is_staff=True)

    changed = directory.patch(f"/Users/{made['id']}", replace("emails", [{"value": "thief@example.org"}]))

    assert changed.status_code == 403
    assert User.objects.get(username="eve").email == "eve@example.org"
    User.objects.filter(username="eve").update(is_superuser=True)
    cast["bob"].user_permissions.clear()
    machine = Directory(User.objects.create_user("machine", is_staff=True))
    assert machine("DELETE", f"/Users/{made['id']}").status_code == 403


def test_an_organisations_directory_sees_and_takes_only_its_own(cast, directory, acme):
    robot = User.objects.create_user("robot")
    organisations.add_member(organisation=acme, user=robot)
    own = Directory(robot, acme)
    foreign = directory.add("eve").json()["id"]

    assert own("GET", f"/Users/{foreign}").status_code == 404
    assert own.find('userName eq "eve"')["totalResults"] == 0
    refused = own.add("dora")
    assert (refused.status_code, refused.json()["detail"]) == (409, "Another user has this name or address.")
    organisations.add_member(organisation=acme, user=cast["dora"])
    assert own.add("dora").status_code == 201
    assert own.add("frank").status_code == 201
    group = {"schemas": [GROUP], "displayName": "all", "members": [{"value": foreign}]}
    assert own("POST", "/Groups", group).status_code == 400


def test_keeps_groups(directory):
    ids = [directory.add(name).json()["id"] for name in ("ada", "ben")]
    sent = {"schemas": [GROUP], "displayName": "Modellers", "members": [{"value": ids[0]}]}
    made = directory("POST", "/Groups", sent)
    group = f"/Groups/{made.json()['id']}"
    before = directory("GET", f"/Users/{ids[1]}")

    directory.patch(group, {"op": "add", "path": "members", "value": [{"value": ids[1]}]})

    assert [each["value"] for each in directory("GET", group).json()["members"]] == ids
    assert directory.find('displayName eq "modellers"', "Groups")["totalResults"] == 1
    assert directory.find(f'members.value eq "{ids[1]}"', "Groups")["totalResults"] == 1
    after = directory("GET", f"/Users/{ids[1]}")
    assert ([each["display"] for each in after.json()["groups"]], after["ETag"] == before["ETag"]) == (
        ["Modellers"],
        False,
    )
    directory.patch(group, {"op": "remove", "path": f'members[value eq "{ids[0]}"]'})
    assert [each["value"] for each in directory("GET", group).json()["members"]] == ids[1:]
    assert directory("DELETE", group).status_code == 204
    assert directory("GET", f"/Users/{ids[1]}").json().get("groups") is None


def test_errors_are_scims(cast, directory):
    nobody = Client().get(f"{SCIM}/Users")
    other = program(cast["alice"], "portal:admin")
    wrong = Client(headers={"Authorization": f"Bearer {other.secret}"}).get(f"{SCIM}/Users")
    small = Directory(cast["dora"])("GET", "/Users")

    for answer, status in ((nobody, 401), (wrong, 403), (small, 403)):
        content = answer.json()
        assert (answer.status_code, content["status"]) == (status, str(status))
        assert content["schemas"] == ["urn:ietf:params:scim:api:messages:2.0:Error"]
        assert content["detail"]
    assert "portal:scim" in wrong.json()["detail"]
    assert signed_in(cast["alice"]).get(f"{SCIM}/Users").status_code == 403
    assert Client().get(f"{SCIM}/ServiceProviderConfig").json()["patch"] == {"supported": True}
    assert directory.add("eve\x00").status_code == 400
    assert directory.add("two words").json()["scimType"] == "invalidValue"
    assert directory("POST", "/Bulk", {}).status_code == 501
    assert Membership.objects.count() == 0


def test_groups_of_a_directory_grant_roles(cast, directory, acme):
    add_rule(group="Modellers", role="maintainer", organisation=acme)
    add_rule(group="audit-id", role="auditor")
    eve = directory.add("eve").json()["id"]
    user = User.objects.get(username="eve")
    members = [{"value": eve}]
    made = directory("POST", "/Groups", {"schemas": [GROUP], "displayName": "Modellers", "members": members})
    audit = {"schemas": [GROUP], "displayName": "Audit", "externalId": "audit-id", "members": members}
    second = directory("POST", "/Groups", audit).json()["id"]

    user.refresh_from_db()
    assert (user.memberships.get().role, user.role) == ("maintainer", Role.AUDITOR)
    directory.patch(f"/Groups/{made.json()['id']}", replace("displayName", "Former modellers"))
    directory("DELETE", f"/Groups/{second}")
    user.refresh_from_db()
    assert (user.memberships.count(), user.role) == (0, Role.HOLDER)


def test_members_of_an_organisations_directory_are_its_members(cast, acme):
    robot = User.objects.create_user("robot")
    organisations.add_member(organisation=acme, user=robot)
    own = Directory(robot, acme)
    address = f"/Users/{own.add('frank').json()['id']}"
    assert acme.memberships.get(user__username="frank").role == "member"

    own("DELETE", address)

    assert list(acme.memberships.values_list("user__username", flat=True)) == ["robot"]
