"""The files that a running portal keeps in DATA_DIR: its lock, its secrets, its addresses.

`portal.settings` reads `secrets.json` and `portal.json`, so that `manage.py` alone works beside it.
"""

import contextlib
import fcntl
import json
import os
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from portal.one_machine.supervisor import POLL_SECONDS, StartError, StopRequested

# A portal that stops, or whose watchdog cleans up after a kill, holds the lock for at most this long.
LOCK_SECONDS = 60.0


def prepare_folder(data_dir: Path) -> None:
    """Create DATA_DIR for its owner alone and check that it can be written. Raises StartError."""
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=data_dir):
            pass
    except OSError as error:
        raise StartError(
            f"DATA_DIR {data_dir} cannot be written ({error.strerror}): "
            "make it writable, or set another DATA_DIR"
        ) from None


@contextlib.contextmanager
def lock_data_dir(
    data_dir: Path, *, stopping: threading.Event, notify: Callable[[str], None]
) -> Iterator[int]:
    """Lock DATA_DIR; yields the lock's descriptor. Raises StartError with the URL of the portal that holds it."""
    descriptor = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _acquire(descriptor, data_dir, stopping, notify)
        yield descriptor
    finally:
        os.close(descriptor)


def _acquire(
    descriptor: int, data_dir: Path, stopping: threading.Event, notify: Callable[[str], None]
) -> None:
    deadline = time.monotonic() + LOCK_SECONDS
    waiting = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            other = read_running(data_dir)
            if other and is_alive(int(other["pid"])):
                raise StartError(
                    f"a portal already runs on {data_dir}: {other['url']} (process {other['pid']}). "
                    "Use that one, stop it first, or set another DATA_DIR"
                ) from None
            if time.monotonic() > deadline:
                raise StartError(
                    f"another portal is starting or stopping on {data_dir}: "
                    "try again, or set another DATA_DIR"
                ) from None
        else:
            return
        if not waiting:
            notify(f"waiting for another portal on {data_dir} that is starting or stopping")
            waiting = True
        if stopping.wait(POLL_SECONDS):
            raise StopRequested


def load_secrets(data_dir: Path) -> dict[str, str]:
    """SECRET_KEY and KEY_PEPPERS: the environment's, else secrets.json's, generated at the first run."""
    given = {name: os.environ[name] for name in ("SECRET_KEY", "KEY_PEPPERS") if os.environ.get(name)}
    if len(given) == 2:
        return given
    path = data_dir / "secrets.json"
    if not path.exists():
        # Commas separate the peppers, newest first; a urlsafe token contains none.
        write_private(
            path, {"SECRET_KEY": secrets.token_urlsafe(50), "KEY_PEPPERS": secrets.token_urlsafe(32)}
        )
    kept = read(path)
    if not all(isinstance(kept.get(name), str) and kept[name] for name in ("SECRET_KEY", "KEY_PEPPERS")):
        raise StartError(
            f"{path} does not contain SECRET_KEY and KEY_PEPPERS: restore it from a backup. "
            "If you delete it, a new one is created, and all keys issued so far become invalid"
        )
    return {"SECRET_KEY": kept["SECRET_KEY"], "KEY_PEPPERS": kept["KEY_PEPPERS"]} | given


def create_signing_key(data_dir: Path) -> None:
    """Create the key that signs manifests at the first start, unless SIGNING_KEY is set."""
    path = data_dir / "signing_key.pem"
    if os.environ.get("SIGNING_KEY") or path.exists():
        return
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def read_running(data_dir: Path) -> dict[str, Any]:
    """The content of portal.json; {} if no portal runs."""
    content = read(data_dir / "portal.json")
    return content if {"url", "pid"} <= content.keys() else {}


def is_alive(pid: int) -> bool:
    """Whether a process with this id exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def read(path: Path) -> dict[str, Any]:
    """A JSON object; {} if the file is missing or contains anything else."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_private(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object atomically, readable by the owner alone."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(content, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
