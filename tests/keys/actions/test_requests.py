"""Holders request a new key, a later expiry or more rights; administrators approve with one click, or decline."""

import datetime
import json

import pytest
from django.core import mail
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction
from django.test import Client
from django.utils import timezone

from keys import actions
from keys.actions import collecting, requests
from keys.models import ApiKey, KeyRequest, PreparedKey, User
from keys.rights.scopes import Preset, Scope
from tests.keys.api.callers import program, refused
from tests.keys.people import SECRET, by, key_of, signed_in

pytestmark = pytest.mark.django_db

ADMIN = "/admin/keys/apikey/requests/"
PASSWORD = "correct horse battery staple"


@pytest.fixture
def key(cast) -> ApiKey:
    """Dora's, a reader that expires in ten days."""
    expires_at = timezone.now() + datetime.timedelta(days=10)
    return actions.issue(
        owner=cast["dora"], name="training", scopes=Preset.READER.scopes, expires_at=expires_at
    )[0]


@pytest.fixture
def dora(cast) -> Client:
    cast["dora"].set_password(PASSWORD)
    cast["dora"].save()
    return signed_in(cast["dora"])


def renewal(cast, key: ApiKey, days: int = 90) -> KeyRequest:
    return requests.request(kind="renewal", key=key, days=days, note="still training", actor=by(cast["dora"]))


def more(cast, key: ApiKey) -> KeyRequest:
    return requests.request(kind="scope", key=key, scopes=Preset.FULL.scopes, actor=by(cast["dora"]))


def new(cast, name: str = "laptop") -> KeyRequest:
    requested = {"name": name, "scopes": Preset.CONTRIBUTOR.scopes, "days": 30}
    return requests.request(kind="new", **requested, actor=by(cast["dora"]))


def test_the_holder_alone_withdraws_a_request_that_is_not_decided(cast, key, dora):
    asked = renewal(cast, key)
    address = f"/account/keys/requests/{asked.public_id}/withdraw/"
    offered = text(dora.get("/account/"))

    assert address in offered
    assert signed_in(cast["bob"]).post(address).status_code == 404
    with pytest.raises(actions.NotAllowed, match="only the holder"):
        requests.withdraw(request=asked, actor=by(cast["bob"]))
    assert dora.get(address).status_code == 405
    assert dora.post(address, follow=True).redirect_chain == [(f"/account/keys/{key.public_id}/", 302)]
    asked.refresh_from_db()
    assert (asked.state, asked.decided_by) == ("withdrawn", cast["dora"])
    assert key.events.get(kind="request_withdrawn").actor == cast["dora"]
    assert "Nothing was changed: the request was withdrawn on" in text(dora.post(address, follow=True))
    with pytest.raises(actions.ActionError, match="was withdrawn"):
        requests.approve(request=asked)
    assert renewal(cast, key).state == "open"


def test_a_request_is_withdrawn_over_the_api_by_its_holder(cast):
    asked = new(cast)
    address = f"/api/v1/key-requests/{asked.public_id}/withdraw"

    assert signed_in(cast["bob"]).post(address, content_type="application/json").status_code == 404
    answer = signed_in(cast["dora"]).post(address, content_type="application/json")
    assert (answer.status_code, answer.json()["state"]) == (200, "withdrawn")


def is_near(at: datetime.datetime, days: int) -> bool:
    return abs(at - timezone.now() - datetime.timedelta(days=days)) < datetime.timedelta(minutes=1)


def text(answer) -> str:
    return answer.content.decode()


class TestTheWholeWay:
    def test_a_later_expiry_is_approved_with_one_click_on_the_dashboard(self, cast, bob, dora, key):
        page = f"/account/keys/{key.public_id}/"
        assert f"{page}request/renewal/" in text(dora.get(page))
        dora.post(
            f"{page}request/renewal/", {"days": "90", "note": "still training"}, REMOTE_ADDR="192.0.2.7"
        )
        row = KeyRequest.objects.get()
        assert (row.user, row.address, row.note) == (cast["dora"], "192.0.2.7", "still training")
        assert "An administrator decides about it." in text(dora.get(page))

        approve = f"{ADMIN}{row.pk}/approve/"
        assert approve in text(bob.get("/admin/"))
        assert "still training" in text(bob.get(ADMIN))
        done = bob.post(approve, follow=True)

        assert "It is in effect." in text(done)
        key.refresh_from_db()
        assert is_near(key.expires_at, 90)
        changed, requested, _ = key.events.all()
        assert (changed.kind, changed.actor) == ("changed", cast["bob"])
        assert (requested.kind, requested.actor) == ("requested", cast["dora"])
        assert "<strong>approved</strong>" in text(dora.get("/account/"))
        assert approve not in text(bob.get("/admin/"))

    def test_more_rights_are_added_to_those_of_the_key(self, cast, bob, dora, key):
        dora.post(f"/account/keys/{key.public_id}/request/scope/", {"preset": "full", "note": ""})

        bob.post(f"{ADMIN}{KeyRequest.objects.get().pk}/approve/")

        key.refresh_from_db()
        assert set(key.scopes) == set(Preset.FULL.scopes)
        assert not SECRET.search(text(dora.get("/account/")))

    def test_a_new_key_is_collected_by_its_holder(self, cast, bob, dora):
        assert "/account/keys/request/" in text(dora.get("/account/"))
        dora.post("/account/keys/request/", {"name": "laptop", "preset": "contributor", "days": "30"})
        row = KeyRequest.objects.get()

        answer = bob.post(f"{ADMIN}{row.pk}/approve/")

        assert "/account/collect/link/hkc_" in text(answer)
        assert not SECRET.search(text(answer))
        prepared = PreparedKey.objects.get()
        assert (prepared.created_by, prepared.request) == (cast["bob"], row)
        issued, _ = collecting.collect(prepared=prepared, actor=by(cast["dora"]))
        assert (issued.name, issued.created_by, issued.scopes) == (
            "laptop",
            cast["bob"],
            list(Preset.CONTRIBUTOR.scopes),
        )
        assert is_near(issued.expires_at, 30)

    def test_one_is_declined_with_a_reason_that_the_holder_reads(self, cast, bob, dora, key):
        row = more(cast, key)
        page = f"{ADMIN}{row.pk}/"
        assert "This field is required." in text(bob.post(page, {"reason": ""}))

        done = bob.post(page, {"reason": "Readers suffice."}, follow=True)

        assert "is told the reason" in text(done)
        assert "Readers suffice." in text(dora.get("/account/"))
        declined = key.events.first()
        assert (declined.kind, declined.actor, declined.detail["reason"]) == (
            "request_declined",
            cast["bob"],
            "Readers suffice.",
        )
        key.refresh_from_db()
        assert key.scopes == list(Preset.READER.scopes)
        assert "was declined" in text(bob.post(f"{ADMIN}{row.pk}/approve/", follow=True))

    def test_both_are_told_by_mail_where_mail_is_configured(self, cast, bob, dora, key, settings):
        settings.SMTP_URL, settings.ALERT_EMAILS = "smtp://mail.example", ["admins@example.com"]
        User.objects.filter(pk=cast["dora"].pk).update(email="dora@example.com")

        dora.post(f"/account/keys/{key.public_id}/request/renewal/", {"days": "90", "note": "why\nnot"})
        row = KeyRequest.objects.get()
        bob.post(f"{ADMIN}{row.pk}/approve/")

        to_admins, to_dora = mail.outbox
        assert to_admins.to == ["admins@example.com"]
        assert f"{ADMIN}{row.pk}/" in to_admins.body
        assert (to_dora.to, to_dora.subject) == (["dora@example.com"], "Your request was approved")


class TestWhatIsRefused:
    def test_a_second_open_request_for_the_same(self, cast, dora, key):
        renewal(cast, key)
        with pytest.raises(actions.ActionError, match="already requested"):
            renewal(cast, key)
        more(cast, key)
        new(cast)
        with pytest.raises(actions.ActionError, match="already requested"):
            new(cast, "other")
        assert "You requested" in text(dora.get(f"/account/keys/{key.public_id}/request/renewal/"))

    def test_what_changes_nothing(self, cast, key):
        with pytest.raises(actions.ActionError, match="anyway"):
            renewal(cast, key, days=5)
        with pytest.raises(actions.ActionError, match="these rights already"):
            requests.request(kind="scope", key=key, scopes=Preset.READER.scopes, actor=by(cast["dora"]))
        with pytest.raises(actions.ActionError, match="does not expire"):
            requests.request(kind="renewal", key=key_of(cast["dora"]), days=90, actor=by(cast["dora"]))

    def test_scopes_of_the_portal_and_incomplete_requests(self, cast, key):
        with pytest.raises(actions.ActionError, match="cannot be requested"):
            requests.request(kind="scope", key=key, scopes=["portal:admin"], actor=by(cast["dora"]))
        with pytest.raises(actions.ActionError, match="a new key a name"):
            requests.request(kind="new", actor=by(cast["dora"]))

    def test_anybody_elses_key(self, cast, key):
        with pytest.raises(actions.NotAllowed):
            requests.request(kind="renewal", key=key, days=90, actor=by(cast["bob"]))
        mallory = signed_in(User.objects.create_user("mallory"))
        assert (
            mallory.post(f"/account/keys/{key.public_id}/request/renewal/", {"days": "90"}).status_code == 404
        )

    def test_an_approval_beyond_the_admins_own_grants(self, cast, key):
        of_alice, _ = actions.issue(
            owner=cast["alice"], name="hers", expires_at=timezone.now() + datetime.timedelta(days=5)
        )
        row = requests.request(kind="renewal", key=of_alice, days=90, actor=by(cast["alice"]))

        with pytest.raises(actions.NotAllowed, match="only a superuser"):
            requests.approve(request=row, actor=by(cast["bob"]))
        assert signed_in(cast["bob"]).post(f"{ADMIN}{row.pk}/approve/").status_code == 403
        for name in ("charlie", "dora"):
            client = signed_in(cast[name])
            assert client.post(f"{ADMIN}{renewal_of(cast, key).pk}/approve/").status_code in (302, 403)
        assert not KeyRequest.objects.exclude(state="open").exists()

    def test_a_key_that_was_revoked_meanwhile(self, cast, bob, key):
        row = renewal(cast, key)
        actions.revoke(key=key)

        answer = bob.post(f"{ADMIN}{row.pk}/approve/", follow=True)

        assert "was revoked" in text(answer)
        assert KeyRequest.objects.get().state == "open"


def renewal_of(cast, key: ApiKey) -> KeyRequest:
    return KeyRequest.objects.filter(key=key, kind="renewal").first() or renewal(cast, key)


class TestOverTheApi:
    def test_a_holder_requests_in_a_session_and_staff_decide(self, cast, dora, key):
        bob = program(cast["bob"], Scope.PORTAL_ADMIN)
        asked = post(dora, "/key-requests", {"kind": "renewal", "key_id": key.public_id, "days": 90})
        assert (asked.status_code, asked.json()["state"]) == (201, "open")
        path = f"/key-requests/{asked.json()['id']}"

        refused(post(dora, f"{path}/approve", {}), 403, "permission")
        erin = program(User.objects.create_user("erin"), Scope.PORTAL_ADMIN)
        refused(erin.post(f"{path}/approve"), 404, "not_found")
        wrong = {"kind": "scope", "key_id": "key_x", "preset": "full"}
        refused(post(dora, "/key-requests", wrong), 404, "not_found")
        assert bob.post(f"{path}/approve").json()["state"] == "approved"
        refused(bob.post(f"{path}/approve"), 409, "not_possible")

    def test_a_key_requests_a_later_expiry_and_nothing_else(self, cast, key):
        own = program(cast["dora"], Scope.PORTAL_ADMIN)
        wanted = {"key_id": key.public_id, "days": 90}

        assert own.post("/key-requests", {"kind": "renewal", **wanted}).json()["state"] == "open"
        assert key.events.get(kind="requested").detail["via"] == own.key.public_id
        for more in ({"kind": "scope", "preset": "full"}, {"kind": "new", "name": "n", "preset": "full"}):
            refused(own.post("/key-requests", {**wanted, **more}), 403, "permission")
        other = key_of(cast["bob"])
        refused(
            own.post("/key-requests", {"kind": "renewal", "key_id": other.public_id, "days": 9}),
            404,
            "not_found",
        )
        reader = program(cast["dora"], Scope.PORTAL_READ)
        refused(reader.post("/key-requests", {"kind": "renewal", **wanted}), 403, "scope")

    def test_the_approval_of_a_new_key_has_the_message_once(self, cast, dora):
        bob = program(cast["bob"], Scope.PORTAL_ADMIN)
        path = f"/key-requests/{new(cast).public_id}/approve"

        answer = bob.post(path, Idempotency_Key="once").json()
        again = bob.post(path, Idempotency_Key="once").json()

        assert answer["link"] in answer["message"]
        assert (again["link"], again["message"]) == (None, None)

    def test_one_is_declined(self, cast, dora):
        bob = program(cast["bob"], Scope.PORTAL_ADMIN)
        path = f"/key-requests/{new(cast).public_id}/decline"

        refused(bob.post(path, {}), 400, "bad_value")
        declined = bob.post(path, {"reason": "One is enough."}).json()
        assert (declined["state"], declined["reason"]) == ("declined", "One is enough.")
        assert len(dora.get("/api/v1/key-requests").json()["results"]) == 1


def post(client: Client, path: str, body: dict):
    return client.post(f"/api/v1{path}", body, content_type="application/json")


def test_the_command_lists_approves_and_declines(capsys, cast, key):
    first, second = renewal(cast, key), more(cast, key)
    third = new(cast)

    call_command("key_requests", "--json")
    assert {row["id"] for row in json.loads(capsys.readouterr().out)} == {
        first.public_id,
        second.public_id,
        third.public_id,
    }
    call_command("key_requests", "--approve", first.public_id)
    assert "Approved: a later expiry of “training” (for 90 days) of dora." in capsys.readouterr().err
    with pytest.raises(CommandError, match="give a reason"):
        call_command("key_requests", "--decline", second.public_id)
    call_command("key_requests", "--decline", second.public_id, "--reason", "no")
    assert "Declined: more rights for “training” (full) of dora." in capsys.readouterr().out
    call_command("key_requests", "--approve", third.public_id)
    assert "/account/invitation/hki_" in capsys.readouterr().out  # she has no password yet
    with pytest.raises(CommandError, match="there is no request"):
        call_command("key_requests", "--approve", "kreq_x")


NOW = timezone.now()


@pytest.mark.parametrize(
    ("constraint", "values"),
    [
        ("request_is_for_a_key_or_a_new_one", {"key": None}),
        ("request_is_for_a_key_or_a_new_one", {"name": "other"}),
        ("request_asks_for_something", {"days": None}),
        ("request_asks_for_something", {"scopes": ["tracking:read"]}),
        ("request_days_are_possible", {"days": 4000}),
        ("request_decided_once", {"decided_at": NOW}),
        ("request_decided_once", {"state": "approved"}),
        ("request_declined_with_reason", {"state": "declined", "decided_at": NOW}),
    ],
)
def test_the_database_refuses_other_rows(cast, key, constraint, values):
    row = renewal(cast, key)

    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        KeyRequest.objects.filter(pk=row.pk).update(**values)


def test_the_database_keeps_one_open_request_of_a_kind(cast, key):
    renewal(cast, key)
    new(cast)

    with pytest.raises(IntegrityError, match="request_one_open_a_key"), transaction.atomic():
        KeyRequest.objects.create(user=cast["dora"], kind="renewal", key=key, days=30)
    with pytest.raises(IntegrityError, match="request_one_open_new_key"), transaction.atomic():
        KeyRequest.objects.create(user=cast["dora"], kind="new", name="n", scopes=["tracking:read"], days=30)
