"""Child processes that never outlive their parent, on Linux and macOS.

Every child is the leader of its own session, so that Ctrl-C in a terminal reaches only the parent, which
then stops the children in an order that loses nothing. Should the parent be killed (``kill -9``), the
watchdog does the same in its place: it is this very file, run as a program of its own, holding the read end
of a pipe whose only write end is the parent's. Only the standard library is imported here.
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

# What to send to a child, and how many seconds to wait after it, before the next; SIGKILL comes last.
StopSteps = tuple[tuple[signal.Signals, float], ...]
TERMINATE: StopSteps = ((signal.SIGTERM, 10.0),)

KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


class StartError(Exception):
    """Something could not be started. The message is one line: what failed, what to do, where its log is."""


class StopRequested(KeyboardInterrupt):
    """A stop was asked for, by Ctrl-C or a signal, while something was being waited for."""


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
        """Stop the process and whatever it started; returns when all of it is gone."""
        stop_group(self.process.pid, self.steps, reap=self.process.poll)
        self.process.wait()
        self.watchdog.forget_group(self.process.pid)

    def last_log_line(self) -> str:
        """The last line written to the log, for a message; may be empty."""
        with contextlib.suppress(OSError):
            lines = self.log.read_text(errors="replace")[-4000:].strip().splitlines()
            return lines[-1].strip()[:200] if lines else ""
        return ""


class Watchdog:
    """Stops registered process groups and removes registered paths once this process is gone.

    ``keep_open`` are file descriptors the watchdog inherits: a lock held through one of them is free only
    when the clean-up is over. ``label`` shows in the list of processes, nothing more.
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
        """Have ``group`` stopped at the end; groups are stopped in reverse order of this call."""
        self._tell("group", str(group), *(f"{int(number)}:{seconds}" for number, seconds in steps))

    def forget_group(self, group: int) -> None:
        """``group`` is gone; its number may be another process's by now."""
        self._tell("forget", str(group))

    def remove(self, path: Path) -> None:
        """Have the file or folder ``path`` removed at the end, after the groups are gone."""
        self._tell("remove", str(path))

    def close(self) -> None:
        """Let the watchdog do what is left to do and wait for its end."""
        if self._write_end >= 0:
            os.close(self._write_end)
            self._write_end = -1
            self._process.wait()

    def _tell(self, *words: str) -> None:
        # One short write to a pipe is never split. NUL parts the words: a path may hold anything else.
        with contextlib.suppress(BrokenPipeError):
            os.write(self._write_end, "\0".join(words).encode(errors="surrogateescape") + b"\0\n")


def minimal_environment() -> dict[str, str]:
    """What a child needs of this process's environment: no secret, nothing of MLflow's or PostgreSQL's."""
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
    """Start ``command`` in its own session, what it writes appended to ``log``; StartError if it cannot be.

    With ``read_output`` its standard output is a pipe instead, ``Child.process.stdout``.
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
    """Return once ``is_ready()``; StartError if the child ends or ``seconds`` pass first."""
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
    """Wait for a child's end; returns what it wrote, each line given to ``relay`` as it comes."""
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
    """Open a log for appending, readable by its owner alone; one that grew large is put aside first."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > KEPT_LOG_BYTES:
            path.replace(path.with_suffix(path.suffix + ".1"))
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")


def stop_group(group: int, steps: StopSteps, *, reap: Callable[[], int | None] = lambda: None) -> None:
    """Send each signal of ``steps`` to the leader of ``group`` and wait; kill all that is left in the end.

    The leader alone is asked as long as it lives: PostgreSQL, MLflow and gunicorn stop their own children in
    order. What outlives its leader is asked itself. ``reap`` collects the leader's exit status where it is
    this process's own child; its number may be another process's then.
    """
    for number, seconds in (*steps, (signal.SIGKILL, KILL_SECONDS)):
        asked_leader = asked_group = False
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            has_leader = reap() is None and _send(os.kill, group, 0)
            if not _is_running(group):
                return
            if has_leader and number != signal.SIGKILL:
                asked_leader = asked_leader or _send(os.kill, group, number)
            else:
                asked_group = asked_group or _send(os.killpg, group, number)
            time.sleep(POLL_SECONDS)


def _send(kill: Callable[[int, int], None], target: int, number: int) -> bool:
    """Whether there was anything to signal. macOS answers EPERM for a group of ended processes."""
    try:
        kill(target, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _is_running(group: int) -> bool:
    """Whether any process of ``group`` runs. One that ended but was never collected still counts as a member,
    and in a container the first process may never collect it: where there is /proc, that is looked at too.
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
    """Read what to do until the parent is gone, then do it: groups, the last one first, then paths."""
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
