"""What a rotation does to the expiry, and who may give a later one; and the keys that expire within 14 days."""

import datetime
import json

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from keys import actions
from keys.actions import self_service
from keys.actions.actor import Actor, Via
from keys.alerts.checks import find_expiring
from keys.lists.event_words import describe_event
from keys.models import ApiKey, User
from keys.rights.scopes import Preset, Scope
from tests.keys.api.callers import program, refused
from tests.keys.people import KEYS, SECRET, by, key_of, page_of, signed_in

pytestmark = pytest.mark.django_db

DAY = datetime.timedelta(days=1)


def in_days(days: int) -> datetime.datetime:
    return timezone.now() + days * DAY


def is_near(at: datetime.datetime, days: int) -> bool:
    return abs(at - in_days(days)) < datetime.timedelta(minutes=1)


@pytest.fixture
def key(cast) -> ApiKey:
    """Dora's, which expires in ten days."""
    return actions.issue(owner=cast["dora"], name="training", expires_at=in_days(10))[0]


def form_of(client, address: str) -> dict[str, str]:
    form = client.get(address).context["form"]
    return {"overlap": "1h", "form_id": form["form_id"].value()}


class TestTheExpiry:
    def test_stays_unless_another_is_given(self, key):
        rotated, _ = actions.rotate(key=key)

        assert rotated.expires_at == key.expires_at
        assert "after" not in rotated.events.first().detail

    def test_is_changed_with_the_rotation_and_the_event_says_so(self, key):
        rotated, _ = actions.rotate(key=key, expires_at=in_days(90))

        assert is_near(ApiKey.objects.get().expires_at, 90)
        event = rotated.events.first()
        assert event.kind == "rotated"
        assert any(line.startswith("Expires: ") for line in describe_event(event))

    def test_is_not_in_the_past(self, key):
        with pytest.raises(actions.ActionError, match="in the past"):
            actions.rotate(key=key, expires_at=in_days(-1))
        assert not key.events.filter(kind="rotated").exists()

    def test_is_not_extended_by_a_key_with_a_portal_scope_for_itself(self, cast):
        own, _ = actions.issue(
            owner=cast["alice"], name="own", scopes=[Scope.PORTAL_ADMIN], expires_at=in_days(1)
        )
        itself = Actor(user=cast["alice"], address=None, via=Via.API, key=own)

        with pytest.raises(actions.NotAllowed):
            actions.rotate(key=own, expires_at=in_days(365), actor=itself)
        assert actions.rotate(key=own, actor=itself)[0].expires_at == own.expires_at


class TestOnThePages:
    def test_the_admin_is_told_and_offered_a_later_one(self, cast, bob, key):
        address = page_of(key, "rotate")
        assert "As before: on" in bob.get(address).content.decode()

        bob.post(address, {**form_of(bob, address), "expires_in": "365"})

        assert is_near(ApiKey.objects.get().expires_at, 365)

    def test_a_key_that_never_expires_stays_so(self, cast, bob):
        key = key_of(cast["dora"])
        address = page_of(key, "rotate")

        assert (
            "The key never expires, and the rotation does not change this."
            in bob.get(address).content.decode()
        )
        bob.post(address, {**form_of(bob, address), "expires_in": "30"})
        assert ApiKey.objects.get().expires_at is None

    def test_a_holder_without_self_service_keeps_it(self, cast, key):
        dora, address = signed_in(cast["dora"]), f"/account/keys/{key.public_id}/rotate/"
        assert "the rotation does not change this" in dora.get(address).content.decode()

        shown = dora.post(address, {**form_of(dora, address), "expires_in": "90"})

        assert SECRET.search(shown.content.decode())
        assert ApiKey.objects.get().expires_at == key.expires_at

    def test_a_holder_with_self_service_extends_within_its_limits(self, cast, key, settings):
        settings.SELF_SERVICE, settings.SELF_SERVICE_DAYS = True, 90
        dora, address = signed_in(cast["dora"]), f"/account/keys/{key.public_id}/rotate/"

        beyond = dora.post(address, {**form_of(dora, address), "expires_in": "365"})
        assert "is not one of the available choices" in beyond.content.decode()
        dora.post(address, {**form_of(dora, address), "expires_in": "90"})
        assert is_near(ApiKey.objects.get().expires_at, 90)


class TestSelfService:
    @pytest.mark.parametrize(
        ("rights", "expires_in"),
        [({}, 91), ({"scopes": Preset.FULL.scopes}, 30), ({"any_owner": True}, 30)],
    )
    def test_extends_no_further_and_no_key_with_more_rights(self, cast, settings, rights, expires_in):
        settings.SELF_SERVICE, settings.SELF_SERVICE_DAYS = True, 90
        settings.SELF_SERVICE_PRESET = "contributor"
        key, _ = actions.issue(owner=cast["dora"], name="n", expires_at=in_days(5), **rights)

        with pytest.raises(actions.ActionError):
            self_service.rotate(key=key, expires_at=in_days(expires_in), actor=by(cast["dora"]))

    def test_by_the_api_holders_need_it_and_staff_do_not(self, cast, key):
        dora, bob = (program(cast[name], Scope.PORTAL_ADMIN) for name in ("dora", "bob"))

        refused(dora.post(f"/keys/{key.public_id}/rotate", {"expires_in": "30d"}), 409, "not_possible")
        answer = bob.post(f"/keys/{key.public_id}/rotate", {"expires_in": "30d"})
        assert answer.status_code == 200
        assert is_near(ApiKey.objects.get(pk=key.pk).expires_at, 30)
        both = {"expires_in": "30d", "expires_at": None}
        refused(bob.post(f"/keys/{key.public_id}/rotate", both), 400, "bad_value")


def test_the_command_extends_and_says_when_the_key_expires(capsys, key):
    call_command("rotate_key", key.public_id, "--overlap", "now", "--expires-in", "90d")
    assert f"The key expires on {in_days(90):%Y-%m-%d}" in capsys.readouterr().err
    call_command("rotate_key", key.public_id, "--overlap", "now", "--expires-in", "never")
    assert "It never expires." in capsys.readouterr().err
    with pytest.raises(CommandError, match="--expires-in"):
        call_command("rotate_key", key.public_id, "--expires-in", "soon")


def test_keys_that_expire_within_14_days_are_the_same_everywhere(capsys, cast, alice, key):
    for name, days in (("at the edge", 14), ("later", 15), ("next week", 7)):
        actions.issue(owner=cast["bob"], name=name, expires_at=in_days(days))
    actions.pause(key=actions.issue(owner=cast["bob"], name="paused", expires_at=in_days(3))[0])
    retired = User.objects.create_user("retired", is_active=False)
    actions.issue(owner=retired, name="of nobody", expires_at=in_days(3))
    names = {"training", "at the edge", "next week"}

    found = ApiKey.objects.expiring_soon()
    assert {each.name for each in found} == names
    assert {each.name for each in ApiKey.objects.all() if each.expires_soon} == names | {"of nobody"}
    assert {each.name for _, each, _, _ in find_expiring(timezone.now())} == names

    dashboard = alice.get("/admin/").content.decode()
    assert f'{KEYS}?expiring=14">3 expiring within 14 days' in dashboard
    listed = alice.get(f"{KEYS}?expiring=14")
    assert {each.name for each in listed.context["cl"].queryset} == names
    assert listed.content.decode().count('<span class="badge warning"><time') == 3

    caller = program(cast["alice"], Scope.PORTAL_ADMIN)
    by_api = caller.get("/keys?expiring_soon=true").json()["results"]
    assert {each["name"] for each in by_api} == names
    others = caller.get("/keys?expiring_soon=false").json()["results"]
    assert {each["name"] for each in others} == {"later", "paused", "of nobody", "a program"}

    call_command("list_keys", "--expiring-soon", "--json")
    assert {each["name"] for each in json.loads(capsys.readouterr().out)} == names


def test_the_account_page_colours_what_expires_soon(cast, key):
    dora = signed_in(cast["dora"])

    for address in ("/account/", f"/account/keys/{key.public_id}/"):
        assert '<span class="badge warning">' in dora.get(address).content.decode()
    ApiKey.objects.update(expires_at=in_days(20))
    assert '<span class="badge warning">' not in dora.get("/account/").content.decode()
