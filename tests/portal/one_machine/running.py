"""`manage.py up` as tests start it, and what they ask it."""

import contextlib
import http.cookiejar
import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from portal.one_machine.ports import free_port
from portal.one_machine.supervisor import minimal_environment
from tests.portal import processes

REPOSITORY = Path(__file__).parents[3]
NOWHERE = "http://127.0.0.1:9"  # discard: nothing listens there
READY = "Ctrl-C stops everything."


class Up:
    """One `manage.py up`, as a person would start it."""

    def __init__(self, data: Path, *, port: int | None = None, wrapper: list[str] | None = None, **more: str):
        self.data = data
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            [
                *(wrapper or []),
                sys.executable,
                "manage.py",
                "up",
                *(["--stop-with-parent"] if wrapper else []),
            ],
            cwd=REPOSITORY,
            env=minimal_environment() | {"DATA_DIR": str(data), "PORT": str(self.port)} | more,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.output = ""

    def wait_until_ready(self) -> None:
        """Read on until it says that it serves."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line
            if READY in line:
                self.seconds = time.monotonic() - self.started
                self.family = processes.with_descendants(self.process.pid)
                return
        raise AssertionError(f"it ended with status {self.process.wait()}: {self.output}")

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal, read what it still says, and wait for its end."""
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> int:
        output, _ = self.process.communicate(timeout=60)
        self.output += output
        return self.process.returncode

    def leaves_nothing(self) -> bool:
        return processes.none_left(self.family, self.data) and not (self.data / "portal.json").exists()

    def child(self, word: str) -> psutil.Process:
        return next(process for process in self.family if word in processes.command_of(process))


@contextlib.contextmanager
def up(data: Path, **options: Any) -> Iterator[Up]:
    running = Up(data, **options)
    try:
        running.wait_until_ready()
        yield running
    finally:
        if running.process.poll() is None:
            running.end()
        running.process.communicate()


def refused(data: Path, **options: Any) -> str:
    """What an `up` says that must not start: one line and status 1."""
    attempt = Up(data, **options)
    assert attempt.ended() == 1, attempt.output
    assert "Traceback" not in attempt.output
    [line] = [line for line in attempt.output.splitlines() if line.startswith("error: ")] or [attempt.output]
    return line


def get(url: str, key: str = "") -> tuple[int, str]:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"} if key else {})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def sign_in(url: str, password: str) -> str:
    """Sign in to the admin pages as a browser does; returns the path one is sent to."""
    cookies = http.cookiejar.CookieJar()
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(cookies))
    with browser.open(f"{url}/admin/", timeout=20) as answer:
        page = answer.url
        token = next(str(cookie.value) for cookie in cookies if cookie.name == "csrftoken")
    form = {"csrfmiddlewaretoken": token, "login": "admin", "password": password, "next": "/admin/"}
    request = urllib.request.Request(page, urllib.parse.urlencode(form).encode(), headers={"Referer": url})
    with browser.open(request, timeout=20) as answer:
        return urllib.parse.urlsplit(answer.url).path


def issue(running: Up, *options: str) -> str:
    """Issue a key as an operator does beside what runs."""
    made = subprocess.run(
        [sys.executable, "manage.py", "issue_key", "--user", "alice", "--name", "beside", "--json", *options],
        cwd=REPOSITORY,
        env=minimal_environment() | {"DATA_DIR": str(running.data)},
        capture_output=True,
        text=True,
        check=True,
    )
    return str(json.loads(made.stdout)["key"])
