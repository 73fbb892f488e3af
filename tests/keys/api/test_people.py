"""Who am I, who else is there, and whose is this key?"""

from urllib.parse import urlsplit

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.test import Client

from keys import actions
from keys.models import User
from keys.rights.groups import AUDITORS
from keys.rights.scopes import Preset, Scope
from tests.keys.api.callers import API, program, refused
from tests.keys.people import everything_stored, key_of, queries, signed_in

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]


class TestMe:
    def test_says_whose_the_key_is(self, cast):
        caller = program(cast["dora"], *Preset.READER.scopes)
        me = caller.get("/me").json()

        assert (me["user"]["name"], me["user"]["id"]) == ("dora", cast["dora"].public_id)
        assert (me["key"]["id"], me["key"]["scopes"]) == (caller.key.public_id, list(Preset.READER.scopes))
        assert me["permissions"] == []
        assert caller.secret not in str(me)

    def test_says_what_staff_may(self, cast, bob):
        assert "keys.add_apikey" in bob.get("/me").json()["permissions"]

    def test_knows_sessions_without_a_key(self, cast):
        me = signed_in(cast["dora"]).get(f"{API}/me").json()

        assert (me["user"]["name"], me["key"]) == ("dora", None)

    def test_is_nobody_without_either(self, db):
        assert refused(Client().get(f"{API}/me"), 401, "no_key")
        assert Client().get(f"{API}/me")["WWW-Authenticate"].startswith("Bearer")

    @pytest.mark.parametrize("method", ["post", "put", "delete", "patch"])
    def test_is_only_read(self, alice, method):
        answer = alice(method, "/me")

        refused(answer, 405, "bad_method")
        assert "GET" in answer["Allow"]


class TestUsers:
    def test_are_listed_for_who_may_see_them(self, cast, alice, dora):
        assert {user["name"] for user in alice.get("/users").json()["results"]} == set(cast)
        assert [user["name"] for user in dora.get("/users").json()["results"]] == ["dora"]
        assert [user["name"] for user in alice.get("/users?q=char").json()["results"]] == ["charlie"]
        staff = alice.get("/users?is_staff=false").json()["results"]
        assert [user["name"] for user in staff] == ["dora"]
        cast["charlie"].groups.set(Group.objects.filter(name=AUDITORS))
        for query, name in (("is_superuser=true", "alice"), (f"group={AUDITORS}", "charlie")):
            assert [user["name"] for user in alice.get(f"/users?{query}").json()["results"]] == [name]
        refused(alice.get("/users?group=Wheel"), 400, "bad_value")
        for neither in ("yes", "1", "TRUE", "-7"):
            problem = refused(alice.get(f"/users?is_superuser={neither}"), 400, "bad_value")
            assert problem["errors"]["is_superuser"] == ["Send true or false."]

    def test_others_are_not_there_for_who_may_not(self, cast, dora):
        assert dora.get(f"/users/{cast['dora'].public_id}").json()["name"] == "dora"
        refused(dora.get(f"/users/{cast['alice'].public_id}"), 404, "not_found")
        refused(dora.get("/users/usr_%00"), 404, "not_found")

    def test_show_no_password(self, cast, alice):
        cast["dora"].set_password("correct horse battery staple")
        cast["dora"].save()

        assert cast["dora"].password not in alice.get("/users").content.decode()

    def test_take_as_many_queries_for_30_as_for_3(self, alice):
        counts = []
        for rows in (3, 27):
            User.objects.bulk_create(User(username=f"user-{rows}-{number}") for number in range(rows))
            counts.append(queries(lambda: alice.get("/users")))

        assert counts[0] == counts[1]
        assert counts[0] <= 3


class TestIntrospection:
    @pytest.fixture
    def service(self, cast):
        return program(cast["charlie"], Scope.PORTAL_INTROSPECT)

    def test_says_for_whom_a_key_is_good(self, cast, service):
        shown = program(cast["dora"], "registry:read", "registry:write", patterns=["dora-*"])
        answer = service.post("/introspect", {"token": shown.secret})

        found = answer.json()
        assert (found["active"], found["scope"]) == (True, "registry:read registry:write")
        assert (found["sub"], found["username"]) == (cast["dora"].public_id, "dora")
        assert (found["client_id"], found["patterns"]) == (shown.key.public_id, ["dora-*"])
        assert "exp" not in found
        assert answer["Cache-Control"] == "private, no-store"

    @pytest.mark.parametrize("act", ["revoke", "pause"])
    def test_says_why_a_key_is_not_good(self, cast, service, act):
        key, secret = actions.issue(owner=cast["dora"], name="n")
        getattr(actions, act)(key=key)

        found = service.post("/introspect", {"token": secret}).json()
        assert found == {"active": False, "reason": f"{act.rstrip('e')}ed_key"}

    def test_knows_no_canary_and_tells_that_it_was_asked_about(self, cast, service):
        key, secret = actions.issue(owner=cast["dora"], name="n", is_canary=True)

        found = service.post("/introspect", {"token": secret, "address": "192.0.2.9"}).json()
        assert found == {"active": False, "reason": "unknown_key"}
        event = key.events.get(kind="canary_used")
        assert (event.address, event.detail["client"]) == ("192.0.2.9", "a service that asked about the key")

    @pytest.mark.parametrize(
        ("token", "reason"),
        [("hk_live_" + "0" * 32, "malformed_key"), ("x", "malformed_key")],
    )
    def test_tells_what_is_no_key(self, service, token, reason):
        assert service.post("/introspect", {"token": token}).json() == {"active": False, "reason": reason}

    def test_heeds_networks_when_told_whence(self, cast, service):
        shown = program(cast["dora"], networks=["10.0.0.0/8"])

        for address, active in (("10.1.2.3", True), ("192.0.2.1", False), (None, True)):
            body = {"token": shown.secret} | ({"address": address} if address else {})
            assert service.post("/introspect", body).json()["active"] is active

    def test_is_for_services_only(self, cast, alice):
        token = {"token": program(cast["dora"]).secret}

        refused(alice.post("/introspect", token), 403, "scope")
        session = signed_in(cast["alice"])
        refused(session.post(f"{API}/introspect", token, content_type="application/json"), 403, "scope")
        refused(Client().post(f"{API}/introspect", token, content_type="application/json"), 401, "no_key")

    def test_takes_two_queries_beside_those_that_the_caches_spare(
        self, cast, service, django_assert_num_queries
    ):
        token = {"token": program(cast["dora"]).secret}
        with django_assert_num_queries(2):  # in this process nothing is remembered: each key is one look-up
            assert service.post("/introspect", token).json()["active"]


def test_who_finds_a_key_of_another_service_learns_nothing_of_it(cast):
    service = program(cast["charlie"], Scope.PORTAL_INTROSPECT)

    for path in ("/keys", "/users", f"/keys/{key_of(cast['dora']).public_id}"):
        refused(service.get(path), 403, "scope")


class TestShuttingOut:
    def test_pauses_all_keys_and_is_undone_without_them(self, cast, alice):
        key = key_of(cast["dora"])
        address = f"/users/{cast['dora'].public_id}"

        shut = alice.post(f"{address}/deactivate", {"reason": "left"}).json()
        assert (shut["user"]["is_active"], shut["paused"]) == (False, [key.public_id])
        assert key.events.get(kind="paused").detail["via"] == alice.key.public_id
        assert LogEntry.objects.get().change_message.endswith(f"with {alice.key.public_id}.")
        let_in = alice.post(f"{address}/reactivate").json()
        assert (let_in["user"]["is_active"], let_in["paused"]) == (True, [key.public_id])

    def test_of_staff_is_for_superusers(self, cast, alice, bob):
        address = f"/users/{cast['charlie'].public_id}/deactivate"

        refused(bob.post(address), 403, "permission")
        assert alice.post(address).status_code == 200

    def test_of_oneself_is_not_possible(self, cast, alice):
        refused(alice.post(f"/users/{cast['alice'].public_id}/deactivate"), 409, "not_possible")


class TestAdding:
    def test_a_user_who_cannot_sign_in_yet(self, bob):
        added = bob.post("/users", {"name": "erin", "email": "erin@example.org"})

        assert added.status_code == 201
        user = User.objects.get(username="erin")
        assert (user.has_usable_password(), user.is_staff, user.email) == (False, False, "erin@example.org")
        refused(bob.post("/users", {"name": "erin"}), 409, "not_possible")

    @pytest.mark.parametrize("more", [{"name": "a b"}, {"email": "x"}, {"is_staff": True}, {"name": None}])
    def test_takes_names_and_nothing_of_rights(self, alice, more):
        refused(alice.post("/users", {"name": "x", **more}), 400, "bad_value")

    def test_is_for_who_may(self, dora):
        refused(dora.post("/users", {"name": "erin"}), 403, "permission")


class TestSelfService:
    NEW = {"user": "dora", "name": "my own", "preset": "reader", "expires_in": "7d"}

    def test_is_off_unless_the_operator_lets_holders(self, dora):
        refused(dora.post("/keys", self.NEW), 403, "permission")

    def test_is_for_oneself_within_the_limits_of_the_account_page(self, dora, settings):
        settings.SELF_SERVICE = True

        assert dora.post("/keys", self.NEW).json()["user"] == "dora"
        refused(dora.post("/keys", {**self.NEW, "user": "alice"}), 403, "permission")
        refused(dora.post("/keys", {**self.NEW, "expires_in": "9999d"}), 409, "not_possible")
        refused(dora.post("/keys", {**self.NEW, "preset": "full"}), 409, "not_possible")
        refused(dora.post("/keys", {**self.NEW, "any_owner": True}), 409, "not_possible")


class TestInviting:
    def test_shows_the_link_once(self, cast, bob):
        address = f"/users/{cast['dora'].public_id}/invite"
        first, second = (bob.post(address, Idempotency_Key="one") for _ in range(2))

        link = first.json()["link"]
        assert first["Cache-Control"] == "private, no-store"
        assert second.json()["link"] is None
        assert link.rstrip("/").rpartition("/")[2] not in everything_stored()
        assert Client().get(urlsplit(link).path).status_code == 302
        withdraw = f"/users/{cast['dora'].public_id}/withdraw-invitation"
        for _ in range(2):
            assert bob.post(withdraw, Idempotency_Key="end").json() == {"withdrawn": True}
        assert bob.post(withdraw).json() == {"withdrawn": False}

    def test_of_staff_is_for_superusers(self, cast, bob, dora):
        refused(bob.post(f"/users/{cast['alice'].public_id}/invite"), 403, "permission")
        cast["dora"].groups.set(Group.objects.filter(name=AUDITORS))
        for act in ("invite", "withdraw-invitation", "deactivate", "reactivate"):
            refused(bob.post(f"/users/{cast['dora'].public_id}/{act}"), 403, "permission")
        refused(dora.post(f"/users/{cast['dora'].public_id}/invite"), 403, "permission")
