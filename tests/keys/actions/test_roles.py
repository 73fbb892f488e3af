"""A user has one role, on the page, in the API and by command; contradicting settings are shown and mended."""

import itertools
import json

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission
from django.core.management import CommandError, call_command

from keys import actions
from keys.actions import invitations
from keys.models import User, users_in_role
from keys.rights.groups import GROUPS
from keys.rights.roles import Role
from keys.rights.scopes import Scope
from tests.keys.api.callers import API, program, refused
from tests.keys.people import USERS, by, signed_in

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]

NO_KEYS = {"api_keys-TOTAL_FORMS": "0", "api_keys-INITIAL_FORMS": "0"}
ROLES = [Role.HOLDER, Role.AUDITOR, Role.KEY_ADMIN, Role.SUPERUSER]


def save(client, user: User, **answers):
    return client.post(f"{USERS}{user.pk}/change/", {"username": user.username, **answers, **NO_KEYS})


def again(user: User) -> User:
    return User.objects.get(pk=user.pk)


@pytest.mark.parametrize("role", ROLES)
def test_a_role_is_everything_that_it_needs(cast, role):
    user = actions.set_role(user=cast["dora"], role=role, actor=by(cast["alice"], "192.0.2.7"))

    assert (user.role, user.role_faults()) == (role, [])
    client = signed_in(again(user))
    assert client.get("/admin/").status_code == (302 if role is Role.HOLDER else 200)
    assert client.get("/admin/keys/apikey/").status_code == (302 if role is Role.HOLDER else 200)
    entries = [entry.change_message for entry in LogEntry.objects.all()]
    changed = f"Role: key holder → {role.label}. From 192.0.2.7."
    assert entries == ([] if role is Role.HOLDER else [changed])


def test_the_list_filters_by_the_role_that_it_shows(cast):
    combinations = itertools.product(
        (False, True), (False, True), [(), *((name,) for name in GROUPS), GROUPS]
    )
    for number, (is_staff, is_superuser, groups) in enumerate(combinations):
        user = User.objects.create_user(f"u{number}", is_staff=is_staff, is_superuser=is_superuser)
        user.groups.set(Group.objects.filter(name__in=groups))

    for role in Role:
        expected = {user.pk for user in User.objects.all() if user.role is role}
        assert expected
        assert sorted(User.objects.filter(users_in_role(role)).values_list("pk", flat=True)) == sorted(
            expected
        )
    assert {user.pk: user.role for user in User.objects.with_roles()} == {
        user.pk: user.role for user in User.objects.all()
    }


def test_a_group_without_staff_is_shown_and_mended_by_saving(cast, alice):
    dora = cast["dora"]
    dora.groups.set(Group.objects.filter(name="Auditors"))

    page = alice.get(f"{USERS}{dora.pk}/change/").content.decode()
    assert "It is not staff, so membership of Auditors has no effect." in page
    assert save(alice, dora, role="holder").status_code == 302

    assert (again(dora).role_faults(), list(dora.groups.all())) == ([], [])
    assert "Mended: It is not staff" in LogEntry.objects.get().change_message
    assert "contradict" not in alice.get(f"{USERS}{dora.pk}/change/").content.decode()


@pytest.mark.parametrize(
    ("columns", "groups", "permissions", "fault"),
    [
        ({"is_superuser": True}, (), (), "cannot open the admin pages"),
        ({"is_staff": True}, GROUPS, (), "membership of Auditors has no effect"),
        ({"is_staff": True}, (), (), "has no permission to see anything"),
        ({}, (), ("view_call",), "single permissions have no effect"),
        ({"is_staff": True, "is_superuser": True}, ("Key admins",), (), "membership of Key admins has no"),
    ],
)
def test_every_contradiction_is_found_and_mended(cast, columns, groups, permissions, fault):
    user = User.objects.create_user("erin", **columns)
    user.groups.set(Group.objects.filter(name__in=groups))
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))

    [found] = user.role_faults()
    assert fault in found
    for role in ROLES:
        assert actions.set_role(user=user, role=role).role_faults() == []


def test_saving_the_page_of_a_user_in_order_changes_and_records_nothing(cast, alice):
    link, _ = invitations.invite(user=cast["dora"])
    save(alice, cast["dora"], role="holder")

    link.refresh_from_db()
    assert (link.withdrawn_at, LogEntry.objects.count()) == (None, 0)
    save(alice, cast["dora"], role="key_admin")
    link.refresh_from_db()
    assert link.withdrawn_at


def test_single_permissions_go_where_they_have_no_effect(cast, alice):
    save(
        alice, cast["bob"], role="holder", user_permissions=[Permission.objects.get(codename="view_call").pk]
    )

    assert (again(cast["bob"]).role, cast["bob"].user_permissions.count()) == (Role.HOLDER, 0)
    page = save(alice, cast["dora"], role="custom").content.decode()
    assert "The role custom needs at least one single permission" in page
    assert not again(cast["dora"]).is_staff


def test_a_command_leaves_the_same_entry_as_the_page_without_a_person(cast, alice):
    dora = cast["dora"]
    call_command("set_role", "dora", "auditor")

    entry = LogEntry.objects.get()
    assert entry.change_message == "Role: key holder → auditor. By command line."
    for path in (f"{USERS}{dora.pk}/history/", "/admin/admin/logentry/", "/admin/admin/logentry/export/"):
        response = alice.get(path)
        page = (response.content if not response.streaming else b"".join(response)).decode()
        assert "Role: key holder → auditor." in page
        assert "command line" in page.partition("Role: key")[0]
    assert "Role: key" not in alice.get("/admin/admin/logentry/?who=dora").content.decode()
    log = program(cast["alice"], Scope.PORTAL_READ)
    assert [row["actor"] for row in log.get("/admin-log").json()["results"]] == ["command line"]
    assert log.get("/admin-log?actor=dora").json()["results"] == []


def test_the_last_superuser_stays(cast, alice):
    page = save(alice, cast["alice"], role="key_admin").content.decode()

    assert "This is the last superuser; make another one first" in page
    assert again(cast["alice"]).role is Role.SUPERUSER
    with pytest.raises(CommandError, match="last superuser"):
        call_command("set_role", "alice", "holder")


def test_only_superusers_give_roles(cast):
    karl = actions.set_role(user=User.objects.create_user("karl"), role=Role.KEY_ADMIN)
    for user, role in itertools.product((karl, cast["dora"], cast["alice"]), Role):
        with pytest.raises(actions.NotAllowed, match="only a superuser may give roles"):
            actions.set_role(user=user, role=role, actor=by(karl))

    page = signed_in(karl).get(f"{USERS}{cast['dora'].pk}/change/").content.decode()
    assert 'name="role"' not in page
    save(signed_in(karl), cast["dora"], role="superuser")
    assert again(cast["dora"]).role is Role.HOLDER
    assert save(signed_in(karl), cast["alice"], role="holder").status_code == 403


class TestApi:
    def test_gives_a_role_by_session(self, cast):
        path = f"{API}/users/{cast['dora'].public_id}/role"
        alice = signed_in(cast["alice"])
        given = {"role": "auditor", "permissions": ["add_apikey"]}

        answer = alice.post(path, given, content_type="application/json")

        assert (answer.json()["role"], answer.json()["is_staff"]) == ("auditor", True)
        assert again(cast["dora"]).has_perm("keys.add_apikey")
        [entry] = LogEntry.objects.all()
        assert entry.change_message.startswith("Role: key holder → auditor with add_apikey.")
        listed = alice.get(f"{API}/users?role=auditor").json()["results"]
        assert [(user["name"], user["role"]) for user in listed] == [("dora", "auditor")]
        for wrong, status, reason in [
            ({"role": "boss"}, 400, "bad_value"),
            ({"role": "auditor", "permissions": ["delete_user"]}, 400, "bad_value"),
            ({"role": "holder", "permissions": ["view_call"]}, 409, "not_possible"),
        ]:
            refused(alice.post(path, wrong, content_type="application/json"), status, reason)

    def test_takes_no_key(self, cast):
        path = f"/users/{cast['dora'].public_id}/role"
        for name, reason in (("alice", "not_granted"), ("bob", "not_granted"), ("dora", "permission")):
            caller = program(cast[name], Scope.PORTAL_ADMIN)
            refused(caller.post(path, {"role": "superuser"}), 403, reason)
        assert again(cast["dora"]).role is Role.HOLDER


def test_the_command_gives_a_role(cast, capsys):
    call_command("set_role", "dora", "custom", "--permission", "view_call", "--permission", "view_user")
    assert capsys.readouterr().out == "The role of dora is custom with view_call, view_user.\n"
    call_command("set_role", cast["dora"].public_id, "key_admin", "--json")
    assert json.loads(capsys.readouterr().out)["role"] == "key_admin"
    call_command("list_users", "--role", "key_admin", "--json")
    assert [user["name"] for user in json.loads(capsys.readouterr().out)] == ["dora"]
