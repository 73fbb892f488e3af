"""Which processes belong to a run: found by its folder, or by descent while their parent lives."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import psutil

DEADLINE_SECONDS = 30.0


def of_folder(folder: Path) -> list[psutil.Process]:
    """Every process that names ``folder`` in its command line or environment or works below it."""
    found = []
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        try:
            texts = [*process.cmdline(), *process.environ().values(), process.cwd()]
        except psutil.Error:
            continue  # gone by now, or the kernel's own
        if any(str(folder) in text for text in texts):
            found.append(process)
    return found


def with_descendants(pid: int) -> list[psutil.Process]:
    """The process and all that descend from it now."""
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def none_left(processes: list[psutil.Process], folder: Path) -> bool:
    """Whether none of ``processes`` runs any more, nor any other of ``folder``; waits for it."""
    return wait_for(lambda: not any(is_running(process) for process in processes) and not of_folder(folder))


def is_running(process: psutil.Process) -> bool:
    """Ended processes that nobody has collected yet do not count."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def command_of(process: psutil.Process) -> str:
    """Its command line; nothing of one that ended, at whatever moment."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:  # or one that nobody has collected yet
        return ""


def wait_for(condition: Callable[[], bool], seconds: float = DEADLINE_SECONDS) -> bool:
    """Whether ``condition()`` comes true within ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
