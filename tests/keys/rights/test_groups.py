"""The two groups of staff are there, with their permissions, and nobody climbs out of one."""

import pytest
from django.apps import apps
from django.contrib.auth.models import Group, Permission
from django.core.management import call_command
from django.urls import reverse

from keys import actions
from keys.models import ApiKey, User
from keys.rights.groups import AUDITORS, GROUPS, KEY_ADMINS
from keys.rights.permissions import DESCRIPTIONS
from keys.rights.roles import Role
from tests.keys.people import ISSUE, USERS, filled, page_of, signed_in


def held(group: str) -> set[str]:
    permissions = Group.objects.get(name=group).permissions
    return set(permissions.values_list("content_type__app_label", "codename"))


@pytest.mark.parametrize("name", GROUPS)
def test_each_group_has_its_permissions_after_migrate(db, name):
    assert held(name) == {(app, codename) for app, names in GROUPS[name].items() for codename in names}


def test_auditors_may_see_everything_that_is_kept_and_change_nothing(db):
    codenames = {codename for _, codename in held(AUDITORS)}

    assert all(codename.startswith("view_") for codename in codenames)
    kept = {
        f"view_{model._meta.model_name}"
        for app in ("keys", "proxy")
        for model in apps.get_app_config(app).get_models()
    }
    # How far the writer is, and what view_calltotal stands for.
    # The portal's own workings; who was invited is in the activity of users, what was found in the key's.
    inner = {"view_hourtotal", "view_spoolsegment", "view_idempotentrequest", "view_invitation", "view_alert"}
    inner |= {"view_keynetwork", "view_preparedkey", "view_keyrequest", "view_uncalledrequest"}
    inner |= {"view_membership", "view_memberinvitation"}  # shown with the organisation
    # A directory's rows are shown with the user and the organisation, rules with the organisation.
    inner |= {"view_directoryuser", "view_directorygroup", "view_grouprule", "view_claimedgroups"}
    # Shown with the organisation, and with the key that the trust is.
    inner |= {
        "view_publication",
        "view_publicationreader",
        "view_publishedfiles",
        "view_trust",
        "view_exchangedkey",
    }
    # Shown with the version, to those who may view registrations.
    inner |= {"view_artifactevent", "view_manifest", "view_versionscan", "view_signingkey"}
    inner.add("view_ledgerstamp")  # shown with the ledger's verification
    assert kept - codenames == inner


def test_key_admins_may_delete_nothing_and_do_nothing_to_groups(db):
    assert not any(codename.startswith("delete_") for _, codename in held(KEY_ADMINS))
    assert {app for app, _ in held(KEY_ADMINS)} == {"keys", "proxy"}


def test_migrating_again_mends_the_groups_and_keeps_their_members(db):
    auditors = Group.objects.get(name=AUDITORS)
    auditors.permissions.set(Permission.objects.filter(codename__in=["delete_user", "add_apikey"]))
    audrey = User.objects.create_user("audrey")
    audrey.groups.add(auditors)
    Group.objects.get(name=KEY_ADMINS).delete()

    call_command("migrate", verbosity=0)

    for name, permissions in GROUPS.items():
        assert held(name) == {(app, codename) for app, names in permissions.items() for codename in names}
    assert list(audrey.groups.all()) == [auditors]


@pytest.fixture
def karl(cast) -> User:
    user = User.objects.create_user("karl", is_staff=True)
    user.groups.set(Group.objects.filter(name=KEY_ADMINS))
    return user


def raised(**changes) -> dict:
    """A crafted form that gives all rights."""
    everything = {
        "is_active": "on",
        "is_staff": "on",
        "is_superuser": "on",
        "role": "superuser",
        "groups": [group.pk for group in Group.objects.all()],
        "user_permissions": [permission.pk for permission in Permission.objects.all()],
        "api_keys-TOTAL_FORMS": "0",
        "api_keys-INITIAL_FORMS": "0",
    }
    return {**everything, **changes}


@pytest.mark.parametrize("name", ["karl", "alice", "charlie", "dora"])
def test_a_key_admin_gives_rights_to_nobody(cast, karl, name):
    user = User.objects.get(username=name)
    before = rights(user)

    signed_in(karl).post(f"{USERS}{user.pk}/change/", raised(username=name))

    assert rights(User.objects.get(username=name)) == before


def test_a_key_admin_makes_no_user_with_rights(karl):
    signed_in(karl).post(f"{USERS}add/", raised(name="eve", sign_in="none"))

    assert rights(User.objects.get(username="eve")) == (False, False, set(), set())


@pytest.mark.parametrize("name", ["alice", "charlie", "erin"])
def test_a_key_admin_sets_no_password_of_those_who_have_rights(cast, karl, name):
    erin = User.objects.create_user("erin")  # no longer staff, but still in the group
    erin.groups.set(Group.objects.filter(name=KEY_ADMINS))
    user = User.objects.get(username=name)
    page = reverse("admin:auth_user_password_change", args=[user.pk])
    before = user.password

    assert signed_in(karl).post(page, {"password1": "x" * 20, "password2": "x" * 20}).status_code == 403

    user.refresh_from_db()
    assert user.password == before


def test_a_superuser_puts_staff_into_a_group(cast, alice):
    auditors = Group.objects.get(name=AUDITORS)
    answers = {"username": "charlie", "role": "auditor"}
    none = {"api_keys-TOTAL_FORMS": "0", "api_keys-INITIAL_FORMS": "0"}

    page = alice.get(f"{USERS}{cast['charlie'].pk}/change/").content.decode()
    alice.post(f"{USERS}{cast['charlie'].pk}/change/", {**answers, **none})

    assert all(f"{role.label.capitalize()}: {role.description}" in page for role in Role)
    assert list(cast["charlie"].groups.all()) == [auditors]


def test_every_permission_of_the_groups_can_be_given_by_itself_or_goes_with_another(db):
    given = {
        codename for permissions in GROUPS.values() for names in permissions.values() for codename in names
    }

    assert given - set(DESCRIPTIONS) == {"view_calltotal", "view_keylessattempt"}


def rights(user: User) -> tuple:
    permissions = set(user.user_permissions.values_list("codename", flat=True))
    return user.is_staff, user.is_superuser, set(user.groups.values_list("name", flat=True)), permissions


class TestKeysOfThePortalItself:
    """A key with a portal scope acts with its owner's rights, so that one of a superuser's would raise anybody."""

    def test_a_key_admin_issues_none_for_others(self, cast, karl):
        client = signed_in(karl)
        answers = filled(client, cast["dora"], preset="single", scopes=["portal:admin"])

        page = client.post(ISSUE, answers).content.decode()

        assert "Only a superuser may give portal:" in page
        assert not ApiKey.objects.exists()

    def test_a_key_admin_gets_no_new_secret_of_one(self, cast, karl):
        key = actions.issue(owner=cast["dora"], name="hers", scopes=["portal:admin"])[0]

        page = (
            signed_in(karl).post(page_of(key, "rotate"), {"overlap": "now", "form_id": "x"}).content.decode()
        )

        assert "Only a superuser may give portal:" in page
        assert ApiKey.objects.get().digest == key.digest

    def test_a_key_admin_gives_the_scope_to_no_key_of_others(self, cast, karl):
        key = actions.issue(owner=cast["alice"], name="hers")[0]
        rights = {
            "name": "hers",
            "preset": "single",
            "scopes": ["portal:admin"],
            "initial-preset": "contributor",
        }

        signed_in(karl).post(page_of(key, "rights"), rights)

        assert ApiKey.objects.get().scopes == key.scopes
