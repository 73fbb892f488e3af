"""Only superusers act on the keys, objects and accounts of superusers, by page, API and command alike."""

import datetime
from collections.abc import Callable
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.contrib.auth.models import Permission
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone

from keys import actions
from keys.actions import invitations
from keys.alerts import leaks
from keys.models import ApiKey, Namespace, User
from keys.rights.scopes import Scope
from proxy.ledger import incident
from proxy.models import Owner
from proxy.policy import owner_actions
from proxy.upstream.registry import Registry
from proxy.upstream.workspaces import Workspace
from tests.keys.api.callers import program, refused
from tests.keys.people import USERS, by, filled, key_of, page_of, signed_in
from tests.proxy.ledger_rows import row

pytestmark = pytest.mark.postgresql


@pytest.fixture
def key(cast) -> ApiKey:
    """A superuser's."""
    cast["bob"].user_permissions.add(*Permission.objects.filter(codename__in=["view_owner", "change_owner"]))
    Owner.objects.create(environment="live", kind="experiment", name="7", user=cast["alice"])
    return key_of(cast["alice"])


ON_KEYS: dict[str, Callable[..., Any]] = {
    "issue": lambda key, actor: actions.issue(owner=key.owner, name="x", actor=actor),
    "change": lambda key, actor: actions.change(key=key, name="x", actor=actor),
    "rotate": lambda key, actor: actions.rotate(key=key, actor=actor),
    "pause": lambda key, actor: actions.pause(key=key, actor=actor),
    "resume": lambda key, actor: actions.resume(key=key, actor=actor),
    "revoke": lambda key, actor: actions.revoke(key=key, actor=actor),
}
ON_OTHERS: dict[str, Callable[..., Any]] = {
    "deactivate": lambda user, actor: actions.deactivate(user=user, actor=actor),
    "reactivate": lambda user, actor: actions.reactivate(user=user, actor=actor),
    "invite": lambda user, actor: invitations.invite(user=user, actor=actor),
    "withdraw": lambda user, actor: invitations.withdraw(user=user, actor=actor),
    "second factors": lambda user, actor: actions.remove_second_factors(user=user, actor=actor),
    "hand over": lambda user, actor: owner_actions.hand_over(
        giver=user, taker=User.objects.get(username="dora"), actor=actor
    ),
    "share": lambda user, actor: owner_actions.mark_shared(
        namespace=Namespace.shared("live"), experiment_id="7", is_shared=True, actor=actor
    ),
}


@pytest.mark.parametrize("act", ON_KEYS.values(), ids=list(ON_KEYS))
def test_a_key_admin_does_nothing_with_a_superusers_keys(key, cast, act):
    with pytest.raises(actions.NotAllowed, match="only a superuser"):
        act(key, by(cast["bob"]))

    assert ApiKey.objects.count() == 1
    assert [event.kind for event in key.events.all()] == ["issued"]
    act(key, by(User.objects.create_superuser("second")))


@pytest.mark.parametrize("act", ON_OTHERS.values(), ids=list(ON_OTHERS))
def test_a_key_admin_does_nothing_with_a_superusers_account_and_objects(key, cast, act):
    Authenticator.objects.create(user=cast["alice"], type="totp", data={})
    with pytest.raises(actions.NotAllowed, match="only a superuser"):
        act(cast["alice"], by(cast["bob"]))

    cast["alice"].refresh_from_db()
    assert cast["alice"].is_active
    assert not cast["alice"].invitations.exists()
    assert Authenticator.objects.filter(user=cast["alice"]).exists()
    assert Owner.objects.get(name="7", user=cast["alice"]).is_shared is False
    act(cast["alice"], by(User.objects.create_superuser("second")))


@pytest.mark.parametrize("name", ["rights", "pause", "resume", "rotate", "revoke"])
def test_the_pages_of_a_superusers_key_are_for_superusers(key, bob, name):
    if name == "resume":
        actions.pause(key=key)

    assert bob.get(page_of(key, name)).status_code == 403
    assert bob.post(page_of(key, name), {"confirmation": key.name}).status_code == 403
    assert page_of(key, name) not in bob.get(page_of(key)).content.decode()
    assert signed_in(key.owner).get(page_of(key, name)).status_code == 200


def test_no_page_offers_what_would_be_refused(key, bob, cast):
    page = bob.get(f"{USERS}{cast['alice'].pk}/change/").content.decode()
    doras = bob.get(f"{USERS}{cast['dora'].pk}/change/").content.decode()
    for address in ("hand-over/?giver=", "apikey/add/?owner="):
        assert address not in page
        assert address in doras
    owner = Owner.objects.get(name="7")
    assert "owner/share/" not in bob.get(f"/admin/proxy/owner/{owner.pk}/change/").content.decode()


def test_the_forms_say_so(key, bob, cast):
    issued = bob.post("/admin/keys/apikey/add/", filled(bob, cast["alice"]))
    handed = bob.post(
        "/admin/proxy/owner/hand-over/",
        {"giver": str(cast["alice"].pk), "taker": str(cast["dora"].pk), "confirmed": "on"},
    )
    shared = bob.post(
        "/admin/proxy/owner/share/", {"experiment_id": "7", "environment": "live", "is_shared": "yes"}
    )

    for response in (issued, handed, shared):
        assert "nly a superuser may" in response.content.decode()
    assert ApiKey.objects.count() == 1
    assert Owner.objects.get(name="7").user == cast["alice"]


def test_the_api_refuses_it(key, cast):
    bob = program(cast["bob"], Scope.PORTAL_ADMIN)
    one, user = f"/keys/{key.public_id}", cast["alice"].public_id
    for path in ("pause", "resume", "rotate", "revoke"):
        refused(bob.post(f"{one}/{path}"), 403, "not_granted")
    refused(bob.patch(one, {"name": "x"}), 403, "not_granted")
    refused(bob.post("/keys", {"user": "alice", "name": "x"}), 403, "not_granted")
    refused(bob.post(f"/users/{user}/hand-over", {"to": "dora"}), 403, "not_granted")
    refused(bob.post("/experiments/share", {"experiment_id": "7", "is_shared": True}), 403, "not_granted")
    for path in ("invite", "deactivate", "reactivate"):
        refused(bob.post(f"/users/{user}/{path}"), 403, "permission")


def test_commands_have_no_such_limit(key):
    call_command("pause_key", key.public_id)
    call_command("resume_key", key.public_id)
    call_command("revoke_key", key.public_id)


def test_a_report_pauses_a_superusers_key_too(cast):
    key, secret = actions.issue(owner=cast["alice"], name="found")
    leaks.report(text=secret)

    assert ApiKey.objects.get(pk=key.pk).state == ApiKey.State.PAUSED


NOWHERE = Registry(
    "http://127.0.0.1:9", namespace=Namespace.shared("live"), workspace=Workspace("shared")
)  # no test asks it anything
SINCE = timezone.now() - datetime.timedelta(days=1)


@pytest.fixture
def version(key) -> dict[str, Any]:
    row(key, "model-versions.create", "churn", version="1")
    return {"name": "churn", "version": "1", "reason": "checked"}


def test_a_key_admin_neither_quarantines_a_superusers_versions_nor_lifts_it(key, cast, version):
    with pytest.raises(actions.NotAllowed, match="only a superuser"):
        incident.quarantine(key=key, since=SINCE, registry=NOWHERE, by=cast["bob"])
    with pytest.raises(actions.NotAllowed, match="only a superuser"):
        incident.lift(**version, registry=NOWHERE, by=cast["bob"])
    for by_whom in (cast["alice"], None):
        assert incident.lift(**version, registry=NOWHERE, by=by_whom).result == "not marked"


def test_a_superusers_model_is_as_protected_as_their_versions(cast, version):
    row(key_of(cast["dora"]), "model-versions.create", "churn", version="2")
    Owner.objects.create(environment="live", kind="registered_model", name="churn", user=cast["alice"])

    with pytest.raises(actions.NotAllowed, match="only a superuser"):
        incident.lift(**{**version, "version": "2"}, registry=NOWHERE, by=cast["bob"])


def test_quarantine_by_page_api_and_command_in_another_name_follows_the_same_rule(key, cast, bob, version):
    cast["bob"].user_permissions.add(*Permission.objects.filter(codename="view_registration"))
    page, since = f"/admin/incident/{key.pk}/", f"{SINCE:%Y-%m-%dT%H:%M}"
    assert "Quarantine these versions" not in bob.get(page, {"since": since}).content.decode()
    assert bob.post(page, {"since": since}).status_code == 403
    api = program(cast["bob"], Scope.PORTAL_ADMIN)
    refused(api.post(f"/keys/{key.public_id}/quarantine", {"since": f"{since}Z"}), 403, "not_granted")
    refused(api.post("/quarantine/lift", version), 403, "not_granted")
    with pytest.raises(CommandError, match="only a superuser"):
        call_command("quarantine", "--lift", "churn", "1", "--reason", "checked", "--by", "bob")
