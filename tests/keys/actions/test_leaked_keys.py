"""A key that was found in the open never works again with that secret, whichever way somebody tries."""

import json

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from keys import actions
from keys.actions import rotation
from keys.alerts import leaks
from keys.credentials.authentication import authenticate
from keys.credentials.caller import Caller
from keys.lists.event_words import describe_actor, describe_event
from keys.lists.states import with_unseen_secret
from keys.models import ApiKey, User
from keys.refusals import Refusal
from tests.keys.admin.key_forms import handed_out
from tests.keys.people import SECRET, by, everything_stored, page_of, signed_in

pytestmark = pytest.mark.postgresql

REPORTER = "198.51.100.7"


@pytest.fixture
def leaked(cast) -> tuple[ApiKey, str]:
    """Key and secret of dora's key, which somebody found."""
    key, secret = actions.issue(owner=cast["dora"], name="nightly training")
    leaks.report(text=secret, where="github.com/x", address=REPORTER)
    return key, secret


def caller_of(secret: str) -> Caller:
    return authenticate({"HTTP_AUTHORIZATION": f"Bearer {secret}"})


def refusal_of(secret: str) -> Refusal:
    with pytest.raises(Refusal) as raised:
        caller_of(secret)
    return raised.value


def state_of(key: ApiKey) -> str:
    return ApiKey.objects.get(pk=key.pk).state


def test_its_secret_is_not_resumed(leaked, cast):
    key, secret = leaked
    with pytest.raises(actions.ActionError, match=r"never works again: rotate .* or revoke it") as raised:
        actions.resume(key=key, actor=by(cast["alice"]))

    assert "github.com/x" in str(raised.value)
    assert REPORTER in str(raised.value)
    assert state_of(key) == ApiKey.State.PAUSED
    assert refusal_of(secret).reason == "paused_key"


@pytest.mark.parametrize("overlap", ["1h", "24h", "7d", "30d"])
def test_its_secret_gets_no_overlap(leaked, overlap):
    with pytest.raises(actions.ActionError, match="the overlap must be “now”"):
        actions.rotate(key=leaked[0], overlap=overlap)

    assert not leaked[0].events.filter(kind="rotated").exists()


def test_rotated_now_it_works_with_the_new_secret_and_the_old_one_is_refused_at_once(leaked, cast):
    key, old = leaked
    _, new = actions.rotate(key=key, overlap="now", actor=by(cast["bob"]))

    assert caller_of(new).key == key
    assert refusal_of(old).reason == "unknown_key"
    assert list(key.events.order_by("pk").values_list("kind", flat=True))[-2:] == ["rotated", "resumed"]
    actions.pause(key=key)
    assert actions.resume(key=key).state == ApiKey.State.ACTIVE  # this secret was not found


def test_a_pause_from_before_the_report_outlives_the_rotation(cast):
    key, secret = actions.issue(owner=cast["dora"], name="nightly training")
    actions.pause(key=key, reason="the project has ended", actor=by(cast["alice"]))
    leaks.report(text=secret, address=REPORTER)
    actions.rotate(key=key, overlap="now", actor=by(cast["dora"]))

    assert state_of(key) == ApiKey.State.PAUSED
    assert actions.resume(key=key).state == ApiKey.State.ACTIVE


def test_an_old_secret_that_is_found_during_the_overlap_does_not_come_back(cast):
    key, old = actions.issue(owner=cast["dora"], name="nightly training")
    actions.rotate(key=key, overlap="24h")
    leaks.report(text=old, address=REPORTER)

    with pytest.raises(actions.ActionError, match="never works again"):
        actions.resume(key=key)
    _, new = actions.rotate(key=key, overlap="now")
    assert caller_of(new).key == key
    assert refusal_of(old).reason == "unknown_key"


def test_the_caller_learns_where_it_was_found_but_not_who_reported_it(leaked):
    message = refusal_of(leaked[1]).message

    assert "github.com/x" in message
    assert "never works again" in message
    assert "resume it" not in message
    assert REPORTER not in message


def test_the_admins_pages_say_so_and_offer_no_resumption(leaked, alice):
    page = alice.get(page_of(leaked[0])).content.decode()

    assert page_of(leaked[0], "resume") not in page
    assert "This key was found in the open." in page
    assert "github.com/x" in page
    assert f"UTC from {REPORTER}" in page
    assert "by leak report" in page
    assert "command line" not in page.partition("Paused</strong>")[2].partition("</li>")[0]
    tried = alice.post(page_of(leaked[0], "resume"), follow=True).content.decode()
    assert "Not resumed:" in tried
    assert state_of(leaked[0]) == ApiKey.State.PAUSED
    rotation = alice.get(page_of(leaked[0], "rotate"))
    assert [name for name, _ in rotation.context["form"].fields["overlap"].widget.choices] == ["now"]


def test_the_holders_pages_say_so(leaked, cast):
    holder = signed_in(cast["dora"])
    page = holder.get(f"/account/keys/{leaked[0].public_id}/").content.decode()

    assert "This key was found in the open." in page
    assert "was found in the open, and the portal refuses calls" in holder.get("/account/").content.decode()
    assert "github.com/x" in page
    assert "resume it" not in page
    assert "command line" not in page.partition("Found in the open</strong>")[2].partition("</li>")[0]
    rotation = holder.get(f"/account/keys/{leaked[0].public_id}/rotate/")
    assert [name for name, _ in rotation.context["form"].fields["overlap"].widget.choices] == ["now"]


def test_the_api_refuses_to_resume_it(leaked, alice: Client):
    path = f"/api/v1/keys/{leaked[0].public_id}"
    resumed = alice.post(f"{path}/resume", {}, content_type="application/json")
    rotated = alice.post(f"{path}/rotate", {"overlap": "24h"}, content_type="application/json")

    assert {resumed.status_code, rotated.status_code} == {409}
    assert (resumed.json()["reason"], rotated.json()["reason"]) == ("not_possible", "not_possible")
    assert "github.com/x" in resumed.json()["detail"]
    assert state_of(leaked[0]) == ApiKey.State.PAUSED


def test_the_commands_refuse_to_resume_it(leaked):
    with pytest.raises(CommandError, match="never works again"):
        call_command("resume_key", leaked[0].public_id)
    with pytest.raises(CommandError, match="the overlap must be"):
        call_command("rotate_key", leaked[0].public_id)


class TestRotatedByAnother:
    """Only a person who holds a leaked key sees its new secret. A machine's goes to who rotates it."""

    @pytest.fixture
    def dora(self, leaked, cast) -> User:
        User.objects.filter(pk=cast["dora"].pk).update(email="dora@example.org")
        return cast["dora"]

    def rotate(self, client: Client, key: ApiKey, **headers: str):
        path = f"/api/v1/keys/{key.public_id}/rotate"
        return client.post(path, {"overlap": "now"}, content_type="application/json", headers=headers)

    def test_over_the_api_it_is_the_holders_to_create(self, leaked, dora, alice, settings):
        key, old = leaked
        response = self.rotate(alice, key, **{"Idempotency-Key": "one"})

        told = response.json()
        assert (response.status_code, response["Cache-Control"]) == (200, "private, no-store")
        assert (told["state"], told["key"], told["is_mailed"]) == ("active", None, False)
        assert not SECRET.search(response.content.decode())
        assert f"{settings.PUBLIC_URL}/account/keys/{key.public_id}/rotate/" in told["message"]
        assert told["link"] in told["message"]
        assert "Only the holder sees the new one" in told["notice"]
        assert refusal_of(old).reason == "unknown_key"
        again = self.rotate(alice, key, **{"Idempotency-Key": "one"}).json()
        assert (again["key"], again["link"], again["message"]) == (None, None, None)
        assert told["link"] not in everything_stored()
        assert self.rotate(alice, key).json()["key"] is None  # the message again: nobody has seen the secret
        assert caller_of(self.rotate(signed_in(dora), key).json()["key"]).key == key
        ordinary = self.rotate(alice, key).json()  # of a key like any other
        assert caller_of(ordinary["key"]).key == key
        assert (ordinary["link"], ordinary["message"], ordinary["is_mailed"]) == (None, None, False)

    def test_over_the_api_its_holder_gets_it(self, leaked, dora):
        told = self.rotate(signed_in(dora), leaked[0]).json()

        assert caller_of(told["key"]).key == leaked[0]
        assert told["message"] is None

    def test_pages_ask_the_holder_for_the_new_secret_until_it_is_there(self, leaked, dora, alice):
        key, holder = leaked[0], signed_in(dora)
        rotation = f"/account/keys/{key.public_id}/rotate/"
        self.rotate(alice, key)

        overview = holder.get("/account/").content.decode()
        assert "The leaked secret of “nightly training” was replaced" in overview
        assert f'<a href="{rotation}">Create the new secret</a>' in overview
        for page in (rotation, f"/account/keys/{key.public_id}/"):
            assert "Nobody has seen the current one." in holder.get(page).content.decode()
        form = holder.get(rotation).context["form"]
        assert [name for name, _ in form.fields["overlap"].widget.choices] == ["now"]
        assert "dora has yet to create the new secret." in alice.get(page_of(key)).content.decode()
        assert (
            "dora has yet to create the new secret."
            in alice.get(f"/admin/incident/{key.pk}/").content.decode()
        )
        assert "Nobody saw the new secret" in alice.get(page_of(key)).content.decode()
        again = alice.get(page_of(key, "rotate")).content.decode()
        assert "You do not see the new secret: dora gets a message" in again

        holder.post(rotation, {"overlap": "now", "form_id": form["form_id"].value()})
        assert "was replaced" not in holder.get("/account/").content.decode()
        assert "has yet to create" not in alice.get(page_of(key)).content.decode()

    @pytest.mark.parametrize("end", ["revoked", "expired"])
    def test_a_key_that_has_ended_waits_for_no_secret(self, leaked, dora, alice, end):
        key = leaked[0]
        self.rotate(alice, key)
        assert with_unseen_secret(ApiKey.objects.all()).get() == key
        if end == "revoked":
            actions.revoke(key=key)
        else:
            ApiKey.objects.filter(pk=key.pk).update(expires_at=timezone.now())

        assert not with_unseen_secret(ApiKey.objects.all()).exists()
        assert not ApiKey.objects.get(pk=key.pk).is_secret_unseen
        assert "has yet to create" not in alice.get(page_of(key)).content.decode()
        page = signed_in(dora).get(f"/account/keys/{key.public_id}/").content.decode()
        assert "Nobody has seen the current one." not in page

    def test_a_call_with_the_unseen_secret_does_not_count_as_seeing_it(self, leaked, dora, alice):
        self.rotate(alice, leaked[0])
        ApiKey.objects.update(last_used_at=timezone.now())

        assert with_unseen_secret(ApiKey.objects.all()).get() == leaked[0]
        assert ApiKey.objects.get(pk=leaked[0].pk).is_secret_unseen

    def test_the_command_prints_a_link_for_its_holder(self, leaked, dora, capsys):
        key, old = leaked
        call_command("rotate_key", key.public_id, "--overlap", "now")

        out, err = capsys.readouterr()
        assert out.startswith("http")
        assert not SECRET.search(out + err)
        assert (
            "dora creates the new secret with this link, and alone sees it. Send the link; it is shown only now."
            in err
        )
        assert (state_of(key), refusal_of(old).reason) == (ApiKey.State.ACTIVE, "unknown_key")

    def test_the_command_prints_it_as_json(self, leaked, dora, capsys):
        call_command("rotate_key", leaked[0].public_id, "--overlap", "now", "--json")

        told = json.loads(capsys.readouterr().out)
        assert (told["id"], told["key"], told["previous_ends_at"]) == (leaked[0].public_id, None, None)
        assert told["link"] in told["message"]

    @pytest.mark.parametrize("way", ["page", "API", "command"])
    def test_a_report_just_before_the_rotation_counts(self, dora, alice, settings, monkeypatch, capsys, way):
        key, secret = actions.issue(owner=dora, name="reported meanwhile")
        lock_key = rotation.lock_key

        def report_and_lock(*arguments):
            leaks.report(text=secret, where="a wiki")
            return lock_key(*arguments)

        answers = handed_out(alice, key, "rotate") | {"overlap": "now"}
        monkeypatch.setattr(rotation, "lock_key", report_and_lock)
        if way == "page":
            told = alice.post(page_of(key, "rotate"), answers).content.decode()
        elif way == "API":
            told = self.rotate(alice, key).content.decode()
        else:
            call_command("rotate_key", key.public_id, "--overlap", "now")
            told = "".join(capsys.readouterr())

        assert not SECRET.search(told)
        assert settings.PUBLIC_URL in told  # the link for the holder
        assert ApiKey.objects.get(pk=key.pk).is_secret_unseen

    def test_a_machines_secret_goes_to_who_rotates_it(self, leaked, cast, alice, capsys):
        key = leaked[0]
        assert caller_of(self.rotate(alice, key).json()["key"]).key == key
        _, found = actions.rotate(key=key, overlap="now")
        leaks.report(text=found, address=REPORTER)

        call_command("rotate_key", key.public_id, "--overlap", "now", "--json")
        assert caller_of(json.loads(capsys.readouterr().out)["key"]).key == key


def test_every_reported_location_is_kept_up_to_a_limit(leaked):
    key, secret = leaked
    for where in [
        "",
        "github.com/x",
        *(f"a wiki, page {number}" for number in range(leaks.MAX_LOCATIONS + 5)),
    ]:
        leaks.report(text=secret, where=where, address=REPORTER)

    reports = key.events.filter(kind="leaked").order_by("pk")
    assert [report.detail["where"] for report in reports][:2] == ["github.com/x", "a wiki, page 0"]
    assert reports.count() == leaks.MAX_LOCATIONS
    assert key.alerts.count() == 1


def test_a_report_is_not_shown_as_a_command(leaked):
    events = {event.kind: event for event in leaked[0].events.all()}

    assert describe_actor(events["issued"]) == "command line"
    assert describe_actor(events["paused"]) == describe_actor(events["leaked"]) == "leak report"
    assert describe_event(events["leaked"]) == ["Found at github.com/x"]
