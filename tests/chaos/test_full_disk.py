"""The disk under DATA_DIR is full: calls are served, what could not be written down is counted, and it passes."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.portals import Portal, portal, wait_for
from tests.proxy.forwarding.test_forwarding import ARTIFACT, GET_EXPERIMENT

pytestmark = [
    pytest.mark.postgresql,
    pytest.mark.skipif(os.getuid() != 0, reason="only root mounts a small disk"),
]

SIZE = 24 * 2**20  # bytes
SEARCH = "/api/mlflow/api/2.0/mlflow/registered-models/search"


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """The test is skipped where not even root may mount one, as in a container."""
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={SIZE},mode=700", "hokusai-tests", str(folder)]
    mounted = subprocess.run(["mount", *options], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path) -> Path:
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (2**20, 2**12, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return filler


def worker_of(running: Portal) -> int:
    """The pid of the worker, once there is one."""
    workers = wait_for(lambda: psutil.Process(running.process.pid).children(), lambda seen: len(seen) == 1)
    return workers[0].pid


def test_calls_are_served_and_every_process_lives_and_is_replaced(echo, tmp_path):
    with (
        small_disk(tmp_path / "disk") as disk,
        portal(mlflow_url=echo.url, DATA_DIR=str(disk)) as running,
    ):
        key = running.issue("alice", "--any-owner")["key"]
        assert running.request("GET", GET_EXPERIMENT, key=key).status == 200
        assert running.calls(status=200)
        filler = fill(disk)

        def statuses() -> list[int]:
            asked = (GET_EXPERIMENT, f"/api/mlflow{ARTIFACT}", SEARCH, "/api/mlflow/none", "/account/login/")
            return [running.request("GET", path, key=key).status for path in asked]

        first = worker_of(running)
        for _ in range(40):
            assert statuses() == [200, 200, 200, 404, 200]
        assert running.request("GET", "/metrics").status == 200
        assert worker_of(running) == first
        os.kill(first, signal.SIGKILL)
        assert wait_for(lambda: worker_of(running) != first, seconds=30)
        assert statuses() == [200, 200, 200, 404, 200]
        assert wait_for(lambda: statuses() and health_of_spool(running)["lost"] >= 1)
        assert health_of_spool(running)["status"] == "degraded"

        filler.unlink()
        reply = running.request("GET", GET_EXPERIMENT, key=key)
        assert running.calls(request_id=reply.headers["X-Request-ID"], seconds=10)
        assert running.process.poll() is None


def health_of_spool(running: Portal) -> dict:
    return running.request("GET", "/health").json()["checks"]["spool"]
