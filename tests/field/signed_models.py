"""`make signed-models`: a stock client logs, registers and downloads real models through a portal in front of a real
MLflow, and `model_signing verify` checks each download with nothing but the signature and the public key.

The models are of scikit-learn, PyTorch and transformers; the last one has 2 GB in 500 files (MODELS=… selects some).
The verification must pass on the download, and must fail after a byte was changed, and after a file was added, removed
or renamed. Then a byte is changed in MLflow's store: the next download must abort, an alert must appear, and
`verify_version` must name the file. The exit status is 1 if something of this is not so.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError

from tests.field.environments import Environment, InstallError, environment
from tests.field.servers import OPENER, Field, Request, Server
from tests.signing_keys import new_signing_key

CLIENT = (
    "install",
    *("mlflow==3.17.2", "torch==2.13.0", "safetensors==0.8.0", "transformers==5.23.0"),
)
VERIFIER = ("install", "model-signing==1.1.1", "pyopenssl==26.3.0")
MODELS = os.environ.get("MODELS", "scikit-learn pytorch transformers").split()
PROGRAM = Path(__file__).with_name("programs") / "sign_models.py"
SECONDS = 1200.0


@dataclass(frozen=True, kw_only=True)
class World:
    server: Server
    client: Environment
    verifier: Environment
    folder: Path
    key: str

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The stock client's program."""
        settings = {"MLFLOW_TRACKING_URI": self.server.tracking_uri, "MLFLOW_TRACKING_TOKEN": self.key}
        settings |= {"EXPERIMENT": "signed", "HOME": str(self.folder)}
        return self.client.run(str(PROGRAM), *arguments, timeout=SECONDS, **settings)

    def fetch(self, path: str) -> bytes | None:
        request = Request(self.server.url + path, headers={"Authorization": f"Bearer {self.key}"})
        try:
            with OPENER.open(request, timeout=60) as response:
                return bytes(response.read())
        except HTTPError as error:
            if error.code != 404:
                raise
            return None

    def signature(self, model: str) -> bytes:
        """Once the portal has made it, in the background."""
        end = time.monotonic() + 120
        while (found := self.fetch(f"/api/v1/manifests/signature?name={model}&version=1")) is None:
            if time.monotonic() > end:
                raise TimeoutError(f"{model} was not signed")
            time.sleep(0.2)
        return found

    def verify(self, model: str, folder: Path) -> bool:
        """Whether `model_signing verify` accepts the folder. It gets no address of the portal."""
        names = (
            "--signature",
            str(self.folder / f"{model}.sig"),
            "--public_key",
            str(self.folder / "portal.pem"),
        )
        done = self.verifier.run(
            "-m", "model_signing", "verify", "key", *names, str(folder), timeout=600, HOME=str(self.folder)
        )
        if done.returncode not in (0, 1):
            print(done.stdout)
        return done.returncode == 0


def main() -> int:
    try:
        client, verifier = environment("frameworks", CLIENT), environment("model-signing", VERIFIER)
    except InstallError as error:
        print(f"The packages cannot be installed: {error}")
        return 1
    os.environ["SIGNING_KEY"] = new_signing_key()
    with (
        tempfile.TemporaryDirectory() as name,
        Field(Path(name) / "field") as field,
        field.server("portal", client) as server,
    ):
        key = server.issue("scientist", "field", "--preset", "full")
        world = World(server=server, client=client, verifier=verifier, folder=Path(name), key=key)
        pem = world.fetch("/.well-known/model-signing-key.pem")
        (world.folder / "portal.pem").write_bytes(pem or b"")
        print(
            "| model | files | MB | logged and registered | downloaded | verified | byte changed | added | removed "
            "| renamed | in the store: download, alert, verify_version |\n" + "|---" * 11 + "|"
        )
        return int(False in [try_model(world, model) for model in MODELS])


def try_model(world: World, model: str) -> bool:
    logged = world.run("log", model)
    if logged.returncode:
        print(f"{model} could not be logged: {logged.stdout[-2000:]}")
        return False
    (world.folder / f"{model}.sig").write_bytes(world.signature(model))
    place = world.folder / "downloads" / model
    downloaded = world.run("download", model, str(place))
    files = [file for file in place.rglob("*") if file.is_file()]
    size = sum(file.stat().st_size for file in files)
    started = time.perf_counter()
    is_verified = world.verify(model, place)
    seconds = time.perf_counter() - started
    refused = {what: is_refused(world, model, place, change) for what, change in CHANGES.items()}
    is_restored = world.verify(model, place)
    shutil.rmtree(place)
    stored = change_store(world, model)
    verdicts = " | ".join("refused" if refused[what] else "ACCEPTED" for what in CHANGES)
    times = f"{seconds_of(logged)} s | {seconds_of(downloaded)} s"
    verified = f"passed, {seconds:.1f} s" if is_verified and is_restored else "FAILED"
    print(
        f"| {model} | {len(files)} | {size / 1e6:.0f} | {times} | {verified} | {verdicts} | {stored} |",
        flush=True,
    )
    return is_verified and is_restored and all(refused.values()) and stored.count("yes") == 3


def seconds_of(done: subprocess.CompletedProcess[str]) -> str:
    return done.stdout.rpartition("seconds ")[2].strip() or "?"


def is_refused(world: World, model: str, place: Path, change: Callable[[Path], Callable[[], object]]) -> bool:
    """Whether the changed folder is refused. The change is undone."""
    undo = change(place)
    try:
        return not world.verify(model, place)
    finally:
        undo()


def largest(place: Path) -> Path:
    return max((file for file in place.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)


def flip(file: Path) -> None:
    """Change one byte in the middle."""
    with file.open("r+b") as content:
        content.seek(file.stat().st_size // 2)
        [byte] = content.read(1)
        content.seek(-1, os.SEEK_CUR)
        content.write(bytes([byte ^ 1]))


def change_byte(place: Path) -> Callable[[], object]:
    file = largest(place)
    flip(file)
    return lambda: flip(file)


def add(place: Path) -> Callable[[], object]:
    file = largest(place).with_name("added")
    file.write_bytes(b"")
    return file.unlink


def remove(place: Path) -> Callable[[], object]:
    file, away = largest(place), place.with_name("away")
    file.rename(away)
    return lambda: away.rename(file)


def rename(place: Path) -> Callable[[], object]:
    file = largest(place)
    renamed = file.rename(file.with_name(f"{file.name}x"))
    return lambda: renamed.rename(file)


CHANGES = {"byte changed": change_byte, "added": add, "removed": remove, "renamed": rename}


@contextmanager
def changed_in_store(world: World, model: str) -> Iterator[str]:
    """A byte of the version's largest file is changed in MLflow's store, without the portal. Yields its path."""
    told = json.loads(world.fetch(f"/api/v1/manifests?name={model}&version=1") or b"{}")
    path = max(told["files"], key=lambda file: file["size"])["path"]
    store = world.server.log.parent / "artifacts"
    found = [file for file in store.rglob(Path(path).name) if str(file).endswith(f"/{path}")]
    size = max(told["files"], key=lambda file: file["size"])["size"]
    [file] = [file for file in found if file.stat().st_size == size and is_of(world, model, file)]
    flip(file)
    try:
        yield path
    finally:
        flip(file)


def is_of(world: World, model: str, file: Path) -> bool:
    """Whether the file is below the version's source."""
    content = world.fetch(
        f"/api/mlflow/api/2.0/mlflow/model-versions/get-download-uri?name={model}&version=1"
    )
    root = str(json.loads(content or b"{}")["artifact_uri"]).partition(":/")[2].strip("/")
    return f"/{root}/" in str(file)


def change_store(world: World, model: str) -> str:
    """`yes` for each: the download aborts, the alert appears, verify_version names the file with both digests."""
    with changed_in_store(world, model) as path:
        downloaded = world.run("download", model, str(world.folder / "aborted" / model))
        shutil.rmtree(world.folder / "aborted", ignore_errors=True)
        alerts = json.loads(world.server.manage("list_alerts", "--json"))
        is_alerted = any(
            alert["kind"] == "artifact_changed" and path in json.dumps(alert) for alert in alerts
        )
        done = subprocess.run(
            [sys.executable, "manage.py", "verify_version", model, "1", "--json"],
            env=world.server.environment,
            capture_output=True,
            check=False,
        )
        named = [file for file in json.loads(done.stdout) if file["verdict"] == "different"]
    is_named = [file["path"] for file in named] == [path] and all(
        file["sha256"] and file["found_sha256"] != file["sha256"] and file["since"] for file in named
    )
    checks = (downloaded.returncode != 0, is_alerted, done.returncode == 1 and is_named)
    return ", ".join("yes" if check else "NO" for check in checks)


if __name__ == "__main__":
    sys.exit(main())
