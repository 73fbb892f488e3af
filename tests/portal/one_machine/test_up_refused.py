"""What prevents a start of `manage.py up`: one clear line, before anything runs."""

import os
import socket
from pathlib import Path

import pytest

from tests.portal.one_machine.running import refused

pytestmark = [pytest.mark.postgresql, pytest.mark.mlflow]


def test_a_port_that_is_taken_is_said_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = refused(tmp_path / "data", port=port)
    assert f"port {port} on 127.0.0.1 is taken" in line
    assert f"PORT={port + 1}" in line
    assert not (tmp_path / "data" / "postgres").exists()


def test_a_data_folder_that_is_a_file_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert f"DATA_DIR {tmp_path / 'file'} cannot be written" in refused(tmp_path / "file")
    assert "cannot be written" in refused(tmp_path / "file" / "below")


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_data_folder_that_may_not_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o500)
    assert "cannot be written (Permission denied)" in refused(tmp_path / "data")


@pytest.mark.skipif(
    not Path("/proc/self").exists(), reason="/proc is a folder nobody can write, not even root"
)
def test_a_data_folder_that_even_root_cannot_write_is_one_clear_line() -> None:
    assert "DATA_DIR /proc/data cannot be written" in refused(Path("/proc/data"))


@pytest.mark.parametrize(("name", "value"), [("PORT", "none"), ("WORKERS", "0"), ("THREADS", "-1")])
def test_a_setting_that_makes_no_sense_is_one_clear_line(tmp_path: Path, name: str, value: str) -> None:
    line = refused(tmp_path / "data", **{name: value})
    assert line.startswith(f"{name}:")
    assert len(line.splitlines()) == 1


def test_a_host_that_is_not_of_this_machine_is_one_clear_line(tmp_path: Path) -> None:
    assert "the portal cannot listen on 192.0.2.1 port" in refused(tmp_path / "data", HOST="192.0.2.1")


def test_a_database_that_does_not_answer_is_one_clear_line(tmp_path: Path) -> None:
    line = refused(tmp_path / "data", DATABASE_URL="postgresql://me:hunter2@127.0.0.1:9/portal")
    assert "DATABASE_URL: connection" in line
    assert "hunter2" not in line
