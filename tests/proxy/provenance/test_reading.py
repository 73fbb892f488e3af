"""The portal reads a version's files from a real MLflow's store: to compare them with the manifest, or to record their
digests."""

import hashlib
import json

import pytest
from django.core.management import CommandError, call_command

from keys.models import Alert
from proxy.models import ArtifactEvent, Manifest
from proxy.provenance import events, reading
from tests.proxy.provenance.test_manifests import folder, make, register, see, store  # noqa: F401  a fixture
from tests.signing_keys import new_signing_key

pytestmark = [pytest.mark.mlflow, pytest.mark.postgresql, pytest.mark.django_db]


@pytest.fixture(autouse=True)
def one_connection(monkeypatch) -> None:
    """The test's transaction keeps its connection."""
    monkeypatch.setattr(events, "close_old_connections", lambda: None)


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def verify(world, capsys, status: int) -> dict[str, dict]:
    """What `verify_version` prints, by path."""
    with pytest.raises(SystemExit) as ended:
        call_command("verify_version", world.name, "1", "--json")
    assert ended.value.code == status
    return {file["path"]: file for file in json.loads(capsys.readouterr().out)}


def test_a_byte_that_was_changed_in_the_store_is_named_with_both_digests_and_since_when(
    world,
    folder,  # noqa: F811
    capsys,
):
    for name in ("MLmodel", "weights", "gone"):
        see(world, f"{folder}/{name}", b"content")
        if name != "gone":
            store(world, f"{folder}/{name}", b"content")
    make(world, register(world, f"mlflow-artifacts:/{folder}"))
    store(world, f"{folder}/weights", b"contemt")
    store(world, f"{folder}/extra", b"new")

    found = verify(world, capsys, 1)

    seen = ArtifactEvent.objects.get(path=f"{folder}/weights", kind="uploaded")
    assert {path: file["verdict"] for path, file in found.items()} == {
        "MLmodel": "ok",
        "weights": "different",
        "gone": "missing",
        "extra": "extra",
    }
    assert found["weights"] == {
        "path": "weights",
        "verdict": "different",
        "sha256": digest(b"content"),
        "found_sha256": digest(b"contemt"),
        "since": f"{seen.at:%Y-%m-%d %H:%M:%S} UTC",
        "changed": "no write through the portal",
    }
    assert ArtifactEvent.objects.get(kind="different").sha256 == digest(b"contemt")
    assert Alert.objects.get(kind="artifact_changed").detail["path"] == f"{folder}/weights"


def test_files_that_were_not_seen_are_read_once_and_the_version_can_be_signed(
    world,
    folder,  # noqa: F811
    settings,
    capsys,
    monkeypatch,
    tmp_path,
):
    settings.SIGNING_KEY = new_signing_key()
    for name in ("MLmodel", "weights"):
        store(world, f"{folder}/{name}", b"content")
    see(world, f"{folder}/MLmodel", b"content")
    make(world, register(world, f"mlflow-artifacts:/{folder}"))
    assert verify(world, capsys, 2)["weights"]["verdict"] == "not_seen"
    with pytest.raises(CommandError, match="the portal has no digest of some files"):
        call_command("export_signature", world.name, "1")

    call_command("hash_artifacts", "--name", world.name)

    assert f"weights {digest(b'content')}" in capsys.readouterr().out
    latest = Manifest.objects.order_by("-id")[0]
    assert [file["state"] for file in latest.files] == ["seen", "read"]
    call_command("export_signature", world.name, "1", "--output", str(tmp_path / "model.sig"))
    call_command("export_signature", world.name, "1")
    assert latest.signature == (tmp_path / "model.sig").read_text()
    assert json.loads(latest.signature) == json.loads(capsys.readouterr().out.splitlines()[-1])
    call_command("export_signature", world.name, "1", "--json")
    assert json.loads(capsys.readouterr().out)["signature"] == json.loads(latest.signature)
    monkeypatch.setattr(reading, "read_file", lambda *arguments: pytest.fail("it is read again"))
    call_command("hash_artifacts", "--name", world.name)
