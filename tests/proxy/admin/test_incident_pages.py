"""The page for a leaked key: what it touched since a time, the same as a file, the quarantine, and how it is lifted."""

import csv
import io
import json
from datetime import timedelta

import pytest
from django.contrib.auth.models import Group, Permission
from django.utils import timezone

from keys import actions
from keys.alerts import leaks
from keys.models import User
from keys.pages import progress
from keys.rights.groups import AUDITORS
from keys.rights.scopes import Scope
from proxy.ledger import incident
from proxy.ledger.incident import QuarantineResult
from proxy.models import ArtifactEvent, Owner, Registration
from proxy.policy.attribution import QUARANTINE_TAG
from proxy.routes.table import OPERATIONS
from proxy.upstream import registry
from tests.keys.api.callers import program, refused
from tests.keys.people import call, key_of, queries, signed_in
from tests.proxy.ledger_rows import pending, row

MODEL = "/admin/proxy/registration/model/"
COMPLETE_TAGS = {"hokusai_token_id": "abc", "benchmark_metric": "accuracy", "benchmark_value": "0.9"}


@pytest.fixture
def key(cast):
    key = key_of(cast["dora"])
    call(key, 1, operation="runs.update", object_kind="run", object_name="=run()", method="POST")
    call(key, 2, operation="runs.update", at=timezone.now() - timedelta(days=3), object_name="long ago")
    return key


def page(key) -> str:
    return f"/admin/incident/{key.pk}/"


def since(hours: int) -> str:
    return f"{timezone.now() - timedelta(hours=hours):%Y-%m-%dT%H:%M}"


def test_it_shows_the_last_day_until_asked_for_more(alice, key):
    day = alice.get(page(key)).content.decode()
    week = alice.get(page(key), {"since": since(24 * 7)}).content.decode()

    assert "runs.update" in day
    assert "long ago" not in day
    assert "long ago" in week
    assert "This key still works." in day


def test_a_leaked_secret_that_was_rotated_away_asks_for_no_revocation(alice, key):
    leaks.report(text=actions.rotate(key=key, overlap="now")[1], where="a wiki")
    shown = [alice.get(page(key)).content.decode()]
    actions.rotate(key=key, overlap="now")
    shown += [
        alice.get(page(key)).content.decode(),
        alice.post(page(key), {"since": since(24)}).content.decode(),
    ]

    assert "The leaked secret no longer works.</strong> It was found at “a wiki”" in shown[1]
    assert ["The leaked secret no longer works" in text for text in shown] == [False, True, False]
    assert not any("This key still works" in text for text in shown)


def test_it_leads_to_mlflows_pages(alice, key):
    day = alice.get(page(key)).content.decode()

    assert 'run <a class="text" href="/mlflow/#/runs/%3Drun%28%29">=run()</a>' in day


def test_the_file_has_the_same_and_computes_nothing(alice, key):
    response = alice.get(page(key), {"since": since(24), "format": "csv"})

    [row] = csv.DictReader(io.StringIO(response.content.decode()))
    assert (row["operation"], row["name"], row["times"]) == ("runs.update", "'=run()", "1")
    assert key.public_id in response["Content-Disposition"]


def test_it_takes_as_many_queries_for_300_things_touched_as_for_10(alice, key):
    counts = []
    for first, last in ((10, 20), (20, 310)):
        for number in range(first, last):
            call(
                key,
                number,
                operation="runs.update",
                object_kind="run",
                object_name=f"run {number}",
                method="POST",
            )
            row(key, "model-versions.create", f"model {number}", version="1")
        counts.append(queries(lambda: alice.get(page(key))))

    assert counts[0] == counts[1]


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-40T00:00"])
def test_a_time_that_is_none_is_said(alice, key, text):
    answer = alice.get(page(key), {"since": text})

    assert answer.status_code == 200
    assert answer.context["form"].errors["since"]
    assert alice.get(page(key), {"since": text, "format": "csv"})["Content-Type"].startswith("text/html")


def test_quarantine_marks_and_says_what_became_of_each(cast, alice, key, monkeypatch):
    seen = {}

    def quarantine(**options):
        seen.update(options)
        return [QuarantineResult(name="fraud", version="3", result="marked")]

    monkeypatch.setattr(incident, "quarantine", quarantine)  # itself tested against MLflow

    sent = {"since": since(24), "reason": "leaked", "confirmed": "yes"}
    text = alice.post(page(key), sent).content.decode()

    link = f"{MODEL}?environment=live&amp;organisation=shared&amp;name=fraud"
    assert f'<a class="text" href="{link}">fraud</a> version 3: marked' in text
    assert (seen["key"], seen["reason"], seen["by"]) == (key, "leaked", cast["alice"])
    assert timezone.now() - seen["since"] < timedelta(hours=25)


def test_quarantine_tells_its_own_page_how_far_it_has_got(alice, key, monkeypatch):
    seen = []
    row(key, "model-versions.create", "fraud", version="3")
    row(key, "model-versions.create", "fraud", version="4")
    monkeypatch.setattr(incident.reconcile, "reconcile_pending", lambda *args, **options: None)
    monkeypatch.setattr(registry, "registries", lambda: {"live": "MLflow"})

    def mark(*args):
        seen.append(alice.get("/admin/progress/x1/").json())
        return QuarantineResult(name="fraud", version="3", result="marked")

    monkeypatch.setattr(incident, "quarantine_version", mark)
    monkeypatch.setattr(progress, "PAUSE_SECONDS", 0)

    assert 'data-progress="/admin/progress/' in alice.post(page(key), {"since": since(24)}).content.decode()
    alice.post(page(key), {"since": since(24), "confirmed": "yes", "progress": "x1"})

    assert seen == [{"done": 0, "total": 2}, {"done": 1, "total": 2}]


def test_it_asks_for_confirmation_and_lists_the_versions(alice, key, monkeypatch):
    monkeypatch.setattr(incident, "quarantine", lambda **options: pytest.fail("not confirmed"))
    row(key, "model-versions.create", "fraud", version="3")
    row(key, "model-versions.create", "gone", version="1")
    row(key, "model-versions.delete", "gone", version="1")
    pending(key, "model-versions.create", "fraud")

    text = alice.post(page(key), {"since": since(24), "reason": "leaked"}).content.decode()

    assert "1 model version will be in quarantine" in text
    assert "fraud version 3, registered" in text
    assert "gone version 1" not in text
    assert "1 write whose outcome" in text
    assert '<input type="hidden" name="confirmed" value="yes">' in text


def test_the_confirmation_counts_only_versions_that_are_not_in_quarantine(alice, key):
    for version in ("3", "4"):
        row(key, "model-versions.create", "fraud", version=version)

    def mark(version: str) -> str:
        mark = {"actor": Registration.QUARANTINE, "tags": {QUARANTINE_TAG: "leaked"}}
        row(None, "model-versions.set-tag", "fraud", version=version, **mark)
        return alice.post(page(key), {"since": since(24)}).content.decode()

    text = mark("3")
    assert "1 model version will be in quarantine" in text
    assert "fraud version 4, registered" in text
    assert "fraud version 3, registered" not in text
    assert "1 version, which stays as it is" in text

    text = mark("4")
    assert "is in quarantine already" in text
    assert "2 versions, which stay as they are" in text
    assert 'class="button danger"' not in text


def test_downloads_are_listed_with_address_times_and_bytes(alice, key):
    for number in range(3):
        call(
            key,
            10 + number,
            operation="artifacts.download",
            object_kind="run",
            object_name="r1",
            address="192.0.2.9",
            bytes_out=1024,
        )
    call(key, 20, operation="artifacts.download", object_kind="run", object_name="r1", address="192.0.2.10")
    call(key, 21, operation="artifacts.list", object_kind="run", object_name="only listed")

    text = alice.get(page(key)).content.decode()
    file = alice.get(page(key), {"since": since(24), "format": "csv"}).content.decode()

    downloads = [row for row in csv.DictReader(io.StringIO(file)) if row["operation"] == "artifacts.download"]
    assert "The files of 2 objects" in text
    assert "3 KiB, 3 calls" in text
    assert "only listed" not in text
    assert {(row["address"], row["times"], row["bytes"]) for row in downloads} == {
        ("192.0.2.9", "3", "3072"),
        ("192.0.2.10", "1", downloads[0]["bytes"] if downloads[0]["times"] == "1" else downloads[1]["bytes"]),
    }
    assert all(row["at"] <= row["last"] for row in downloads)


def test_a_created_run_has_the_address_of_the_call_that_created_it(alice, key):
    Owner.objects.create(environment="live", kind="run", name="r9", user=key.owner, key=key)
    call(key, 9, operation="runs.create", object_kind="run", object_name="r9", address="192.0.2.77")

    [created] = [
        change
        for change in incident.blast_radius(since=timezone.now() - timedelta(days=1), key=key)
        if change.where == "owners"
    ]

    assert (created.name, created.address) == ("r9", "192.0.2.77")
    assert "192.0.2.77" in alice.get(page(key)).content.decode()


def test_every_download_is_an_operation_of_the_table():
    assert {operation.name for operation in OPERATIONS} >= incident.DOWNLOADS


class Lift:
    """A version in quarantine, and its page to lift it."""

    def __init__(self, key, monkeypatch) -> None:
        self.row = row(key, "model-versions.create", "fraud", version="3", tags=COMPLETE_TAGS)
        tags = {"hokusai.quarantine": "key leaked"}
        row(None, "model-versions.set-tag", "fraud", version="3", actor="quarantine", tags=tags)
        self.address = f"/admin/quarantine/{self.row.pk}/lift/"
        self.results = [QuarantineResult(name="fraud", version="3", result="lifted")]
        self.seen = {}
        monkeypatch.setattr(incident, "lift", self.lift)  # itself tested against MLflow

    def lift(self, **options):
        self.seen.update(options)
        return self.results[0]


@pytest.fixture
def quarantined(key, monkeypatch):
    return Lift(key, monkeypatch)


def test_quarantine_is_lifted_on_a_page_with_a_reason(cast, alice, quarantined):
    shown = alice.get(quarantined.address).content.decode()
    without = alice.post(quarantined.address, {"reason": ""})
    done = alice.post(quarantined.address, {"reason": "checked"})

    assert "key leaked" in shown
    assert without.context["form"].errors["reason"]
    assert done.url == "/admin/proxy/registration/model/?environment=live&organisation=shared&name=fraud"
    assert (quarantined.seen["name"], quarantined.seen["version"]) == ("fraud", "3")
    assert (quarantined.seen["reason"], quarantined.seen["by"]) == ("checked", cast["alice"])


def test_mlflows_refusal_to_remove_the_tag_is_said(alice, quarantined):
    quarantined.results = [QuarantineResult(name="fraud", version="3", result="failed", problem="read-only")]

    text = alice.post(quarantined.address, {"reason": "checked"}).content.decode()

    assert "MLflow refused to remove the tag: read-only" in text


def test_a_version_that_is_not_in_quarantine_leads_to_its_model(alice, key, quarantined):
    other = row(key, "model-versions.create", "fraud", version="4")

    assert alice.get(f"/admin/quarantine/{other.pk}/lift/").url.endswith("name=fraud")
    assert alice.get("/admin/quarantine/999999/lift/").status_code == 404


def test_a_quarantined_version_is_never_shown_as_complete(alice, quarantined):
    model = alice.get("/admin/proxy/registration/model/?name=fraud").content.decode()
    ledger = alice.get("/admin/proxy/registration/").content.decode()
    one = alice.get(f"/admin/proxy/registration/{quarantined.row.pk}/change/").content.decode()
    filtered = alice.get("/admin/proxy/registration/?rules=quarantined").content.decode()

    for page in (model, ledger, one, filtered):
        assert "quarantined</span>" in page
        assert ">complete</span>" not in page
        assert ">tags complete</span>" not in page
    for page in (model, one):
        assert quarantined.address in page
    assert "Version 3 is" in model
    assert "No registrations match" in alice.get("/admin/proxy/registration/?rules=complete").content.decode()


def test_a_registry_error_is_said(alice, key, monkeypatch):
    def fails(**options):
        raise registry.RegistryError("MLflow does not answer.")

    monkeypatch.setattr(incident, "quarantine", fails)

    text = alice.post(page(key), {"since": since(24), "confirmed": "yes"}).content.decode()

    assert "MLflow does not answer. Try again later; what is marked stays marked." in text


def test_auditors_see_it_and_may_not_quarantine(cast, key):
    audrey = User.objects.create_user("audrey", is_staff=True)
    audrey.groups.set(Group.objects.filter(name=AUDITORS))
    client = signed_in(audrey)

    text = client.get(page(key)).content.decode()

    assert "Quarantine these versions" not in text
    assert client.post(page(key), {"since": since(24)}).status_code == 403


def test_it_takes_both_rights_to_see_it(cast, key):
    cast["charlie"].user_permissions.set(Permission.objects.filter(codename="view_apikey"))

    assert signed_in(cast["charlie"]).get(page(key)).status_code == 403


def test_it_lists_the_files_that_the_key_wrote_with_their_digests_as_do_api_and_file(alice, cast, key):
    written = {"environment": "live", "key": key, "user": key.owner, "size": 5, "sha256": "ab" * 32}
    for number, (hours, path) in enumerate([(1, "1/x/artifacts/=m.pkl"), (48, "1/x/artifacts/old.pkl")]):
        at = timezone.now() - timedelta(hours=hours)
        ArtifactEvent.objects.create(kind="uploaded", path=path, at=at, request_id=f"r{number}", **written)
    other = key_of(User.objects.create_user("eve"))
    ArtifactEvent.objects.create(
        **written | {"key": other, "user": other.owner}, kind="uploaded", path="other", at=timezone.now()
    )

    shown = alice.get(page(key)).content.decode()
    file = alice.get(page(key), {"since": since(24), "format": "csv", "files": "1"})
    [row] = csv.DictReader(io.StringIO(b"".join(file.streaming_content).decode()))
    staff = program(User.objects.create_superuser("root"), Scope.PORTAL_ADMIN)
    path = f"/keys/{key.public_id}/files"
    asked = f"since={timezone.now() - timedelta(hours=24):%Y-%m-%dT%H:%M:%SZ}"
    [found] = staff.get(f"{path}?{asked}").json()["results"]
    exported = b"".join(staff.get(f"{path}/export?{asked}&form=jsonl").streaming_content)

    assert "1 event of files" in shown
    assert f"<code>{'ab' * 32}</code>" in shown
    assert "old.pkl" not in shown
    assert (row["path"], row["sha256"], row["key"]) == ("1/x/artifacts/=m.pkl", "ab" * 32, key.public_id)
    assert found == json.loads(exported) | {"at": found["at"]}
    assert (found["event"], found["bytes"]) == ("uploaded", 5)
    assert len(staff.get(f"{path}?since=2020-01-01T00:00:00Z").json()["results"]) == 2
    refused(staff.get(path), 400, "bad_value")
