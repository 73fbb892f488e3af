import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """A data folder below one that only its owner may enter, like /root."""
    parent = tmp_path / "closed"
    parent.mkdir(mode=0o700)
    return parent / "data"


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for temporary files that this test alone uses and others may enter, as they may /tmp."""
    folder = Path(tempfile.mkdtemp(prefix="hokusai-test-"))
    os.chmod(folder, 0o755)
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def full(mlflow_portal) -> dict:
    """A key that may do everything that a key may."""
    return mlflow_portal.issue("doctors-patient", "--preset", "full")


@pytest.fixture(scope="module")
def reader(mlflow_portal) -> dict:
    """A key that reads."""
    return mlflow_portal.issue("doctors-patient", "--preset", "reader")
