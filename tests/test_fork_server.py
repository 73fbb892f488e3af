"""A program that is started by fork (`tests/fork_server.py`) is what it would be in a process of its own."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fork_server import Forked
from tests.portals import ROOT, fork_server, read_again, wait_for

SETTINGS = {
    "PUBLIC_URL": "https://registry.example",
    "ALLOWED_HOSTS": "registry.example",
    "THREADS": "7",
    "SELF_SERVICE": "true",
}

# Every setting, and what packages made of the settings when they were loaded.
TELL = """
import json, logging, os, re, signal, sys
import django
django.setup()
from django.conf import settings
from django.urls import get_resolver
from allauth.account import app_settings as account
from rest_framework.settings import api_settings

told = {name: repr(getattr(settings, name)) for name in dir(settings) if name.isupper()}
told |= {f"rest_framework {name}": repr(getattr(api_settings, name)) for name in api_settings.defaults}
told |= {f"account {name}": repr(getattr(account, name)) for name in dir(account) if name.isupper()}
told["patterns"] = len(get_resolver().url_patterns)
told["environment"] = dict(os.environ)
told["arguments"], told["directory"] = sys.argv, os.getcwd()
told["handlers"] = [repr(signal.getsignal(number)) for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM)]
told["handlers of the log"] = [repr(handler) for handler in logging.root.handlers]
print(re.sub(r" at 0x[0-9a-f]+", "", json.dumps(told)))
"""


def started(script: str, *arguments: str) -> tuple[Forked, str, str]:
    """A forked program that has ended, and its output."""
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        environment = {**os.environ, **SETTINGS}
        program = fork_server().start(
            script, *arguments, environment=environment, directory=ROOT, stdout=stdout, stderr=stderr
        )
        program.wait(60)
        return program, read_again(stdout), read_again(stderr)


def test_it_has_the_settings_environment_and_arguments_of_its_own_start(tmp_path: Path) -> None:
    script = tmp_path / "tell.py"
    script.write_text(TELL)
    command = [sys.executable, str(script), "--word"]
    environment = {**os.environ, **SETTINGS, "PYTHONPATH": str(ROOT)}

    fresh = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
    _, forked, errors = started(str(script), "--word")

    assert errors == ""
    expected, told = json.loads(fresh.stdout), json.loads(forked)
    del expected["environment"]["PYTHONPATH"]
    assert told == expected
    assert told["PUBLIC_URL"] == repr(SETTINGS["PUBLIC_URL"])


def test_its_status_is_told(tmp_path: Path) -> None:
    script = tmp_path / "end.py"
    for ending, status in (
        ("pass", 0),
        ("raise SystemExit(3)", 3),
        ("import os; os.kill(os.getpid(), 9)", -9),
    ):
        script.write_text(ending)
        assert started(str(script))[0].returncode == status


def test_an_error_is_printed_and_has_status_1(tmp_path: Path) -> None:
    script = tmp_path / "fail.py"
    script.write_text("print('begun')\nraise ValueError('it failed')")

    program, output, errors = started(str(script))

    assert (program.returncode, output) == (1, "begun\n")
    assert errors.endswith("ValueError: it failed\n")


def test_it_runs_in_a_session_of_its_own_and_is_stopped_by_signals(tmp_path: Path) -> None:
    script = tmp_path / "sleep.py"
    script.write_text("import time; print('ready', flush=True); time.sleep(60)")
    output = tmp_path / "output"
    with output.open("wb") as file:
        program = fork_server().start(
            str(script), environment=dict(os.environ), directory=ROOT, stdout=file, stderr=file
        )
        assert program.poll() is None
        assert wait_for(output.read_text) == "ready\n"
        assert os.getsid(program.pid) == program.pid
        program.terminate()

    assert program.wait(10) == -signal.SIGTERM
