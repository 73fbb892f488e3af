"""Child processes that never outlive their parent, on Linux and macOS.

Every child is the leader of its own session, so that Ctrl-C in a terminal reaches only the parent. The parent then
stops the children in an order that loses no data. If the parent is killed (SIGKILL), the watchdog stops them in its
place. The watchdog is this file, run as a separate program. It reads a pipe whose only write end belongs to the parent,
and so notices the parent's end. This file imports only the standard library.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

POLL_SECONDS = 0.05
KILL_SECONDS = 5.0
KEPT_LOG_BYTES = 10 * 1024 * 1024

# Signals to send to a child in turn, each with the seconds to wait for its end. SIGKILL comes last.
StopSteps = tuple[tuple[signal.Signals, float], ...]
TERMINATE: StopSteps = ((signal.SIGTERM, 10.0),)

KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


class StartError(Exception):
    """A child could not be started. The message is one line: what failed, what to do, where its log is."""


class StopRequested(KeyboardInterrupt):
    """Ctrl-C or a signal requested a stop during a wait."""


@dataclass(frozen=True, kw_only=True)
class Child:
    """A running child process, the leader of its own process group."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    steps: StopSteps
    watchdog: "Watchdog"

    def exit_status(self) -> int | None:
        """The exit status, negative for a signal; None while the process runs."""
        return self.process.poll()

    def stop(self) -> None:
        """Stop the process and all processes that it started. Returns when they have ended."""
        stop_group(self.process.pid, self.steps, reap=self.process.poll)
        self.process.wait()
        self.watchdog.forget_group(self.process.pid)

    def last_log_line(self) -> str:
        """The last line of the log, for a message; may be empty."""
        with contextlib.suppress(OSError):
            lines = self.log.read_text(errors="replace")[-4000:].strip().splitlines()
            return lines[-1].strip()[:200] if lines else ""
        return ""


class Watchdog:
    """Stops registered process groups and removes registered paths when this process has ended.

    The watchdog inherits the file descriptors `keep_open`, so that a lock held through one of them is released only
    after the clean-up. `label` appears in the list of processes.
    """

    def __init__(self, *, label: str = "", keep_open: Sequence[int] = ()) -> None:
        read_end, self._write_end = os.pipe()  # neither is inherited by other children (PEP 446)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", os.path.abspath(__file__), label],
                stdin=read_end,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={},
                start_new_session=True,
                pass_fds=tuple(keep_open),
            )
        finally:
            os.close(read_end)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The watchdog's own process id."""
        return self._process.pid

    def stop_group(self, group: int, steps: StopSteps) -> None:
        """Register `group` to be stopped at the end. The group registered last is stopped first."""
        self._tell("group", str(group), *(f"{int(number)}:{seconds}" for number, seconds in steps))

    def forget_group(self, group: int) -> None:
        """Unregister `group`, which has ended: the system may reuse its number."""
        self._tell("forget", str(group))

    def remove(self, path: Path) -> None:
        """Register the file or folder `path` to be removed at the end, after the groups have ended."""
        self._tell("remove", str(path))

    def close(self) -> None:
        """Start the watchdog's clean-up and wait until it ends."""
        if self._write_end >= 0:
            os.close(self._write_end)
            self._write_end = -1
            self._process.wait()

    def _tell(self, *words: str) -> None:
        # A short write to a pipe is atomic. NUL separates the words, because a path may contain any other byte.
        with contextlib.suppress(BrokenPipeError):
            os.write(self._write_end, "\0".join(words).encode(errors="surrogateescape") + b"\0\n")


def minimal_environment() -> dict[str, str]:
    """The variables that a child needs, without secrets and without variables of MLflow or PostgreSQL."""
    return {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}


def start(
    name: str,
    command: Sequence[str],
    *,
    log: Path,
    watchdog: Watchdog,
    environment: Mapping[str, str],
    directory: Path | str,
    steps: StopSteps = TERMINATE,
    pass_fds: Sequence[int] = (),
    user: int | None = None,
    group: int | None = None,
    read_output: bool = False,
) -> Child:
    """Start `command` in its own session, with its output appended to `log`. Raises StartError.

    With `read_output`, its standard output is a pipe instead: `Child.process.stdout`.
    """
    with open_log(log) as output:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if read_output else output,
                stderr=output,
                cwd=directory,
                env=dict(environment),
                start_new_session=True,
                pass_fds=tuple(pass_fds),
                user=user,
                group=group,
                extra_groups=None if user is None else [],
            )
        except OSError as error:
            raise StartError(f"{name} cannot be started: {error}") from error
    watchdog.stop_group(process.pid, steps)
    return Child(name=name, process=process, log=log, steps=steps, watchdog=watchdog)


def wait_until_ready(
    child: Child, is_ready: Callable[[], bool], *, seconds: float, stopping: threading.Event | None = None
) -> None:
    """Wait until `is_ready()`. Raises StartError if the child ends or `seconds` pass before that."""
    deadline = time.monotonic() + seconds
    stopping = stopping or threading.Event()
    while not is_ready():
        if stopping.is_set():
            raise StopRequested
        status = child.exit_status()
        if status is not None:
            raise StartError(
                f"{child.name} ended while starting (exit status {status}): "
                f"{child.last_log_line() or 'it wrote nothing'}; see {child.log}"
            )
        if time.monotonic() > deadline:
            raise StartError(
                f"{child.name} was not ready after {seconds:.0f} seconds; see {child.log}, then try again"
            )
        stopping.wait(POLL_SECONDS)


def finish(
    child: Child,
    *,
    seconds: float,
    stopping: threading.Event,
    relay: Callable[[str], None] = lambda line: None,
) -> str:
    """Wait until a child ends, and return its output. Calls `relay` with each line as it arrives."""
    lines: list[str] = []

    def read() -> None:
        assert child.process.stdout is not None  # noqa: S101  it was started with a pipe
        with child.process.stdout as pipe:
            for line in pipe:
                lines.append(line.decode(errors="replace").rstrip())
                relay(lines[-1])

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    deadline = time.monotonic() + seconds
    try:
        while child.exit_status() is None and time.monotonic() < deadline:
            if stopping.wait(POLL_SECONDS):
                raise StopRequested
    finally:
        child.stop()
    reader.join()
    return "\n".join(lines)


def open_log(path: Path) -> BinaryIO:
    """Open a log for appending, readable only by its owner. A large log is renamed first."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > KEPT_LOG_BYTES:
            path.replace(path.with_suffix(path.suffix + ".1"))
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")


def stop_group(group: int, steps: StopSteps, *, reap: Callable[[], int | None] = lambda: None) -> None:
    """Send each signal of `steps` to the leader of `group` and wait; finally kill the processes that remain.

    While the leader runs, only the leader gets the signal, because PostgreSQL, MLflow and gunicorn stop their own
    children in order. Processes that outlive their leader get the signal themselves. `reap` collects the exit status of
    a leader that is this process's own child; after that, the system may reuse its number.
    """
    for number, seconds in (*steps, (signal.SIGKILL, KILL_SECONDS)):
        signalled_leader = signalled_group = False
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            has_leader = reap() is None and _send(os.kill, group, 0)
            if not _is_running(group):
                return
            if has_leader and number != signal.SIGKILL:
                signalled_leader = signalled_leader or _send(os.kill, group, number)
            else:
                signalled_group = signalled_group or _send(os.killpg, group, number)
            time.sleep(POLL_SECONDS)


def _send(kill: Callable[[int, int], None], target: int, number: int) -> bool:
    """Send a signal; returns whether a process was there. macOS reports EPERM for a group of ended processes."""
    try:
        kill(target, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _is_running(group: int) -> bool:
    """Whether any process of `group` runs.

    The kernel counts a zombie as a member, and in a container no process may ever collect it. Where /proc exists, this
    function reads the state of each process there.
    """
    if not _send(os.killpg, group, 0):
        return False
    if not Path("/proc/self/stat").exists():
        return True
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError):
            state, _, its_group, *_ = path.read_text(errors="replace").rpartition(")")[2].split()
            if state not in "ZX" and int(its_group) == group:
                return True
    return False


def _watch(pipe: BinaryIO) -> None:
    """Read registrations until the parent ends; then stop the groups, the last one first, and remove the paths."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    groups: dict[int, StopSteps] = {}
    paths: list[Path] = []
    for line in pipe.read().split(b"\0\n"):
        match line.decode(errors="surrogateescape").split("\0"):
            case ["group", number, *words]:
                groups[int(number)] = tuple(_step(word) for word in words)
            case ["forget", number]:
                groups.pop(int(number), None)
            case ["remove", name]:
                paths.append(Path(name))
    for group, steps in reversed(groups.items()):
        stop_group(group, steps)
    for path in paths:
        with contextlib.suppress(OSError):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _step(text: str) -> tuple[signal.Signals, float]:
    number, _, seconds = text.partition(":")
    return signal.Signals(int(number)), float(seconds)


if __name__ == "__main__":
    _watch(sys.stdin.buffer)
