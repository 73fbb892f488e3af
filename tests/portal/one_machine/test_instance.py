import json
import os
import threading
from pathlib import Path

import pytest

from portal.one_machine import instance
from portal.one_machine.supervisor import StartError, StopRequested


@pytest.fixture(autouse=True)
def no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SECRET_KEY", "KEY_PEPPERS"):
        monkeypatch.delenv(name, raising=False)


def test_a_new_data_folder_is_for_its_owner_alone(tmp_path: Path) -> None:
    instance.prepare_folder(tmp_path / "data")
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700


def test_a_folder_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    instance.prepare_folder(tmp_path)
    assert tmp_path.stat().st_mode & 0o777 == 0o750


def test_generated_secrets_are_long_and_stay_the_same(tmp_path: Path) -> None:
    made = instance.load_secrets(tmp_path)
    assert all(len(value) >= 43 for value in made.values())
    assert "," not in made["KEY_PEPPERS"]
    assert instance.load_secrets(tmp_path) == made
    assert (tmp_path / "secrets.json").stat().st_mode & 0o777 == 0o600


def test_secrets_in_the_environment_win_and_are_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY_PEPPERS", "new,old")
    assert instance.load_secrets(tmp_path)["KEY_PEPPERS"] == "new,old"
    monkeypatch.setenv("SECRET_KEY", "mine")
    (tmp_path / "secrets.json").unlink()
    assert instance.load_secrets(tmp_path) == {"SECRET_KEY": "mine", "KEY_PEPPERS": "new,old"}
    assert not (tmp_path / "secrets.json").exists()


def test_secrets_that_were_damaged_are_not_silently_replaced(tmp_path: Path) -> None:
    (tmp_path / "secrets.json").write_text("{")
    with pytest.raises(StartError, match="restore it from a backup"):
        instance.load_secrets(tmp_path)
    assert (tmp_path / "secrets.json").read_text() == "{"


def test_a_file_that_is_replaced_is_whole_and_private_at_every_moment(tmp_path: Path) -> None:
    path = tmp_path / "portal.json"
    (tmp_path / "portal.json.new").write_text("left by a run that was killed")
    instance.write_private(path, {"url": "http://127.0.0.1:8000", "pid": 1})
    assert path.stat().st_mode & 0o777 == 0o600
    assert instance.read_running(tmp_path)["pid"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["portal.json"]


@pytest.mark.parametrize("content", ["", "{", "[]", json.dumps({"url": "http://127.0.0.1"})])
def test_a_damaged_portal_json_is_no_running_instance(tmp_path: Path, content: str) -> None:
    (tmp_path / "portal.json").write_text(content)
    assert instance.read_running(tmp_path) == {}


def test_the_lock_is_for_one_at_a_time_and_names_who_has_it(tmp_path: Path) -> None:
    running, said = threading.Event(), []
    instance.write_private(tmp_path / "portal.json", {"url": "http://127.0.0.1:8000", "pid": os.getpid()})
    with (
        instance.lock_data_dir(tmp_path, stopping=running, notify=said.append),
        pytest.raises(StartError, match=rf"http://127.0.0.1:8000 \(process {os.getpid()}\)"),
        instance.lock_data_dir(tmp_path, stopping=running, notify=said.append),
    ):
        pass
    with instance.lock_data_dir(tmp_path, stopping=running, notify=said.append):
        assert said == []


def test_one_that_is_stopping_is_waited_for_until_a_stop_is_asked_for(tmp_path: Path) -> None:
    running, said = threading.Event(), []
    with instance.lock_data_dir(tmp_path, stopping=running, notify=said.append):

        def stop(line: str) -> None:
            said.append(line)
            running.set()

        with pytest.raises(StopRequested), instance.lock_data_dir(tmp_path, stopping=running, notify=stop):
            pass
    assert len(said) == 1
    assert "waiting" in said[0]
