"""`make kills`: the portal's worker, or the process that scans versions, is killed with -9 at each stage of a version's
provenance; not in the suite.

For each stage, KILLS=… versions are registered (default 3), each with a pickle that runs code and one that does not. A
kill at the stage follows, and RANDOM=… further versions are killed at a random time after their registration. Whatever
the portal reports then, at any time, must be right: no digest that was not seen, no signature of other bytes, no rating
better than the truth. Within two minutes, the work must be complete. At the end, the ledger must verify. Prints a
table.
"""

import base64
import hashlib
import http.client
import json
import os
import pickle
import random
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode, urlsplit

import psutil
import psycopg

from tests.field.environments import Environment, environment
from tests.field.servers import OPENER, ROOT, Field, Request, Server
from tests.signing_keys import new_signing_key

KILLS, RANDOM = int(os.environ.get("KILLS", "3")), int(os.environ.get("RANDOM", "6"))
SECONDS = 120.0  # within which the work is complete; a call that was cut off counts as ended after 70 s
SCANNER = ("install", "picklescan==1.0.5")
API = "/api/2.0/mlflow"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
MANIFEST_LOCK, SCAN_LOCK = 481_628_330, 481_628_331  # proxy.provenance
LOCKED = "select 1 from pg_locks where locktype = 'advisory' and classid = %s and granted"
OF_MODEL = "select 1 from proxy_registration where operation = 'model-versions.create' and object_name = %s"
PENDING = "select 1 from proxy_registration where outcome = 'pending' and operation = 'model-versions.create'"


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.getcwd, ()


@dataclass
class Scans:
    """`manage.py alerts`, which scans the versions, and which starts again when it is killed."""

    command: list[str]
    environment: dict[str, str]
    process: "subprocess.Popen[bytes]" = field(init=False)

    def start(self) -> None:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(self.command, cwd=ROOT, env=self.environment, **quiet)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.start()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(60)

    def has_scanner(self) -> bool:
        """Whether the scanner, a process of its own, runs."""
        with suppress(psutil.Error):
            found = psutil.Process(self.process.pid).children(recursive=True)
            return any("scan/worker.py" in " ".join(each.cmdline()) for each in found)
        return False


@dataclass
class Portal:
    """What the stages need of the portal, its MLflow and its database."""

    server: Server
    field: Field
    key: str
    experiment: str
    database: psycopg.Connection[Any]
    scans: Scans
    models: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def request(self, method: str, path: str, body: bytes | None = None) -> Any:
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        request = Request(self.server.url + path, data=body, headers=headers, method=method)
        with OPENER.open(request, timeout=60) as response:
            return json.loads(response.read() or b"{}")

    def call(self, path: str, **content: Any) -> Any:
        return self.request("POST", f"/api/mlflow{API}/{path}", json.dumps(content).encode())

    def has(self, statement: str, *values: Any) -> bool:
        return self.database.execute(statement, values or None).fetchone() is not None

    def worker(self) -> psutil.Process | None:
        children = psutil.Process(self.field.children[self.server.url].process.pid).children()
        return children[0] if children else None

    def kill(self) -> None:
        if worker := self.worker():
            worker.kill()

    @contextmanager
    def stopped_mlflow(self) -> Iterator[None]:
        """MLflow takes connections, and answers nothing until the end of the block."""
        master = psutil.Process(self.field.children[self.server.mlflow_url].process.pid)
        processes = [master, *master.children(recursive=True)]
        for process in processes:
            process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for process in processes:
                process.send_signal(signal.SIGCONT)


def new_files(size: int = 1000) -> dict[str, bytes]:
    data = pickle.dumps([float(number) for number in range(size)])
    return {"MLmodel": b"flavors: {}\n", "evil.pkl": pickle.dumps(Evil()), "data.pkl": data}


def log_files(portal: Portal, files: dict[str, bytes]) -> str:
    """A run with these files below `model`; returns the folder's path in MLflow's store."""
    made = portal.call("runs/create", experiment_id=portal.experiment, start_time=1)
    folder = f"{portal.experiment}/{made['run']['info']['run_id']}/artifacts/model"
    for name, content in files.items():
        portal.request("PUT", f"/api/mlflow{ARTIFACTS}/{folder}/{name}", content)
    return folder


def register(portal: Portal, folder: str, files: dict[str, bytes]) -> str:
    """A new model with one version of these files. The call may be cut off."""
    name = f"m{len(portal.models)}"
    portal.models[name] = files
    portal.call("registered-models/create", name=name)
    with suppress(OSError, http.client.HTTPException):
        run_id = folder.split("/")[1]
        portal.call("model-versions/create", name=name, source=f"mlflow-artifacts:/{folder}", run_id=run_id)
    return name


def wait_for(condition: Callable[[], object], seconds: float = SECONDS) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.0005)
    return True


def at_upload(portal: Portal) -> tuple[str, bool]:
    """An overwriting upload is cut off by the kill: the file no longer is what was recorded, as far as is known."""
    files = new_files()
    folder = log_files(portal, files)
    to = urlsplit(portal.server.url)
    connection = http.client.HTTPConnection(str(to.hostname), to.port, timeout=60)
    connection.putrequest("PUT", f"/api/mlflow{ARTIFACTS}/{folder}/data.pkl")
    connection.putheader("Authorization", f"Bearer {portal.key}")
    connection.putheader("Content-Length", str(2**24))
    connection.endheaders(secrets.token_bytes(2**22))
    path = f"%{folder}/data.pkl"
    began = "select 1 from proxy_artifactevent where kind = 'pending' and path like %s"
    is_hit = wait_for(lambda: portal.has(began, path), 10)
    portal.kill()
    connection.close()
    wait_for(lambda: is_up(portal))
    return register(portal, folder, {**files, "data.pkl": b""}), is_hit


def at_registration(portal: Portal) -> tuple[str, bool]:
    """MLflow holds the call; the kill comes before its response. What the ledger states afterwards is what MLflow did;
    if it did nothing, the version is registered again."""
    files = new_files()
    folder = log_files(portal, files)
    name = f"m{len(portal.models)}"
    portal.call("registered-models/create", name=name)
    portal.models[name] = files
    asked = {"name": name, "source": f"mlflow-artifacts:/{folder}", "run_id": folder.split("/")[1]}

    def send() -> None:
        with suppress(OSError, http.client.HTTPException):
            portal.call("model-versions/create", **asked)

    with portal.stopped_mlflow():
        sender = threading.Thread(target=send)
        sender.start()
        is_hit = wait_for(lambda: portal.has(PENDING), 10)
        time.sleep(0.2)
        portal.kill()
        sender.join()
    assert wait_for(lambda: not portal.has(PENDING)), f"{name} stays pending"
    is_done = portal.has(f"{OF_MODEL} and outcome = 'done'", name)
    query = urlencode({"filter": f"name = '{name}'"})
    found = portal.request("GET", f"/api/mlflow{API}/model-versions/search?{query}")
    is_there = bool(found.get("model_versions"))
    assert is_done == is_there, f"{name}: the ledger states {is_done}, MLflow {is_there}"
    if not is_there:
        portal.call("model-versions/create", **asked)
    return name, is_hit


def at_manifest(portal: Portal) -> tuple[str, bool]:
    """The worker makes the manifest, which asks MLflow for the files."""
    return at_lock(portal, MANIFEST_LOCK, new_files(), portal.kill)


def at_signing(portal: Portal) -> tuple[str, bool]:
    """The manifest is written, signed and sealed, and not yet committed."""
    files = new_files() | {f"part{number}.json": b"[]" for number in range(60)}
    folder = log_files(portal, files)
    blocked = psycopg.connect(portal.server.environment["DATABASE_URL"])
    with blocked:  # what the transaction does last is to write the manifest and to seal its row of the ledger
        blocked.execute("lock table proxy_manifest in share row exclusive mode")
        name = register(portal, folder, files)
        waits = (
            "select 1 from pg_stat_activity where wait_event_type = 'Lock' and query like '%proxy_manifest%'"
        )
        is_hit = wait_for(lambda: portal.has(waits), 10)
        portal.kill()
        blocked.rollback()
    return name, is_hit


def at_scan(portal: Portal) -> tuple[str, bool]:
    """The process that scans reads a file."""
    return at_lock(portal, SCAN_LOCK, new_files(200_000), portal.scans.kill)


def at_scanner(portal: Portal) -> tuple[str, bool]:
    files = new_files(1_000_000)
    name = register(portal, log_files(portal, files), files)
    is_hit = wait_for(portal.scans.has_scanner, 20)
    portal.scans.kill()
    return name, is_hit


def at_lock(portal: Portal, lock: int, files: dict[str, bytes], kill: Callable[[], None]) -> tuple[str, bool]:
    name = register(portal, log_files(portal, files), files)
    is_hit = wait_for(lambda: portal.has(LOCKED, lock), 20)
    kill()
    return name, is_hit


def at_random(portal: Portal) -> tuple[str, bool]:
    files = new_files(50_000)
    name = register(portal, log_files(portal, files), files)
    time.sleep(random.uniform(0, 3))
    portal.kill()
    portal.scans.kill()
    return name, True


STAGES = {
    "upload": at_upload,
    "registration": at_registration,
    "manifest": at_manifest,
    "signing": at_signing,
    "reading for the scan": at_scan,
    "scanner": at_scanner,
    "random": at_random,
}


def is_up(portal: Portal) -> bool:
    try:
        return bool(portal.request("GET", "/health/live"))
    except (OSError, http.client.HTTPException):
        return False


def report_of(portal: Portal, name: str) -> dict[str, Any] | None:
    """What the API reports; None while it does not respond, or has no manifest."""
    query = urlencode({"name": name, "version": "1"})
    try:
        report: dict[str, Any] = portal.request("GET", f"/api/v1/manifests?{query}")
        if report["is_signed"]:
            report["signature"] = portal.request("GET", f"/api/v1/manifests/signature?{query}")
    except (OSError, http.client.HTTPException):
        return None
    return report


def check(portal: Portal, name: str, report: dict[str, Any]) -> None:
    """Raises AssertionError if the report claims more than is true. A file without content is one whose bytes nobody
    knows."""
    files = portal.models[name]
    truth = {path: hashlib.sha256(content).hexdigest() if content else "" for path, content in files.items()}
    assert {each["path"]: each["sha256"] for each in report["files"]} == truth, (name, report["files"])
    assert report["is_signed"] == all(files.values()), (name, "signed")
    if report["is_signed"]:
        payload = json.loads(base64.b64decode(report["signature"]["dsseEnvelope"]["payload"]))
        signed = {each["name"]: each["digest"] for each in payload["predicate"]["resources"]}
        assert signed == truth, (name, signed)
    if report["rating"]:
        assert report["rating"] == "dangerous", (name, report["rating"])
        rated = {each["path"]: each["rating"] for each in report["ratings"]}
        assert rated.keys() == files.keys(), (name, rated)
        assert rated["evil.pkl"] == "dangerous", (name, rated)


def finish(portal: Portal, name: str) -> float:
    """The seconds until everything about the version is done; checks each report on the way."""
    started = time.monotonic()
    while time.monotonic() - started < SECONDS:
        report = report_of(portal, name)
        if report:
            check(portal, name, report)
            if report["rating"]:
                return time.monotonic() - started
        time.sleep(0.05)
    raise AssertionError(f"{name} is not complete after {SECONDS:.0f} s: {report}")


class FieldWithScanner(Field):
    """The portal runs in an environment that has the scanner beside the project's packages."""

    def __init__(self, folder: Path, python: str) -> None:
        super().__init__(folder)
        self.python = python


def with_scanner() -> Environment:
    made = environment("kills", SCANNER)
    [site] = made.folder.glob("lib/python*/site-packages")
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    (site / "project.pth").write_text(f"{packages}\n")
    return made


def main() -> int:
    os.environ |= {
        "SIGNING_KEY": new_signing_key(),
        "RECONCILE_SECONDS": "1",
        "LOG_FORMAT": "text",
    }
    here = Environment(folder=Path(sys.prefix))
    with (
        tempfile.TemporaryDirectory() as folder,
        FieldWithScanner(Path(folder), with_scanner().python) as servers,
        servers.server("kills", here) as server,
        psycopg.connect(server.environment["DATABASE_URL"], autocommit=True) as database,
    ):
        secret = server.issue("alice", "kills")
        scans = Scans([servers.python, str(ROOT / "manage.py"), "alerts"], server.environment)
        portal = Portal(server, servers, secret, server.new_experiment("alice", "kills"), database, scans)
        portal.key = server.issue("alice", "work")
        scans.start()
        try:
            failed = run(portal)
        finally:
            scans.stop()
        done = subprocess.run(
            [sys.executable, "manage.py", "verify_ledger"], cwd=ROOT, env=server.environment, check=False
        )
        twice = database.execute(
            "select object_name from proxy_registration where outcome = 'pending'"
            " union all select object_name from proxy_manifest group by object_name having count(*) <> 1"
        ).fetchall()
        print(f"Pending, or with two manifests: {', '.join(name for (name,) in twice) or 'none'}")
        if failed:
            print(server.log.read_text()[-3000:])
    return int(failed or bool(done.returncode) or bool(twice))


def run(portal: Portal) -> bool:
    failed = False
    for stage, act in STAGES.items():
        hits, times = 0, []
        for _ in range(RANDOM if stage == "random" else KILLS):
            try:
                name, is_hit = act(portal)
                times.append(finish(portal, name))
                hits += is_hit
            except (AssertionError, HTTPError) as error:
                failed = True
                print(f"{stage}: {error}", file=sys.stderr)
        seconds = f"complete after {max(times):.1f} s at most" if times else "never complete"
        print(f"{stage:22} {hits} of {len(times)} kills hit the stage; {seconds}", flush=True)
        failed = failed or not hits
    return failed


if __name__ == "__main__":
    sys.exit(main())
