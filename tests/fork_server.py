"""Starts Python programs by fork, from a process that has loaded the portal's dependencies once.

A start of its own would load Django and the rest again, which takes longer than most of the tests' programs run.
Nothing of the portal is loaded before the fork and no setting is read: each program reads its own environment.

`python -m tests.fork_server SOCKET` reads names of modules from its standard input, loads them and listens. A client
sends one line of JSON with `arguments`, `environment` and `directory`, along with three file descriptors. The server
answers with the program's process id and, when the program ends, with its exit status (negative for a signal).
"""

import contextlib
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# A client's own modules of these packages are loaded. prometheus_client is not among them: at its import it reads
# from the environment whether to count in memory or in files.
PACKAGES = {
    *(
        "allauth",
        "asgiref",
        "attr",
        "certifi",
        "charset_normalizer",
        "cryptography",
        "django",
        "django_filters",
    ),
    *(
        "drf_spectacular",
        "email",
        "fido2",
        "google",
        "http",
        "idna",
        "inflection",
        "jinja2",
        "jsonschema",
        "jwt",
    ),
    *("limits", "logging", "markdown_it", "mdurl", "opentelemetry", "pgtrigger", "procrastinate", "psycopg"),
    *(
        "psycopg_binary",
        "psycopg_pool",
        "pygments",
        "qrcode",
        "redis",
        "requests",
        "rest_framework",
        "sqlparse",
    ),
    *("unfold", "urllib3", "whitenoise", "yaml"),
}
SERVER = ("gunicorn.app.wsgiapp", "gunicorn.glogging", "gunicorn.workers.gthread")
LONGEST_REQUEST = 2**20  # bytes


# --- the client --------------------------------------------------------------------------------------------


class Forked:
    """A program that the server started. It has those parts of `subprocess.Popen` that the tests use."""

    def __init__(self, connection: socket.socket) -> None:
        self.returncode: int | None = None
        self._connection, self._received = connection, b""
        self.pid = int(self._line(30))

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self.returncode = int(self._line(timeout))
            self._connection.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _line(self, timeout: float | None) -> bytes:
        end = None if timeout is None else time.monotonic() + timeout
        while b"\n" not in self._received:
            self._connection.settimeout(None if end is None else max(0.0, end - time.monotonic()))
            try:
                piece = self._connection.recv(64)
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired("a forked program", timeout or 0.0) from None
            if not piece:
                raise RuntimeError("the fork server has ended")
            self._received += piece
        line, _, self._received = self._received.partition(b"\n")
        return line


class ForkServer:
    """The server's process and its socket at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        loaded = [name for name in sys.modules if name.partition(".")[0] in PACKAGES]
        environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.fork_server", str(path)],
            stdin=subprocess.PIPE,
            env=environment,
            cwd=Path(__file__).resolve().parent.parent,
            start_new_session=True,
        )
        assert self.process.stdin is not None
        with self.process.stdin as names:
            names.write(" ".join([*SERVER, *loaded]).encode())

    def start(
        self, *arguments: str, environment: Mapping[str, str], directory: Path, stdout: Any, stderr: Any
    ) -> Forked:
        """Run `python ARGUMENTS` in a session of its own; the first argument is a script, or `-m`."""
        connection = self._connect()
        request = {"arguments": arguments, "environment": dict(environment), "directory": str(directory)}
        with open(os.devnull, "rb") as nothing:
            descriptors = [nothing.fileno(), stdout.fileno(), stderr.fileno()]
            socket.send_fds(connection, [json.dumps(request).encode() + b"\n"], descriptors)
        return Forked(connection)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)

    def _connect(self) -> socket.socket:
        end = time.monotonic() + 60
        while True:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                connection.connect(str(self.path))
            except OSError:  # it does not listen yet
                connection.close()
                if self.process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError("the fork server does not start") from None
                time.sleep(0.02)
            else:
                return connection


# --- the server --------------------------------------------------------------------------------------------


def load(names: Sequence[str]) -> None:
    """Load the modules. Those that read Django's settings cannot be loaded here; programs load them themselves."""
    for name in names:
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    gc.collect()
    gc.freeze()  # so that the collector of a fork does not copy what all share


def serve(path: str) -> dict[str, Any]:
    """Start a program for each client. Returns the request, in the program's process alone."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    wake, waker = socket.socketpair()
    waker.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(waker.fileno())
    programs: dict[int, socket.socket] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        selector.register(wake, selectors.EVENT_READ)
        listener.listen(64)
        while True:
            for key, _ in selector.select():
                if key.fileobj is wake:
                    wake.recv(1024)
                    report_ends(programs)
                    continue
                client, _ = listener.accept()
                request, descriptors = receive(client)
                pid = os.fork()
                if not pid:
                    signal.set_wakeup_fd(-1)
                    for number, descriptor in enumerate(descriptors):
                        os.dup2(descriptor, number)
                        os.close(descriptor)
                    for each in (listener, wake, waker, client, *programs.values()):
                        each.close()
                    return request
                for descriptor in descriptors:
                    os.close(descriptor)
                programs[pid] = client
                client.sendall(b"%d\n" % pid)


def receive(client: socket.socket) -> tuple[dict[str, Any], list[int]]:
    received, descriptors, _, _ = socket.recv_fds(client, LONGEST_REQUEST, 3)
    while not received.endswith(b"\n"):
        received += client.recv(LONGEST_REQUEST)
    return json.loads(received), list(descriptors)


def report_ends(programs: dict[int, socket.socket]) -> None:
    """Tell the clients of programs that have ended."""
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            pid, status = ended
            with programs.pop(pid) as client, contextlib.suppress(OSError):  # a client may have ended before
                client.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))


def run(request: dict[str, Any]) -> None:
    """What `python ARGUMENTS` does, in this process."""
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.chdir(request["directory"])
    os.environ.clear()
    os.environ.update(request["environment"])
    first, *rest = request["arguments"]
    if first == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = [first, *rest]
        runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    load(sys.stdin.read().split())
    run(serve(sys.argv[1]))
