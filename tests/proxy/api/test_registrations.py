"""The ledger, owners and the simulator over the management API."""

import json

import pytest

from keys import actions as key_actions
from keys.models import User
from proxy.api.registrations import RegistrationSerializer
from proxy.lists.exports import REGISTRATION_FIELDS
from proxy.models import Owner
from tests.keys.api.callers import API, refused
from tests.keys.people import key_of, queries
from tests.proxy.ledger_rows import pending, row

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]


def names(answer) -> list[str]:
    return [found["object_name"] for found in answer.json()["results"]]


class TestRegistrations:
    def test_are_seen_by_who_may_and_else_only_ones_own(self, cast, alice, charlie, dora):
        own = row(key_of(cast["dora"]), "registered-models.create", "doras")
        other = row(key_of(cast["bob"]), "registered-models.create", "bobs")

        assert names(alice.get("/registrations")) == ["bobs", "doras"]
        assert names(dora.get("/registrations")) == ["doras"]
        assert names(charlie.get("/registrations")) == []
        assert dora.get(f"/registrations/{own.request_id}").json()["hash"] == own.hash
        refused(dora.get(f"/registrations/{other.request_id}"), 404, "not_found")

    def test_have_the_fields_of_the_exports(self, cast, alice):
        own = row(key_of(cast["dora"]), "registered-models.create", "doras")

        assert list(RegistrationSerializer().fields) == REGISTRATION_FIELDS
        assert list(alice.get(f"/registrations/{own.request_id}").json()) == REGISTRATION_FIELDS

    def test_are_filtered_and_paged(self, cast, alice):
        key = key_of(cast["dora"])
        for number in range(3):
            row(key, "registered-models.create", f"model-{number}")
        row(key_of(cast["bob"]), "registered-models.create", "bobs", outcome="refused_by_mlflow")

        assert names(alice.get("/registrations?user=dora")) == ["model-2", "model-1", "model-0"]
        assert names(alice.get(f"/registrations?key={key.public_id}&model=model-1")) == ["model-1"]
        assert names(alice.get("/registrations?outcome=refused_by_mlflow")) == ["bobs"]
        first = alice.get("/registrations?user=dora&size=2").json()
        assert names(alice.get(first["next"].partition(API)[2])) == ["model-0"]
        refused(alice.get("/registrations?outcome=good"), 400, "bad_value")

    def test_say_how_a_versions_tags_stand(self, cast, alice):
        version = row(
            key_of(cast["dora"]), "model-versions.create", "m", version="1", tags={"hokusai_token_id": "-"}
        )

        assert alice.get(f"/registrations/{version.request_id}").json()["tag_rules"] == "malformed"

    def test_are_found_by_how_a_versions_tags_stand(self, cast, alice):
        key, bad = key_of(cast["dora"]), {"hokusai_token_id": "-"}
        for number, tags in enumerate((bad, {}, bad, {}, bad)):
            row(key, "model-versions.create", f"m{number}", version="1", tags=tags)
        row(key, "registered-models.create", "no version")

        assert names(alice.get("/registrations?rules=missing")) == ["m3", "m1"]
        assert names(alice.get("/registrations?rules=complete")) == []
        first = alice.get("/registrations?rules=malformed&size=2").json()
        assert [found["object_name"] for found in first["results"]] == ["m4", "m2"]
        last = alice.get(first["next"].partition(API)[2])
        assert (names(last), last.json()["next"]) == (["m0"], None)
        text = b"".join(alice.get("/registrations/export?rules=malformed").streaming_content).decode()
        assert len(text.splitlines()) == 4
        refused(alice.get("/registrations?rules=good"), 400, "bad_value")

    def test_are_exported(self, cast, dora):
        row(key_of(cast["dora"]), "registered-models.create", "doras")
        row(key_of(cast["bob"]), "registered-models.create", "bobs")

        text = b"".join(dora.get("/registrations/export?form=jsonl").streaming_content).decode()
        assert [json.loads(line)["object_name"] for line in text.splitlines()] == ["doras"]

    def test_take_as_many_queries_for_30_as_for_3(self, cast, alice):
        counts = []
        for rows in (3, 30):
            for number in range(rows):
                row(key_of(cast["dora"]), "registered-models.create", f"{rows}-{number}")
            counts.append(queries(lambda: alice.get("/registrations")))

        assert counts[0] == counts[1]


class TestLedger:
    def test_has_a_head_that_can_be_kept_and_looked_for_again(self, cast, alice):
        key = key_of(cast["dora"])
        assert alice.get("/ledger").json() == {"head": None, "pending": 0}
        last = [row(key, "registered-models.create", name) for name in "ab"][-1]
        pending(key, "registered-models.create", "c")

        found = alice.get("/ledger").json()
        assert (found["head"]["sequence"], found["head"]["hash"], found["pending"]) == (2, last.hash, 1)
        verdict = alice.post("/ledger/verify", {"heads": [found["head"]]}).json()
        assert (verdict["ok"], verdict["rows"], verdict["problem"]) == (True, 2, "")

    def test_that_was_rewritten_is_told(self, cast, alice):
        row(key_of(cast["dora"]), "registered-models.create", "a")
        forged = {"sequence": 1, "hash": "0" * 64, "at": "2026-01-01"}

        assert "rewritten" in alice.post("/ledger/verify", {"heads": [forged]}).json()["problem"]
        assert (
            "missing"
            in alice.post("/ledger/verify", {"heads": [{**forged, "sequence": 9}]}).json()["problem"]
        )

    def test_is_for_who_may_see_all_of_it(self, charlie, dora):
        for caller in (charlie, dora):
            refused(caller.get("/ledger"), 403, "permission")
            refused(caller.post("/ledger/verify"), 403, "permission")


class TestTry:
    @pytest.mark.parametrize(("scopes", "passes"), [(["tracking:write"], True), (["tracking:read"], False)])
    def test_says_whether_a_call_would_pass_and_why_not(self, cast, alice, scopes, passes):
        key, _ = key_actions.issue(owner=cast["dora"], name="n", scopes=scopes)
        body = {"method": "POST", "path": "/api/2.0/mlflow/experiments/create", "body": '{"name": "x"}'}

        verdict = alice.post(f"/keys/{key.public_id}/try", body).json()
        assert (verdict["passes"], verdict["operation"]) == (passes, "experiments.create")
        assert passes or verdict["reason"] == "scope"

    def test_is_for_ones_own_key_or_who_may_see_it(self, cast, alice, dora, charlie):
        body = {"method": "GET", "path": "/version"}

        assert dora.post(f"/keys/{dora.key.public_id}/try", body).status_code == 200
        refused(charlie.post(f"/keys/{dora.key.public_id}/try", body), 404, "not_found")
        refused(
            dora.post(f"/keys/{dora.key.public_id}/try", {"method": "BREW", "path": "/"}), 400, "bad_value"
        )


class TestOwners:
    @pytest.fixture
    def owned(self, cast) -> Owner:
        return Owner.objects.create(environment="live", kind="experiment", name="7", user=cast["dora"])

    def test_are_seen_by_who_may_and_else_only_ones_own(self, cast, owned, alice, charlie, dora):
        Owner.objects.create(environment="live", kind="run", name="r", user=None)

        found = alice.get("/owners").json()["results"]
        assert [(thing["kind"], thing["user"]) for thing in found] == [("run", None), ("experiment", "dora")]
        assert [thing["name"] for thing in dora.get("/owners").json()["results"]] == ["7"]
        assert charlie.get("/owners").json()["results"] == []
        for query in ("kind=run&environment=live", "owned=nobody", "q=R&kind=run"):
            assert [t["name"] for t in alice.get(f"/owners?{query}").json()["results"]] == ["r"]
        for query in ("owned=user", "q=dor"):
            assert [t["name"] for t in alice.get(f"/owners?{query}").json()["results"]] == ["7"]

    def test_hand_over_what_they_own(self, cast, owned, alice, charlie):
        address = f"/users/{cast['dora'].public_id}/hand-over"

        refused(charlie.post(address, {"to": "bob"}), 403, "permission")
        refused(alice.post(address, {"to": "dora"}), 400, "bad_value")
        refused(alice.post(address, {"to": "nobody"}), 400, "bad_value")
        assert alice.post(address, {"to": "bob"}).json() == {"objects": 1}
        assert Owner.objects.get(name="7").user == cast["bob"]

    def test_are_asked_before_an_experiment_is_shared(self, cast, owned, alice, charlie):
        body = {"experiment_id": "7", "is_shared": True}

        refused(charlie.post("/experiments/share", body), 403, "permission")
        shared = alice.post("/experiments/share", body).json()
        assert shared == {"experiment_id": "7", "environment": "live", "is_shared": True, "owner": "dora"}
        refused(alice.post("/experiments/share", {**body, "experiment_id": "x"}), 400, "bad_value")

    def test_tell_who_handed_them_over_or_shared_them(self, cast, owned, alice):
        alice.post(f"/users/{cast['dora'].public_id}/hand-over", {"to": "bob"})
        for is_shared in (True, False):
            alice.post("/experiments/share", {"experiment_id": "7", "is_shared": is_shared})

        entries = alice.get("/admin-log").json()["results"]
        by = f"From 127.0.0.1, with {alice.key.public_id}."
        assert [(entry["actor"], entry["kind"], entry["details"]) for entry in entries] == [
            ("alice", "owner", f"No longer shared. {by}"),
            ("alice", "owner", f"Shared. {by}"),
            ("alice", "user", f"Handed over 1 object to bob. {by}"),
        ]

    def test_take_as_many_queries_for_30_as_for_3(self, alice):
        counts = []
        for rows in (3, 30):
            for number in range(rows):
                owner = User.objects.create(username=f"{rows}-{number}")
                Owner.objects.create(environment="live", kind="run", name=f"{rows}-{number}", user=owner)
            counts.append(queries(lambda: alice.get("/owners")))

        assert counts[0] == counts[1]
