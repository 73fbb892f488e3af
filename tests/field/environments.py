"""Virtual environments with pinned packages. Each is installed once, below FIELD_CACHE, and kept for the next run."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

INSTALL_SECONDS = 1800
Step = tuple[str, ...]  # the arguments of one pip command

# The newest release whose dependencies are complete here; 3.18.0 needs one package more.
BASE_OF_3_18 = "3.17.2"


class InstallError(Exception):
    """The packages could not be installed. The message is pip's last line."""


@dataclass(frozen=True, kw_only=True)
class Environment:
    folder: Path

    @property
    def python(self) -> str:
        return str(self.folder / "bin" / "python")

    def run(self, *arguments: str, timeout: float, **settings: str) -> subprocess.CompletedProcess[str]:
        """Python in this environment, in the folder HOME, with these variables; stdout also has stderr."""
        try:
            return subprocess.run(
                [self.python, *arguments],
                env=variables(self.folder) | settings,
                cwd=settings.get("HOME"),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            output = error.stdout.decode(errors="replace") if isinstance(error.stdout, bytes) else ""
            return subprocess.CompletedProcess(
                arguments, 124, f"{output}\nstopped after {timeout:.0f} seconds"
            )

    def versions(self) -> dict[str, str]:
        """The installed version of each package."""
        done = self.run("-m", "pip", "list", "--format", "json", timeout=120)
        return {
            each["name"].lower().replace("_", "-"): each["version"]
            for each in json.loads(done.stdout.splitlines()[0])
        }


def variables(folder: Path) -> dict[str, str]:
    """The caller's environment variables, without those of MLflow, and with this environment's programs first."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "PYTHON"))}
    return kept | {
        "PATH": f"{folder / 'bin'}{os.pathsep}{kept.get('PATH', '')}",
        "VIRTUAL_ENV": str(folder),
        "NO_PROXY": "127.0.0.1,localhost",
        "GIT_PYTHON_REFRESH": "quiet",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
    }


def cache_folder() -> Path:
    folder = Path(os.environ.get("FIELD_CACHE") or Path(os.environ.get("DATA_DIR") or ".data") / "field")
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()


def environment(name: str, *steps: Step) -> Environment:
    """The environment in which these pip commands have run. Raises InstallError."""
    folder = cache_folder() / f"{name}-{hashlib.sha256(repr(steps).encode()).hexdigest()[:8]}"
    stamp = folder / "installed"
    if stamp.exists():
        return Environment(folder=folder)
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    for step in steps:
        pip(folder, *step)
    stamp.touch()
    return Environment(folder=folder)


def node_modules(*packages: str) -> Path | None:
    """A folder in which npm has installed these packages; None without npm. Their install scripts do not run."""
    npm = shutil.which("npm")
    if npm is None:
        return None
    folder = cache_folder() / f"node-{hashlib.sha256(repr(packages).encode()).hexdigest()[:8]}"
    stamp = folder / "installed"
    if not stamp.exists():
        folder.mkdir(exist_ok=True)
        quiet = ("--no-audit", "--no-fund", "--ignore-scripts")
        command = [npm, "install", *quiet, "--prefix", str(folder), *packages]
        subprocess.run(command, check=True, capture_output=True, timeout=INSTALL_SECONDS)
        stamp.touch()
    return folder


@contextmanager
def node_program(folder: Path, script: str, *arguments: str) -> Iterator[None]:
    """A program of Node in its folder, once it has printed `ready`."""
    with (folder / f"{script}.log").open("a") as log:
        process = subprocess.Popen(
            ["node", script, *arguments], cwd=folder, stdout=subprocess.PIPE, stderr=log, text=True
        )
    try:
        assert process.stdout is not None
        while "ready" not in (process.stdout.readline() or "ready"):
            pass
        yield
    finally:
        process.terminate()
        process.wait()


def pip(folder: Path, *arguments: str) -> None:
    command = [str(folder / "bin" / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    log = folder / "pip.log"
    with log.open("a") as output:
        try:
            status = subprocess.run(
                [*command, *arguments],
                env=variables(folder),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                timeout=INSTALL_SECONDS,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            raise InstallError(f"pip did not finish within {INSTALL_SECONDS} s") from None
    if status:
        raise InstallError((log.read_text().strip().splitlines() or ["no output"])[-1])


def mlflow(release: str, *more: str) -> Environment:
    """A complete MLflow of this release, with what its images and models need and `more`. Raises InstallError.

    Old releases do not limit the versions of their dependencies tightly enough to work with today's.
    """
    extra = ["pillow", *more]
    if release == "3.18.0":
        return environment(
            f"mlflow-{release}",
            ("install", f"mlflow=={BASE_OF_3_18}", "python-multipart", *extra),
            ("uninstall", "--yes", "mlflow", "mlflow-skinny", "mlflow-tracing"),
            ("install", "--no-deps", f"mlflow=={release}"),
        )
    if int(release.split(".")[0]) < 3 or release.startswith("3.1."):
        extra += ["sqlalchemy<2.1", "opentelemetry-api<1.34", "opentelemetry-sdk<1.34"]
    if release.startswith("2.9."):
        extra += ["setuptools<81"]
    return environment(f"mlflow-{release}", ("install", f"mlflow=={release}", *extra))
