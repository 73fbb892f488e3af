"""`python -m portal.install LOCK`: installs a lock file with pip and shows its progress. Standard library only.

pip prints either nothing or several hundred lines, and nothing while it unpacks. This counts the packages in one line
on a terminal, and every few seconds in a log. If pip fails, everything that it wrote to its standard error is shown.
"""

import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TextIO

LOG_SECONDS = 10.0  # between two lines in a log
POLL_SECONDS = 0.5
CLEAR = "\r\033[K"  # empties the line of a terminal
REQUIREMENT = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)")
COLLECTED = re.compile(r"(?:Collecting|Requirement already satisfied:) ([\w.-]+)")
FETCHED = re.compile(
    r"\s*(?:Downloading|Using cached|Processing) (?:\S*/)?"
    r"([^\s/-]+)-\S*\.(?:whl|tar\.gz|zip)(?: \(([\d.]+ [kMG]?B)\)| |$)"
)


def main(lock: Path) -> int:
    """pip's exit status."""
    packages = locked_packages(lock.read_text())
    progress = Progress(packages, terminal=sys.stdout.isatty())
    options = ["--disable-pip-version-check", "--root-user-action=ignore", "--progress-bar=off", "--no-input"]
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        *options,
        # The lock file has all of them, and Debian's pip refuses one that another requires with an extra.
        "--no-deps",
        "--require-hashes",
        "--requirement",
        str(lock),
    ]
    signal.signal(signal.SIGTERM, interrupt)
    process = subprocess.Popen(  # noqa: S603
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        return follow(process, progress)
    finally:
        process.terminate()
        process.wait()


def interrupt(number: int, frame: FrameType | None) -> None:
    """SIGTERM ends pip too."""
    raise SystemExit(128 + number)


def follow(process: "subprocess.Popen[str]", progress: "Progress") -> int:
    """Show progress until pip ends; returns its exit status."""
    assert process.stdout is not None  # noqa: S101
    assert process.stderr is not None  # noqa: S101
    readers = [
        threading.Thread(target=relay, args=(process.stdout, progress.read_output), daemon=True),
        threading.Thread(target=relay, args=(process.stderr, progress.read_error), daemon=True),
    ]
    for reader in readers:
        reader.start()
    while process.poll() is None:
        time.sleep(POLL_SECONDS)
        progress.show()
    for reader in readers:
        reader.join()
    progress.finish(process.returncode)
    return process.returncode


def relay(stream: TextIO, read: Callable[[str], None]) -> None:
    for line in stream:
        read(line.rstrip("\n"))


def locked_packages(text: str) -> set[str]:
    """`name-version` of each package in a lock file, as its dist-info folder is named."""
    return {canonical(*match.groups()) for line in text.splitlines() if (match := REQUIREMENT.match(line))}


def canonical(name: str, version: str) -> str:
    return f"{re.sub('[-_.]+', '_', name).lower()}-{version.lower()}"


def installed_packages() -> set[str]:
    """`name-version` of each package that is installed completely: pip writes INSTALLER last."""
    folders = {Path(sysconfig.get_path(kind)) for kind in ("purelib", "platlib")}
    packages = set()
    for installer in itertools.chain.from_iterable(
        folder.glob("*.dist-info/INSTALLER") for folder in folders
    ):
        name, _, version = installer.parent.name.removesuffix(".dist-info").rpartition("-")
        packages.add(canonical(name, version))
    return packages


class Progress:
    """What pip has done so far: one line that is overwritten on a terminal, a line every LOG_SECONDS in a log."""

    def __init__(self, packages: set[str], *, terminal: bool) -> None:
        self.packages, self.terminal = packages, terminal
        self.ignored = 0
        self.resolved: set[str] = set()
        self.fetched: set[str] = set()
        self.errors: list[str] = []
        self.step = ""
        self.unpacks = False
        self.started = self.last_shown = time.monotonic()

    @property
    def total(self) -> int:
        """The packages that this platform needs, as far as pip has reported them."""
        return len(self.packages) - self.ignored

    def read_output(self, line: str) -> None:
        """Read a line of pip's standard output."""
        if line.startswith("Ignoring "):
            self.ignored += 1
        elif match := COLLECTED.match(line):
            self.resolved.add(match[1])
            self.step = f"resolving    {len(self.resolved)} of {self.total}  {match[1]}"
        elif match := FETCHED.match(line):
            self.fetched.add(match[1])
            size = f" ({match[2]})" if match[2] else ""
            self.step = f"downloading  {len(self.fetched)} of {self.total}  {match[1]}{size}"
        elif line.startswith("Installing collected packages"):
            self.unpacks = True

    def read_error(self, line: str) -> None:
        """Read a line of pip's standard error, which is shown if pip fails."""
        self.errors.append(line)
        if line.startswith("WARNING: Retrying"):
            self.step = line

    def show(self) -> None:
        now = time.monotonic()
        if self.unpacks:
            self.step = f"installing   {len(self.packages & installed_packages())} of {self.total}"
        line = f"  {self.step}  [{now - self.started:.0f} s]"
        if self.terminal:
            sys.stdout.write(f"{CLEAR}{line[: shutil.get_terminal_size().columns - 1]}")
            sys.stdout.flush()
        elif now - self.last_shown >= LOG_SECONDS:
            self.last_shown = now
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()

    def finish(self, status: int) -> None:
        if self.terminal:
            sys.stdout.write(CLEAR)
        if status == 0:
            sys.stdout.write(
                f"  installed {self.total} packages in {time.monotonic() - self.started:.0f} s\n"
            )
        sys.stdout.flush()
        if status != 0:
            sys.stderr.write("\n".join([*self.errors, f"pip failed (exit status {status})"]) + "\n")


if __name__ == "__main__":
    try:
        sys.exit(main(Path(sys.argv[1])))
    except KeyboardInterrupt:
        sys.exit(130)
