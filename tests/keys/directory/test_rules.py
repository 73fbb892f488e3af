"""Group rules: what they grant, and that they take back nothing else."""

import pytest
from django.db import IntegrityError, transaction

from keys import actions
from keys.actions import ActionError, NotAllowed, organisations
from keys.actions.actor import COMMAND
from keys.directory.rules import add_rule, apply_rules, find_grants, record_claim, remove_rule
from keys.models import (
    SHARED_ID,
    DirectoryGroup,
    DirectoryUser,
    GroupRule,
    Membership,
    Organisation,
    User,
)
from keys.rights.roles import Role
from tests.keys.people import by

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]


@pytest.fixture
def acme(db) -> Organisation:
    return organisations.create_organisation(slug="acme")


@pytest.fixture
def dora(cast) -> User:
    return cast["dora"]


def signs_in(
    user: User, *groups: str, provider: str = "provider", directory: Organisation | None = None
) -> None:
    shared = directory or Organisation.objects.shared()
    record_claim(user=user, provider=provider, directory=shared, groups=list(groups), actor=COMMAND)


def role_in(organisation: Organisation, user: User) -> str:
    membership = Membership.objects.filter(organisation=organisation, user=user).first()
    return membership.role if membership else ""


def staff_role(user: User) -> Role:
    return User.objects.get(pk=user.pk).role


@pytest.mark.parametrize(
    ("groups", "members", "staff"),
    [
        ({(1, "a")}, {2: "member"}, None),
        ({(1, "a"), (1, "b")}, {2: "owner"}, Role.AUDITOR),
        ({(1, "b"), (1, "c")}, {2: "owner"}, Role.KEY_ADMIN),
        ({(2, "a"), (2, "c")}, {}, None),  # of another directory
        ({(1, "A"), (1, "")}, {}, None),
    ],
)
def test_the_highest_role_counts(groups, members, staff):
    rules = [
        GroupRule(directory_id=1, group="a", organisation_id=2, role="member"),
        GroupRule(directory_id=1, group="b", organisation_id=2, role="owner"),
        GroupRule(directory_id=1, group="b", role="auditor"),
        GroupRule(directory_id=1, group="c", role="key_admin"),
    ]

    assert find_grants(groups, rules) == (members, staff)


def test_a_role_comes_and_goes_with_the_group_and_takes_the_keys_along(dora, acme):
    add_rule(group="modellers", role="maintainer", organisation=acme)
    signs_in(dora, "modellers", "others")
    assert role_in(acme, dora) == "maintainer"
    key, _ = actions.issue(owner=dora, name="of acme", organisation=acme)

    signs_in(dora, "others")

    assert role_in(acme, dora) == ""
    key.refresh_from_db()
    assert key.revoked_at


def test_what_a_person_gave_stays(dora, acme):
    membership = organisations.add_member(organisation=acme, user=dora)
    rule = add_rule(group="modellers", role="owner", organisation=acme)
    signs_in(dora, "modellers")
    assert role_in(acme, dora) == "owner"
    membership.refresh_from_db()
    with pytest.raises(ActionError, match="a group rule makes dora owner"):
        organisations.set_member_role(membership=membership, role="maintainer")

    remove_rule(rule=rule)

    assert role_in(acme, dora) == "member"


def test_groups_of_several_sources_count_together(dora, acme):
    add_rule(group="modellers", role="member", organisation=acme)
    row = DirectoryUser.objects.create(directory_id=SHARED_ID, user=dora, name="dora")
    DirectoryGroup.objects.create(directory_id=SHARED_ID, name="modellers").members.add(row)
    signs_in(dora, "modellers")
    signs_in(dora)
    assert role_in(acme, dora) == "member"

    DirectoryGroup.objects.all().delete()
    apply_rules(dora, COMMAND)

    assert role_in(acme, dora) == ""


def test_staff_roles_come_and_go_and_never_touch_what_a_person_gave(cast, dora):
    add_rule(group="audit", role="auditor")
    rule = add_rule(group="platform", role="key_admin")
    signs_in(dora, "audit")
    assert staff_role(dora) is Role.AUDITOR
    signs_in(dora, "audit", "platform")
    assert staff_role(dora) is Role.KEY_ADMIN
    remove_rule(rule=rule)
    assert staff_role(dora) is Role.AUDITOR
    signs_in(dora)
    assert staff_role(dora) is Role.HOLDER

    for name in ("alice", "bob"):
        before = staff_role(cast[name])
        signs_in(cast[name], "audit")
        signs_in(cast[name])
        assert staff_role(cast[name]) is before
    signs_in(dora, "audit")
    actions.set_role(user=dora, role=Role.KEY_ADMIN)
    signs_in(dora)
    assert staff_role(dora) is Role.KEY_ADMIN


def test_an_organisations_directory_reaches_nothing_else(cast, dora, acme):
    other = organisations.create_organisation(slug="other")
    add_rule(group="admins", role="key_admin")
    add_rule(group="admins", role="owner", organisation=other)
    add_rule(group="admins", role="owner", organisation=acme, directory=acme)

    signs_in(dora, "admins", directory=acme, provider="acme")

    assert (role_in(acme, dora), role_in(other, dora), staff_role(dora)) == ("owner", "", Role.HOLDER)
    with pytest.raises(ActionError, match="in this organisation only"):
        add_rule(group="x", role="member", organisation=other, directory=acme)


def test_who_may_make_rules(cast, dora, acme):
    with pytest.raises(NotAllowed, match="only a superuser"):
        add_rule(group="x", role="auditor", actor=by(cast["bob"]))
    with pytest.raises(NotAllowed):
        add_rule(group="x", role="member", organisation=acme, directory=acme, actor=by(dora))
    organisations.add_member(organisation=acme, user=dora, role="owner")
    add_rule(group="x", role="member", organisation=acme, directory=acme, actor=by(dora))
    with pytest.raises(NotAllowed):  # the groups of the directory for all are not the owner's
        add_rule(group="x", role="member", organisation=acme, actor=by(dora))
    for role in ("superuser", "custom", "owner"):
        with pytest.raises(ActionError, match="a rule grants in staff"):
            add_rule(group="x", role=role)


@pytest.mark.parametrize(
    ("values", "constraint"),
    [
        ({"role": "superuser"}, "group_rule_role_fits"),
        ({"role": "member"}, "group_rule_role_fits"),
        ({"role": "auditor", "group": ""}, "group_rule_names_a_group"),
        ({"role": "auditor", "directory": "acme"}, "group_rule_stays_in_its_organisation"),
        ({"role": "member", "organisation": "shared"}, "group_rule_grants_nothing_in_shared"),
    ],
)
def test_postgresql_refuses_other_rules(acme, values, constraint):
    found = {
        name: Organisation.objects.get(slug=value) if name in ("directory", "organisation") else value
        for name, value in values.items()
    }
    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        GroupRule.objects.create(**{"group": "x", **found})


def test_postgresql_refuses_a_superuser_by_rule(cast):
    with pytest.raises(IntegrityError, match="user_rules_grant_no_superuser"), transaction.atomic():
        User.objects.filter(username="alice").update(rule_role="auditor")
