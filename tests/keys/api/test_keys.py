"""Keys over the management API: who may see and do what, and that nothing shows a secret but its one answer."""

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone

from keys import actions
from keys.credentials import tokens
from keys.models import ApiKey, KeyEvent
from keys.rights.scopes import Preset, Scope
from tests.keys.api.callers import API, program, refused
from tests.keys.people import SECRET, by, call, key_of, signed_in

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]


class TestWhoMay:
    @pytest.mark.parametrize(
        ("name", "scopes", "status", "reason"),
        [
            ("alice", [Scope.PORTAL_ADMIN], 201, None),
            ("bob", [Scope.PORTAL_ADMIN], 201, None),
            ("charlie", [Scope.PORTAL_ADMIN], 403, "permission"),
            ("dora", [Scope.PORTAL_ADMIN], 403, "permission"),
            ("alice", [Scope.PORTAL_READ, Scope.PORTAL_INTROSPECT], 403, "scope"),
            ("alice", list(Preset.FULL.scopes), 403, "scope"),
        ],
    )
    def test_issue(self, cast, name, scopes, status, reason):
        answer = program(cast[name], *scopes).post("/keys", {"user": "dora", "name": "n"})

        assert (answer.status_code, answer.json().get("reason")) == (status, reason)
        assert ApiKey.objects.filter(name="n").exists() is (status == 201)

    @pytest.mark.parametrize(
        ("name", "status", "seen"),
        [("alice", 200, True), ("bob", 200, True), ("charlie", 404, False), ("dora", 200, True)],
    )
    def test_read_doras_key(self, cast, name, status, seen):
        key = key_of(cast["dora"])
        caller = program(cast[name], Scope.PORTAL_READ)

        assert caller.get(f"/keys/{key.public_id}").status_code == status
        assert caller.get(f"/keys/{key.public_id}/events").status_code == status
        assert (key.public_id in caller.get("/keys").content.decode()) is seen

    def test_holders_see_their_own_keys_only(self, cast, alice, dora):
        listed = dora.get("/keys").json()["results"]

        assert [key["id"] for key in listed] == [dora.key.public_id]
        refused(dora.get(f"/keys/{alice.key.public_id}"), 404, "not_found")

    @pytest.mark.parametrize("act", ["rotate", "revoke"])
    def test_holders_rotate_and_revoke_their_own_only(self, cast, alice, dora, act):
        key = key_of(cast["dora"])

        assert dora.post(f"/keys/{key.public_id}/{act}").status_code == 200
        refused(dora.post(f"/keys/{alice.key.public_id}/{act}"), 404, "not_found")
        assert ApiKey.objects.get(pk=alice.key.pk).revoked_at is None

    def test_holders_end_the_old_secret_of_their_own_only(self, cast, alice, dora):
        mine, other = key_of(cast["dora"]), key_of(cast["bob"])
        for key in (mine, other):
            actions.rotate(key=key, overlap="7d")
        call(mine, 1, is_previous_secret=True, address="192.0.2.9")

        use = dora.get(f"/keys/{mine.public_id}/old-secret").json()
        ended = dora.post(f"/keys/{mine.public_id}/end-old-secret")

        assert (use["calls"], use["is_cut"]) == (1, False)
        assert use["callers"][0]["address"] == "192.0.2.9"
        assert (ended.status_code, ended.json()["state"]) == (200, "active")
        refused(dora.post(f"/keys/{mine.public_id}/end-old-secret"), 409, "not_possible")
        for answer in (
            dora.get(f"/keys/{other.public_id}/old-secret"),
            dora.post(f"/keys/{other.public_id}/end-old-secret"),
        ):
            refused(answer, 404, "not_found")
        assert alice.get(f"/keys/{other.public_id}/old-secret").json()["calls"] == 0
        assert ApiKey.objects.get(pk=other.pk).has_old_secret

    def test_a_paused_key_with_a_portal_scope_is_resumed_by_a_person(self, cast, alice):
        key = program(cast["alice"], Scope.PORTAL_ADMIN).key
        assert alice.post(f"/keys/{key.public_id}/pause").status_code == 200

        refused(alice.post(f"/keys/{key.public_id}/resume"), 403, "not_granted")
        assert actions.resume(key=key, actor=by(cast["alice"])).state == "active"

    @pytest.mark.parametrize("act", ["pause", "resume"])
    def test_holders_do_nothing_else(self, cast, dora, act):
        refused(dora.post(f"/keys/{key_of(cast['dora']).public_id}/{act}"), 403, "permission")

    def test_a_key_without_a_scope_of_the_portals_asks_whose_it_is_and_nothing_else(self, cast):
        key = program(cast["alice"], *Preset.FULL.scopes)

        assert key.get("/me").status_code == 200
        for path in ("/keys", f"/keys/{key.key.public_id}", "/users"):
            refused(key.get(path), 403, "scope")

    @pytest.mark.parametrize("method", ["get", "post"])
    def test_nobody_without_a_key(self, cast, method):
        problem = refused(getattr(Client(), method)(f"{API}/keys"), 401, "no_key")

        assert "portal:admin" in problem["detail"]

    def test_staff_who_are_no_longer_staff_may_not_at_once(self, cast, bob):
        assert bob.post("/keys", {"user": "dora", "name": "n"}).status_code == 201
        cast["bob"].is_staff = False
        cast["bob"].save()

        refused(bob.post("/keys", {"user": "dora", "name": "n"}), 403, "permission")
        assert len(bob.get("/keys").json()["results"]) == 1

    def test_who_loses_a_permission_may_not_at_once(self, cast, bob):
        cast["bob"].user_permissions.remove(Permission.objects.get(codename="add_apikey"))

        refused(bob.post("/keys", {"user": "dora", "name": "n"}), 403, "permission")

    def test_deactivated_users_keys_do_nothing(self, cast, alice):
        cast["alice"].is_active = False
        cast["alice"].save()

        refused(alice.get("/me"), 401, "inactive_user")

    def test_expired_keys_have_no_grace_here(self, cast, alice):
        ApiKey.objects.filter(pk=alice.key.pk).update(expires_at=timezone.now())

        refused(alice.get("/me"), 401, "expired_key")

    def test_networks_hold_here_too(self, cast):
        caller = program(cast["alice"], Scope.PORTAL_ADMIN, networks=["10.0.0.0/8"])

        assert "10.0.0.0/8" in refused(caller.get("/keys"), 403, "network")["detail"]

    def test_a_key_in_the_address_is_refused(self, alice):
        refused(Client().get(f"{API}/keys?api_key={alice.secret}"), 401, "key_in_query")


class TestSessions:
    def test_staff_may_what_they_may_in_the_admin_pages(self, cast):
        client = signed_in(cast["bob"])

        assert client.get(f"{API}/keys").status_code == 200
        answer = client.post(f"{API}/keys", {"user": "dora", "name": "n"}, content_type="application/json")
        assert answer.status_code == 201
        assert "via" not in KeyEvent.objects.get().detail

    def test_writes_need_the_csrf_token(self, cast):
        client = signed_in(cast["bob"], enforce_csrf_checks=True)
        body = {"user": "dora", "name": "n"}

        refused(client.post(f"{API}/keys", body, content_type="application/json"), 403, "csrf")
        assert not ApiKey.objects.exists()

    def test_asking_for_the_methods_is_no_write(self, bob):
        answer = bob("OPTIONS", "/keys")

        assert (answer.status_code, answer["Allow"]) == (200, "GET, POST, HEAD, OPTIONS")

    def test_a_key_counts_and_not_the_session_beside_it(self, cast, dora):
        client = signed_in(cast["alice"], headers={"Authorization": f"Bearer {dora.secret}"})

        assert client.get(f"{API}/me").json()["user"]["name"] == "dora"

    def test_a_gateways_credential_beside_a_session_is_ignored(self, cast):
        client = signed_in(cast["alice"], headers={"Authorization": "Basic Z2F0ZTpzZWNyZXQ="})
        assert client.get("/api/v1/keys").status_code == 200
        without = Client(headers={"Authorization": "Basic Z2F0ZTpzZWNyZXQ="})
        assert without.get("/api/v1/keys").status_code == 401


class TestPortalScopes:
    """A key with one is as good as its owner's session."""

    def test_are_given_to_others_by_superusers_only(self, cast):
        body = {"user": "alice", "name": "n", "scopes": ["portal:admin"]}
        asked = {name: signed_in(cast[name]) for name in ("alice", "bob")}

        refused(asked["bob"].post(f"{API}/keys", body, content_type="application/json"), 403, "not_granted")
        answer = asked["bob"].post(f"{API}/keys", {**body, "user": "bob"}, content_type="application/json")
        assert answer.status_code == 201
        assert asked["alice"].post(f"{API}/keys", body, content_type="application/json").status_code == 201

    def test_are_not_given_by_keys(self, cast, alice):
        key = key_of(cast["dora"])
        scopes = {"scopes": ["portal:admin"]}

        refused(alice.post("/keys", {"user": "alice", "name": "n", **scopes}), 403, "not_granted")
        refused(alice.patch(f"/keys/{key.public_id}", scopes), 403, "not_granted")
        refused(
            alice.patch(f"/keys/{alice.key.public_id}", {"expires_at": None, "name": "n"}), 403, "not_granted"
        )

    def test_are_not_got_by_rotating(self, cast, alice, bob):
        other = program(cast["alice"], Scope.PORTAL_ADMIN)

        refused(bob.post(f"/keys/{alice.key.public_id}/rotate"), 403, "not_granted")
        refused(alice.post(f"/keys/{other.key.public_id}/rotate"), 403, "not_granted")
        assert alice.post(f"/keys/{alice.key.public_id}/rotate", {"overlap": "now"}).status_code == 200
        refused(alice.get("/me"), 401, "unknown_key")

    def test_stop_nobody_from_ending_such_a_key(self, cast, bob):
        other = program(cast["dora"], Scope.PORTAL_ADMIN)
        assert bob.post(f"/keys/{other.key.public_id}/pause").status_code == 200
        assert bob.post(f"/keys/{other.key.public_id}/revoke").status_code == 200

    def test_are_not_for_test_keys(self, alice, cast, settings):
        settings.MLFLOW_TEST_URL = "http://127.0.0.1:9"
        with pytest.raises(actions.NotAllowed, match="test key"):
            actions.issue(owner=cast["alice"], name="n", environment="test", scopes=["portal:read"])


class TestChange:
    def test_changes_what_is_sent_and_nothing_else(self, cast, alice):
        key = key_of(cast["dora"])
        changed = alice.patch(f"/keys/{key.public_id}", {"networks": ["10.0.0.0/8"]})

        assert changed.status_code == 200
        assert (changed.json()["networks"], changed.json()["name"]) == (["10.0.0.0/8"], key.name)
        assert KeyEvent.objects.filter(key=key, kind="changed").get().detail["after"] == {
            "networks": ["10.0.0.0/8"]
        }

    def test_of_what_has_changed_since_is_refused(self, cast, alice):
        address = f"/keys/{key_of(cast['dora']).public_id}"
        seen = alice.get(address)["ETag"]
        changed = alice.patch(address, {"name": "one"}, If_Match=seen)

        assert changed.status_code == 200
        assert changed["ETag"] == alice.get(address)["ETag"] != seen
        refused(alice.patch(address, {"name": "two"}, If_Match=seen), 412, "key_changed")
        refused(alice.post(f"{address}/revoke", If_Match=seen), 412, "key_changed")
        assert alice.get(address).json()["name"] == "one"
        assert (
            alice.patch(address, {"name": "two"}, If_Match=f'"other", {changed["ETag"]}').status_code == 200
        )

    def test_what_would_be_refused_anyhow_is_refused_for_that(self, cast, alice):
        """As RFC 9110, 13.2.1, has it."""
        address = f"/keys/{key_of(cast['dora']).public_id}"

        refused(alice.patch(address, {"colour": "red"}, If_Match='"other"'), 400, "bad_value")
        refused(alice.post(f"{address}/pause", {"reason": 7}, If_Match='"other"'), 400, "bad_value")

    def test_use_of_a_key_is_no_change_of_it(self, cast, alice):
        key = key_of(cast["dora"])
        before = alice.get(f"/keys/{key.public_id}")["ETag"]
        ApiKey.objects.filter(pk=key.pk).update(last_used_at=timezone.now(), last_used_address="10.0.0.1")

        assert alice.get(f"/keys/{key.public_id}")["ETag"] == before

    def test_of_a_revoked_key_is_not_possible(self, cast, alice):
        key = key_of(cast["dora"])
        alice.post(f"/keys/{key.public_id}/revoke", {"reason": "left"})

        assert (
            "revoked"
            in refused(alice.patch(f"/keys/{key.public_id}", {"name": "n"}), 409, "not_possible")["detail"]
        )
        refused(alice.post(f"/keys/{key.public_id}/rotate"), 409, "not_possible")

    def test_of_the_owner_or_the_state_is_no_field(self, cast, alice):
        for field in ("user", "owner", "state", "environment", "digest"):
            refused(alice.patch(f"/keys/{key_of(cast['dora']).public_id}", {field: "x"}), 400, "bad_value")


def test_a_key_is_paused_resumed_rotated_and_revoked(cast, alice):
    key = key_of(cast["dora"])
    address = f"/keys/{key.public_id}"

    assert alice.post(f"{address}/pause", {"reason": "audit"}).json()["state"] == "paused"
    assert alice.post(f"{address}/resume").json()["state"] == "active"
    rotated = alice.post(f"{address}/rotate", {"overlap": "1h"})
    assert (rotated.json()["state"], rotated["Cache-Control"]) == ("rotating", "private, no-store")
    assert rotated.json()["previous"]["masked"] == key.masked
    assert tokens.parse(rotated.json()["key"]).last4 == rotated.json()["masked"][-4:]
    assert alice.post(f"{address}/revoke", {"reason": "left"}).json()["revoked_reason"] == "left"
    events = alice.get(f"{address}/events").json()["results"]
    assert [event["kind"] for event in events] == ["revoked", "rotated", "resumed", "paused", "issued"]
    assert events[0]["actor"] == "alice"
    assert not SECRET.search(alice.get("/keys").content.decode())
