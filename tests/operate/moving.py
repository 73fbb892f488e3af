"""`make moving`: `manage.py organise` is killed with -9 at random points and run again; not in the suite.

A registry as `make run` had it before workspaces, with 50 models of five users, moves into three organisations. KILLS=…
is the number of kills, each on a copy of the same registry; SEED=… makes the same ones again. After each, the next run
must finish; every artifact must read back through the portal, with its owner's key, with the same SHA-256; and the
ledger must verify. With files on disk, and with a third of the kills in an S3 stand-in (moto); STORES=disk leaves that
out, and STORES=s3 the disk.
"""

import hashlib
import json
import os
import random
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request

import psycopg

from portal.one_machine.mlflow import MLFLOW_ENVIRONMENT, is_mlflow, mlflow_backend
from portal.one_machine.ports import free_port
from portal.one_machine.postgres import create_database
from portal.one_machine.supervisor import minimal_environment, start
from tests.field.environments import environment
from tests.field.servers import OPENER, ROOT, Field, Server
from tests.field.stores import moto

KILLS = int(os.environ.get("KILLS", "10"))
SEED = int(os.environ.get("SEED", "16"))
STORES = os.environ.get("STORES", "disk s3").split()
USERS = {"alice": "north", "bob": "north", "carol": "south", "dora": "south", "eve": "shared"}
MODELS = 10  # of each user
BOTO = ("boto3==1.42.1", "botocore==1.42.1", "s3transfer==0.16.0", "jmespath", "python-dateutil", "six")


@dataclass
class Made:
    """What is in the registry: by user the key, the digests by artifact path, and the names of models."""

    keys: dict[str, str] = field(default_factory=dict)
    files: dict[str, dict[str, str]] = field(default_factory=dict)
    models: dict[str, list[str]] = field(default_factory=dict)
    dataset: str = ""


@dataclass(frozen=True)
class Place:
    """Databases and artifacts of one copy."""

    portal: str
    mlflow: str
    artifacts: str
    store: dict[str, str]  # variables for S3


class Moving(Field):
    def run_mlflow(self, place: Place, *, has_workspaces: bool) -> Any:
        port, folder = free_port(), self.folder / secrets.token_hex(4)
        folder.mkdir()
        backend = {"MLFLOW_BACKEND_STORE_URI": mlflow_backend(self.postgres.url(place.mlflow))}
        url = f"http://127.0.0.1:{port}"
        command = [
            *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)),
            *("--workers", "1", "--serve-artifacts", "--artifacts-destination", place.artifacts),
            "--enable-workspaces" if has_workspaces else "--disable-workspaces",
        ]
        settings = minimal_environment() | MLFLOW_ENVIRONMENT | {"HOME": str(folder)} | backend | place.store

        def begin() -> Any:
            log = folder / "mlflow.log"
            directory = str(folder)
            return start(
                "MLflow", command, log=log, watchdog=self.watchdog, environment=settings, directory=directory
            )

        return url, self.running(url, begin, lambda: is_mlflow(url, seconds=2))

    @contextmanager
    def both(self, place: Place, isolation: str, *, starts_portal: bool = True) -> Iterator[Server]:
        """MLflow and the portal on this copy."""
        url, mlflow = self.run_mlflow(place, has_workspaces=isolation == "required")
        folder, port = self.folder / f"portal-{secrets.token_hex(4)}", free_port()
        folder.mkdir()
        variables = os.environ | place.store
        variables |= {
            "DATABASE_URL": self.postgres.url(place.portal),
            "MLFLOW_URL": url,
            "ISOLATION": isolation,
            "SECRET_KEY": "moving" * 10,
            "KEY_PEPPERS": "moving" * 6,
            "DATA_DIR": str(folder),
            "PORT": str(port),
            "PUBLIC_URL": f"http://127.0.0.1:{port}",
            "WORKERS": "1",
            "NO_PROXY": "127.0.0.1,localhost",
        }
        server = Server(
            url=f"http://127.0.0.1:{port}", mlflow_url=url, environment=variables, log=folder / "portal.log"
        )
        with mlflow:
            server.manage("migrate", "--verbosity", "0")
            with self.portal(server) if starts_portal else ExitStack():
                yield server

    def new_database(self, template: str = "template1") -> str:
        name = f"moving_{secrets.token_hex(4)}"
        with psycopg.connect(self.postgres.url("postgres"), autocommit=True) as connection:
            if template == "template1":
                create_database(connection, name)
            else:
                connection.execute(f'create database "{name}" template "{template}"')
        return name


def call(server: Server, key: str, method: str, path: str, body: Any = None) -> Any:
    content = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    request = Request(f"{server.tracking_uri}/api/{path}", data=content, headers=headers, method=method)
    with OPENER.open(request, timeout=120) as response:
        return response.read()


def post(server: Server, key: str, name: str, body: Any, version: str = "2.0") -> Any:
    return json.loads(call(server, key, "POST", f"{version}/mlflow/{name}", body) or b"{}")


def fill(server: Server) -> Made:
    """50 models of five users; an experiment with runs of two organisations; a dataset of two experiments."""
    made, choose = Made(), random.Random(SEED)
    for user in USERS:
        made.keys[user] = server.issue(user, "work", "--preset", "full")
    ours = post(server, made.keys["alice"], "experiments/create", {"name": "of everybody"})["experiment_id"]
    tag = {"experiment_id": ours, "key": "hokusai.shared", "value": "true"}
    post(server, made.keys["alice"], "experiments/set-experiment-tag", tag)
    for user, key in made.keys.items():
        names = [f"{user} {number}" for number in range(3)]
        ids = [post(server, key, "experiments/create", {"name": name})["experiment_id"] for name in names]
        made.files[user], made.models[user] = {}, []
        for number in range(MODELS):
            experiment = ids[number % len(ids)]
            run, root = new_run(server, key, experiment, made.files[user], choose)
            model = f"{user}-model-{number}"
            post(server, key, "registered-models/create", {"name": model})
            source = f"mlflow-artifacts:/{root}"
            version = {"name": model, "source": source, "run_id": run}
            post(server, key, "model-versions/create", version)
            made.models[user].append(model)
        if user in ("alice", "carol"):  # of two organisations, in one experiment, which cannot be split
            new_run(server, key, ours, made.files[user], choose)
        if user == "alice":
            dataset = {"name": "questions", "experiment_ids": ids[:2]}
            made.dataset = post(server, key, "datasets/create", dataset, "3.0")["dataset"]["dataset_id"]
    return made


def new_run(
    server: Server, key: str, experiment: str, files: dict[str, str], choose: random.Random
) -> tuple[str, str]:
    run = post(server, key, "runs/create", {"experiment_id": experiment})["run"]["info"]["run_id"]
    root = f"{experiment}/{run}/artifacts"
    for name in ("model.bin", "deep/er/notes.txt", "empty"):
        content = choose.randbytes(0 if name == "empty" else choose.randrange(200_000))
        call(server, key, "PUT", f"2.0/mlflow-artifacts/artifacts/{root}/{name}", content)
        files[f"{root}/{name}"] = hashlib.sha256(content).hexdigest()
    return run, root


def check(server: Server, made: Made) -> list[str]:
    """What is wrong after the move."""
    wrong = []
    for user, files in made.files.items():
        key, other = made.keys[user], made.keys["carol" if user == "alice" else "alice"]
        for path, sha256 in files.items():
            try:
                body = call(server, key, "GET", f"2.0/mlflow-artifacts/artifacts/{path}")
            except HTTPError as error:
                # The experiment with runs of two organisations is in `shared`, where alice has no key any more.
                wrong += [] if is_of_everybody(made, user, path) else [f"{user} {path}: {error.code}"]
                continue
            if hashlib.sha256(body).hexdigest() != sha256:
                wrong.append(f"{user} {path}: other bytes")
        models = json.loads(call(server, key, "GET", "2.0/mlflow/registered-models/search?max_results=1000"))
        names = {each["name"] for each in models.get("registered_models", [])}
        slug = USERS[user]
        expected = {name for each, mine in made.models.items() if USERS[each] == slug for name in mine}
        if names != expected:
            wrong.append(f"{user} lists {len(names)} models, not {len(expected)}")
        if USERS[user] != USERS["carol" if user == "alice" else "alice"]:
            path = next(iter(files))
            try:
                call(server, other, "GET", f"2.0/mlflow-artifacts/artifacts/{path}")
                wrong.append(f"another organisation reads {path}")
            except HTTPError:
                pass
    call(server, made.keys["bob"], "GET", f"3.0/mlflow/datasets/{made.dataset}")
    server.manage("verify_ledger")
    return wrong


def is_of_everybody(made: Made, user: str, path: str) -> bool:
    """Whether the file is in the experiment with runs of two organisations: the only one with files of both."""
    others = {each.split("/")[0] for other in made.files if other != user for each in made.files[other]}
    return path.split("/")[0] in others


def organise(server: Server, table: Path, place: Place) -> subprocess.Popen[str]:
    backend = mlflow_backend(server.environment["MLFLOW_DATABASE"])
    command = [sys.executable, "manage.py", "organise", "--table", str(table)]
    command += ["--artifacts", place.artifacts, "--backend-store-uri", backend]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=server.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def attempt(moving: Moving, place: Place, made: Made, table: Path, kill_after: float | None) -> float:
    """Move the registry, with a kill after so many seconds. Returns how long the uninterrupted run took. Raises
    AssertionError."""
    with moving.both(place, "required", starts_portal=False) as server:
        server.environment["MLFLOW_DATABASE"] = moving.postgres.url(place.mlflow)
        if kill_after is not None:
            killed = organise(server, table, place)
            time.sleep(kill_after)
            killed.kill()
            said = killed.communicate()[0].strip().splitlines()
            print(f"  killed after {kill_after:.2f} s; it had printed: {said[-1] if said else 'nothing'}")
        begun = time.monotonic()
        done = organise(server, table, place)
        output = done.communicate()[0]
        assert done.returncode == 0, output
        seconds = time.monotonic() - begun
        with moving.portal(server):
            wrong = check(server, made)
        assert not wrong, "\n".join(wrong)
    return seconds


def copy_of(moving: Moving, place: Place, number: int) -> Place:
    """The same registry again."""
    portal, mlflow = moving.new_database(place.portal), moving.new_database(place.mlflow)
    if place.store:
        bucket = f"copy-{number}"
        client = s3_client(place.store)
        client.create_bucket(Bucket=bucket)
        origin = place.artifacts.removeprefix("s3://")
        for found in client.get_paginator("list_objects_v2").paginate(Bucket=origin):
            for each in found.get("Contents", []):
                client.copy({"Bucket": origin, "Key": each["Key"]}, bucket, each["Key"])
        return Place(portal, mlflow, f"s3://{bucket}", place.store)
    artifacts = f"{place.artifacts}-{number}"
    shutil.copytree(place.artifacts, artifacts)
    return Place(portal, mlflow, artifacts, {})


def s3_client(store: dict[str, str]) -> Any:
    sys.path.append(store["PYTHONPATH"])
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=store["MLFLOW_S3_ENDPOINT_URL"],
        aws_access_key_id="any",
        aws_secret_access_key="any",
        region_name="us-east-1",
    )


@contextmanager
def stand_in(moving: Moving) -> Iterator[dict[str, str]]:
    """moto's server, and the variables with which programs use it."""
    boto = environment("boto", ("install", "--no-deps", *BOTO))
    [packages] = (boto.folder / "lib").glob("python*/site-packages")
    with moto(moving, moving.folder, "original") as variables:
        yield variables | {"PYTHONPATH": str(packages)}


def kills(moving: Moving, artifacts: str, store: dict[str, str], count: int, choose: random.Random) -> None:
    original = Place(moving.new_database(), moving.new_database(), artifacts, store)
    with moving.both(original, "off") as server:
        made = fill(server)
        for slug in ("north", "south"):
            server.manage("organisation", "create", slug)
    table = moving.folder / "table.csv"
    rows = [f"{user},{slug}" for user, slug in USERS.items() if slug != "shared"]
    table.write_text("\n".join(["user,organisation", *rows, ""]))
    whole = attempt(moving, copy_of(moving, original, 0), made, table, None)
    files = sum(map(len, made.files.values()))
    print(f"Without a kill: {whole:.1f} s, {files} files and {sum(map(len, made.models.values()))} models")
    for number in range(1, count + 1):
        after = choose.uniform(0.5, whole)
        attempt(moving, copy_of(moving, original, number), made, table, after)
        print(f"  {number} of {count}: it continued, every file has its SHA-256, and the ledger verifies")


def main() -> int:
    choose = random.Random(SEED)
    with tempfile.TemporaryDirectory() as folder, Moving(Path(folder)) as moving:
        (Path(folder) / "artifacts").mkdir()
        if "disk" in STORES:
            print(f"On disk, {KILLS} kills, seed {SEED}")
            kills(moving, str(Path(folder) / "artifacts"), {}, KILLS, choose)
        if "s3" in STORES:
            with stand_in(moving) as store:
                print(f"In S3 (moto), {KILLS // 3} kills")
                kills(moving, "s3://original", store, KILLS // 3, choose)
    return 0


if __name__ == "__main__":
    sys.exit(main())
