"""10,000 generated artifact paths through the portal to a real MLflow: `make store-paths`.

Two organisations have a run with a file each, which contains the organisation's marker. One of them reads, lists and
writes paths that are made from both organisations' folders, with prefixes, dots, cases and encodings. None may reach
the other's file, with files on disk and in an S3 stand-in (moto). Each path that the portal refuses is also sent to
MLflow itself, in the caller's own workspace: the report counts those that MLflow would have served to their owner.
PATHS=… is the number of paths, SEED=… makes the same ones again. The exit status is 1 if the other's marker came back,
or its file changed.
"""

import http.client
import json
import os
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from portal.one_machine.mlflow import MLFLOW_ENVIRONMENT, is_mlflow
from portal.one_machine.ports import free_port
from portal.one_machine.supervisor import minimal_environment, start, wait_until_ready
from tests.field.environments import Environment, environment, variables
from tests.field.servers import START_SECONDS, Field, Server

PATHS = int(os.environ.get("PATHS", "10000"))
SEED = int(os.environ.get("SEED", "16"))
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
INSTALLED = ("install", "mlflow==3.17.2", "boto3==1.42.1", "moto[server]==5.1.18")
STORES = ("disk", "S3 (moto 5.1.18)")
S3 = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any", "AWS_DEFAULT_REGION": "us-east-1"}


@dataclass(frozen=True)
class Side:
    slug: str
    key: str
    experiment: str
    run: str
    marker: str

    @property
    def folder(self) -> str:
        return f"{self.experiment}/{self.run}/artifacts"


def ask(url: str, method: str, target: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    """One request whose target goes out as it is written."""
    to = urlsplit(url)
    connection = http.client.HTTPConnection(to.hostname or "", to.port, timeout=60)
    connection._validate_path = lambda _: None  # type: ignore[attr-defined]  # any target
    try:
        connection.request(method, target, body=body, headers=headers)
        response = connection.getresponse()
        return response.status, response.read()
    except (http.client.HTTPException, ValueError, OSError):
        return 0, b""
    finally:
        connection.close()


def call(
    server: Server, side: Side, method: str, target: str, body: bytes | None = None
) -> tuple[int, bytes]:
    headers = {"Authorization": f"Bearer {side.key}", "Content-Type": "application/json"}
    return ask(server.url, method, f"/api/mlflow{target}", body, **headers)


def make_side(server: Server, slug: str) -> Side:
    """An organisation with a file."""
    server.manage("organisation", "create", slug)
    server.issue(slug, "first")  # creates the user
    server.manage("organisation", "add-member", slug, slug, "--role", "owner")
    key = server.issue(slug, "second", "--preset", "full", "--organisation", slug)
    side = Side(slug, key, "", "", f"marker-of-{slug}")
    experiment = made(server, side, "experiments/create", {"name": slug})["experiment_id"]
    run = made(server, side, "runs/create", {"experiment_id": experiment})["run"]["info"]["run_id"]
    side = Side(slug, key, experiment, run, side.marker)
    for path in (f"{side.folder}/x.txt", f"{side.folder}/workspaces/x.txt"):
        status, body = call(server, side, "PUT", f"{ARTIFACTS}/{path}", side.marker.encode())
        assert status == 200, body
    return side


def made(
    server: Server, side: Side, name: str, content: dict[str, str]
) -> dict[str, dict[str, dict[str, str]]]:
    status, body = call(server, side, "POST", f"/api/2.0/mlflow/{name}", json.dumps(content).encode())
    assert status == 200, body
    answer: dict[str, dict[str, dict[str, str]]] = json.loads(body)
    return answer


def generate(choose: random.Random, ours: Side, theirs: Side) -> str:
    """A path as it is written into a request, most often of a file that exists."""
    target = choose.choice([ours, theirs, theirs])
    prefixes = [
        [],
        ["workspaces", target.slug],
        ["workspaces", ours.slug],
        ["workspaces", ours.slug, "..", theirs.slug],
    ]
    prefixes += [["workspaces"], ["Workspaces", theirs.slug], ["x", "..", "workspaces", theirs.slug]]
    segments = [*choose.choice(prefixes), *target.folder.split("/"), "x.txt"]
    for _ in range(choose.choice([0, 0, 0, 1, 2])):
        at = choose.randrange(len(segments) + 1)
        segments.insert(
            at, choose.choice([".", "..", "", "workspaces", ours.slug, theirs.slug, "default", "x"])
        )
    written = [write(choose, segment) for segment in segments[choose.choice([0, 0, 0, 1]) :]]
    path = choose.choice([*["/"] * 30, "%2F", "%2f", "%252F", "\\", "%5C", "//"]).join(written)
    return choose.choice([*[""] * 20, "/", "%2F", "./", "../", "%2e%2e/"]) + path


def write(choose: random.Random, segment: str) -> str:
    match choose.randrange(40):
        case 0:
            return segment.upper()
        case 1:
            return "".join(f"%{byte:02x}" for byte in segment.encode())
        case 2:
            return quote("".join(f"%{byte:02X}" for byte in segment.encode()))
        case 3 if segment:
            return f"%{ord(segment[0]):02X}{segment[1:]}"
        case 4:
            return segment + choose.choice(
                [";", "%3B", "%20", ".", "%00", "%0a", "#", "%23", "?", "%3F", "%C5%BF"]
            )
        case _:
            return segment


def examine(server: Server, ours: Side, theirs: Side) -> tuple[Counter[str], list[str]]:
    """The counts of a run over PATHS paths, and the paths that reached the other's file."""
    choose, counts, reached = random.Random(SEED), Counter[str](), []
    for number in range(PATHS):
        path = generate(choose, ours, theirs)
        method, target = "GET", f"{ARTIFACTS}/{path}"
        if number % 5 == 1:
            target = f"{ARTIFACTS}?path={path.removesuffix('/x.txt')}"
        elif number % 5 == 2:
            method = choose.choice(["PUT", "DELETE"])
        body = b"overwritten" if method == "PUT" else None
        status, answer = call(server, ours, method, target, body)
        counts[f"{method} {status}"] += 1
        if theirs.marker.encode() in answer:
            reached.append(f"{method} {target}")
        if method == "GET" and status in (400, 403):
            plain = ask(server.mlflow_url, "GET", target, **{"X-MLFLOW-WORKSPACE": ours.slug})
            if plain[0] == 200 and ours.marker.encode() in plain[1]:
                counts[f"refused, although MLflow serves it to its owner: {reason_of(answer)}"] += 1
    return counts, reached


def reason_of(answer: bytes) -> str:
    try:
        return str(json.loads(answer)["message"])[:60]
    except (ValueError, KeyError):
        return "?"


@contextmanager
def store(
    field: Field, folder: Path, installed: Environment, name: str
) -> Iterator[tuple[str, dict[str, str]]]:
    """The destination of artifacts, and the variables that MLflow needs for it."""
    if name == STORES[0]:
        yield str(folder / "artifacts"), {}
        return
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    child = start(
        "moto",
        [str(installed.folder / "bin" / "moto_server"), "--host", "127.0.0.1", "--port", str(port)],
        log=folder / "moto.log",
        watchdog=field.watchdog,
        environment=minimal_environment(),
        directory=str(folder),
    )
    try:
        wait_until_ready(child, lambda: ask(url, "PUT", "/store")[0] == 200, seconds=60)
        yield "s3://store", S3 | {"MLFLOW_S3_ENDPOINT_URL": url}
    finally:
        child.stop()


@contextmanager
def mlflow(field: Field, folder: Path, installed: Environment, name: str) -> Iterator[str]:
    """An MLflow with workspaces and this store."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with store(field, folder, installed, name) as (destination, settings):
        own = {"HOME": str(folder), "PATH": variables(installed.folder)["PATH"], **settings}
        child = start(
            "MLflow",
            [
                *(installed.python, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)),
                *(
                    "--workers",
                    "1",
                    "--backend-store-uri",
                    f"sqlite:///{folder}/mlflow.db",
                    "--enable-workspaces",
                ),
                *("--serve-artifacts", "--artifacts-destination", destination),
            ],
            log=folder / "mlflow.log",
            watchdog=field.watchdog,
            environment=minimal_environment() | MLFLOW_ENVIRONMENT | own,
            directory=str(folder),
        )
        try:
            wait_until_ready(child, lambda: is_mlflow(url, seconds=2), seconds=START_SECONDS)
            yield url
        finally:
            child.stop()


class FieldWithStore(Field):
    """Field, with the MLflow of a store."""

    isolation = "required"
    store_name = STORES[0]

    @contextmanager
    def mlflow(self, folder: Path, installed: Environment) -> Iterator[str]:
        with mlflow(self, folder, installed, self.store_name) as url:
            yield url


def main() -> int:
    installed = environment("store-paths", INSTALLED)
    failed = False
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        field = stack.enter_context(FieldWithStore(folder))
        for number, name in enumerate(STORES):
            field.store_name = name
            with field.server(f"server-{number}", installed) as server:
                ours, theirs = make_side(server, "ours"), make_side(server, "theirs")
                counts, reached = examine(server, ours, theirs)
                status, body = call(server, theirs, "GET", f"{ARTIFACTS}/{theirs.folder}/x.txt")
                is_kept = (status, body) == (200, theirs.marker.encode())
            print(f"\n{name}: {PATHS} paths, seed {SEED}; the other's file was reached {len(reached)} times")
            print(f"the other's file is {'as it was' if is_kept else f'CHANGED: {status} {body[:80]!r}'}")
            for what, count in counts.most_common():
                print(f"{count:7} {what}")
            print(*reached[:20], sep="\n")
            failed = failed or bool(reached) or not is_kept
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
