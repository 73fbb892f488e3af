"""Manifests freeze what a version's files were, and the ledger contains their digests. A real MLflow."""

import datetime
import hashlib
import re
from urllib.parse import urlsplit

import pytest
import requests
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from keys.models import Namespace
from proxy.models import ArtifactEvent, Manifest, Registration
from proxy.provenance import background, comparison, manifests, verification
from tests.proxy.ledger_rows import row
from tests.proxy.worlds import WORKSPACE

pytestmark = [pytest.mark.mlflow, pytest.mark.postgresql, pytest.mark.django_db]
LATER = datetime.timedelta(seconds=30)


@pytest.fixture
def folder(world) -> str:
    """A folder of a run, as it is in MLflow's store."""
    run = world.call("POST runs/create", {"experiment_id": world.experiment()})["run"]["info"]
    path = urlsplit(run["artifact_uri"]).path.strip("/")
    return f"{path if path.startswith('workspaces/') else f'workspaces/shared/{path}'}/model"


def store(world, path: str, content: bytes) -> None:
    """A file in MLflow's store that has not passed through the portal."""
    address = f"{world.url}/api/2.0/mlflow-artifacts/artifacts/{path}"
    answer = requests.put(address, data=content, headers=WORKSPACE, timeout=30)
    assert answer.status_code == 200


def see(world, path: str, content: bytes, kind: str = "uploaded", *, ago: float = 60) -> None:
    """What the portal has recorded of a file."""
    known = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()} if content else {}
    at = timezone.now() - datetime.timedelta(seconds=ago)
    key = {"key": world.key, "user": world.key.owner}
    ArtifactEvent.objects.create(environment="live", path=path, kind=kind, at=at, **known, **key)


def register(world, source: str, **columns) -> Registration:
    if world.registry.model(world.name) is None:
        world.model()
    run = re.search("[0-9a-f]{32}", source)
    body = {"name": world.name, "source": source, **({"run_id": run[0]} if run else {})}
    version = world.call("POST model-versions/create", body)["model_version"]["version"]
    return row(world.key, "model-versions.create", world.name, version=version, source=source, **columns)


def make(world, registration: Registration) -> Manifest:
    return manifests.make(registration, world.registry)


def files(manifest: Manifest) -> dict[str, tuple]:
    return {file["path"]: (file["state"], file["size"]) for file in manifest.files}


def states(manifest: Manifest) -> dict[str, str]:
    return {state.path: state.state for state in comparison.compare(manifest)}


def test_a_manifest_lists_every_file_with_its_digest_or_as_not_seen(world, folder):
    for name, content in {"MLmodel": b"seen", "data/weights": b"not seen", "conda.yaml": b"1"}.items():
        store(world, f"{folder}/{name}", content)
    see(world, f"{folder}/MLmodel", b"seen")
    see(world, f"{folder}/conda.yaml", b"of another size")  # changed behind the portal's back
    see(world, f"{folder}/gone", b"deleted")
    see(world, f"{folder}/gone", b"", "deleted", ago=50)

    made = make(world, register(world, f"mlflow-artifacts:/{folder}"))

    expected = {"MLmodel": ("seen", 4), "data/weights": ("not_seen", 8), "conda.yaml": ("not_seen", 1)}
    assert files(made) == expected
    assert (made.extent, made.signature) == ("listed", "")
    assert made.row.detail["manifest"] == made.digest
    assert (made.row.detail["files"], made.row.detail["not_seen"]) == (3, 2)


def test_sources_lead_to_the_files_of_runs_logged_models_and_other_versions(world, folder):
    store(world, f"{folder}/MLmodel", b"seen")
    see(world, f"{folder}/MLmodel", b"seen")
    first = register(world, f"mlflow-artifacts:/{folder}")

    copy = register(world, f"models:/{world.name}/{first.version}")

    assert make(world, copy).root == folder
    run = re.findall("[0-9a-f]{32}", folder)[-1]
    assert make(world, register(world, f"runs:/{run}/model")).root == folder


def test_a_prompt_has_a_manifest_of_its_tags(world):
    columns = {"version": "1", "is_prompt": True, "tags": {"mlflow.prompt.text": "Hi"}}

    made = make(world, row(world.key, "model-versions.create", world.name, **columns))

    assert (made.files, made.extent, made.about["kind"]) == ([], "no_files", "prompt")
    assert made.row.is_prompt


def test_what_happens_after_the_registration_is_a_change_and_not_in_the_manifest(world, folder):
    for name in ("kept", "overwritten", "removed", "unsure"):
        store(world, f"{folder}/{name}", b"first")
        see(world, f"{folder}/{name}", b"first")
    registered = register(world, f"mlflow-artifacts:/{folder}")
    see(world, f"{folder}/overwritten", b"second", ago=-1)
    see(world, f"{folder}/new", b"new", ago=-1)
    see(world, f"{folder}/removed", b"", "deleted", ago=-1)
    see(world, f"{folder}/unsure", b"", "pending", ago=-1)
    store(world, f"{folder}/new", b"new")

    made = make(world, registered)

    assert set(files(made)) == {"kept", "overwritten", "removed", "unsure"}
    assert {file["state"] for file in made.files} == {"seen"}
    assert states(made) == {
        "kept": "unchanged",
        "overwritten": "changed",
        "removed": "deleted",
        "unsure": "uncertain",
        "new": "added",
    }
    [changed] = [state for state in comparison.compare(made) if state.state == "changed"]
    assert changed.event.user == world.key.owner
    assert comparison.worst(comparison.compare(made)) == "deleted"


def test_each_recent_version_gets_one_manifest_and_the_ledger_stays_whole(world, folder):
    store(world, f"{folder}/MLmodel", b"seen")
    see(world, f"{folder}/MLmodel", b"seen")
    register(world, f"mlflow-artifacts:/{folder}")

    assert background.make_missing() == 1
    assert background.make_missing() == 0

    made = Manifest.objects.of_version(Namespace.shared("live"), world.name, "1")
    assert made.row.sequence == 2
    assert verification.verify().problem == ""


def test_a_manifest_is_frozen_and_a_change_past_postgresqls_guard_is_found(world, folder):
    store(world, f"{folder}/MLmodel", b"seen")
    see(world, f"{folder}/MLmodel", b"seen")
    made = make(world, register(world, f"mlflow-artifacts:/{folder}"))
    for act in (lambda: Manifest.objects.update(files=[]), made.delete):
        with pytest.raises(IntegrityError, match="frozen"), transaction.atomic():
            act()

    with connection.cursor() as cursor:
        cursor.execute("set local session_replication_role = replica")
        cursor.execute("update proxy_manifest set files = '[]'")
        cursor.execute("set local session_replication_role = origin")

    assert "was changed: its content does not match its digest in the ledger" in verification.verify().problem
