"""A worker that is killed while it makes a manifest, signs it or scans its files leaves nothing half done, and the next
one does it. `make kills` does it to a running portal (tests/operate/kills.py)."""

import datetime
from types import SimpleNamespace

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinateJob

from keys.actions import organisations
from proxy.ledger import writer
from proxy.models import ArtifactEvent, Manifest, Registration, VersionScan
from proxy.provenance import background, reading, scanning, signing, sources, verification
from proxy.provenance.scan.queue import SCAN, queue_scan, waiting_scans
from tests.proxy.ledger_rows import row
from tests.signing_keys import new_signing_key

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def version(key, settings, monkeypatch) -> Registration:
    """A version of one pickle, which passed through the portal, and which runs code."""
    settings.SIGNING_KEY = new_signing_key()
    for module in (background, scanning):
        monkeypatch.setattr(module, "registry_of", lambda namespace: SimpleNamespace(namespace=namespace))
    monkeypatch.setattr(sources, "find_root", lambda *arguments: "0/x")
    monkeypatch.setattr(sources, "list_files", lambda *arguments: {"evil.pkl": 5})
    read = reading.Read(size=5, sha256="ab" * 32)
    monkeypatch.setattr(reading, "read_file", lambda *arguments, **options: read)
    imports = {
        "imports": [["posix", "system", True]],
        "is_whole": True,
        "kinds": ["pickle"],
        "scanner": "s 1",
    }
    monkeypatch.setattr(scanning, "run_worker", lambda *arguments: imports)
    at = timezone.now() - datetime.timedelta(minutes=1)
    ArtifactEvent.objects.create(
        environment="live", path="0/x/evil.pkl", kind="uploaded", at=at, size=5, sha256="ab" * 32
    )
    return row(key, "model-versions.create", "vision", version="1", source="mlflow-artifacts:/0/x")


def kill_at(monkeypatch, module, name: str, act) -> None:
    """Do it in a process that is killed at this call."""

    def kill(*arguments, **options):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(module, name, kill)
        with pytest.raises(Killed):
            act()


@pytest.mark.parametrize(
    ("module", "name"), [(sources, "list_files"), (signing, "make_bundle"), (writer, "close")]
)
def test_a_manifest_is_there_with_its_signature_and_its_row_or_not_at_all(version, monkeypatch, module, name):
    kill_at(monkeypatch, module, name, background.make_missing)
    assert not Manifest.objects.exists()
    assert list(Registration.objects.all()) == [version]

    assert [background.make_missing(), background.make_missing()] == [1, 0]
    [made] = Manifest.objects.all()
    assert (made.files[0]["sha256"], bool(made.signature)) == ("ab" * 32, True)
    assert verification.verify().problem == ""


@pytest.mark.parametrize(("module", "name"), [(reading, "read_file"), (scanning, "run_worker")])
def test_a_version_has_no_rating_until_its_scan_is_complete(version, monkeypatch, module, name):
    background.make_missing()
    [waiting] = scanning.unscanned()
    kill_at(monkeypatch, module, name, lambda: scanning.scan_version(waiting))
    assert not VersionScan.objects.exists()
    assert scanning.unscanned() == [waiting]

    assert [scanning.scan_version(waiting) is None for _ in range(2)] == [False, True]
    assert VersionScan.objects.get().rating == "dangerous"
    assert scanning.unscanned() == []


def test_a_manifest_and_its_place_in_the_queue_of_scans_are_written_together(version, monkeypatch):
    jobs = ProcrastinateJob.objects.filter(task_name=SCAN)
    kill_at(monkeypatch, writer, "close", background.make_missing)
    assert (jobs.count(), waiting_scans()) == (0, 0)

    background.make_missing()
    assert [job.args for job in jobs] == [{"manifest_id": Manifest.objects.get().pk}]
    assert (jobs.get().lock, waiting_scans()) == (f"{SCAN} {Manifest.objects.get().pk % 2}", 1)


def test_looking_for_versions_without_a_manifest_costs_the_same_however_many_organisations_there_are(version):
    background.make_missing()
    counts = []
    for _ in range(2):
        with CaptureQueriesContext(connection) as captured:
            assert background.make_missing() == 0
        counts.append(len(captured))
        organisations.create_organisation(slug=f"org-{len(counts)}")
    assert counts == [1, 1]


def test_a_version_waits_in_the_queue_once(version):
    background.make_missing()
    assert queue_scan(Manifest.objects.get().pk) is False
    assert waiting_scans() == 1


def test_a_scan_stops_between_two_files_when_its_process_is_to_stop(version):
    background.make_missing()
    [waiting] = scanning.unscanned()
    with pytest.raises(scanning.Stopped):
        scanning.scan_version(waiting, must_stop=lambda: True)
    assert scanning.unscanned() == [waiting]
