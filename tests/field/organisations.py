"""Two organisations and several MLflow clients on a real MLflow with workspaces: `make organisations`.

1. Each client of CLIENTS loads a version that another organisation has published, by MLFLOW_REGISTRY_URI. Before, after
   and beside that, nothing of the publisher can be read; a withdrawal counts within a second.
2. The medians of CALLS calls with another organisation's id and with a made-up one differ by at most 5 %, and their
   status and length not at all.

SERVER is the server's release. The exit status is 1 if something differs.
"""

import http.client
import json
import os
import random
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.field.compat import installed, selected
from tests.field.environments import Environment
from tests.field.servers import Field, Server
from tests.field.store_paths import ARTIFACTS, STORES, Side, call, made, make_side, mlflow

CLIENTS = ("2.22.5", "3.1.4", "3.17.2", "3.18.0")
SERVER = os.environ.get("SERVER", "3.17.2")
CALLS = int(os.environ.get("CALLS", "500"))
WITHIN = 0.05
ROUNDS = 3  # a difference counts if each round has it in the same direction: other programs slow single rounds down
PROGRAM = str(Path(__file__).parent / "programs" / "published_model.py")
PROGRAM_SECONDS = 300.0
V2, V3 = "/api/2.0/mlflow", "/api/3.0/mlflow"


class FieldWithWorkspaces(Field):
    isolation = "required"

    @contextmanager
    def mlflow(self, folder: Path, installed: Environment) -> Iterator[str]:
        with mlflow(self, folder, installed, STORES[0]) as url:
            yield url


def run(
    client: Environment, server: Server, side: Side, *arguments: str, **settings: str
) -> dict[str, object]:
    """What the program prints. Raises RuntimeError."""
    settings |= {"MLFLOW_TRACKING_URI": server.tracking_uri, "MLFLOW_TRACKING_TOKEN": side.key}
    settings |= {"HOME": tempfile.mkdtemp(dir=server.log.parent), "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
    done = client.run(PROGRAM, *arguments, timeout=PROGRAM_SECONDS, **settings)
    if done.returncode:
        raise RuntimeError(done.stdout.strip()[-600:])
    found: dict[str, object] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def try_client(client: Environment, release: str, server: Server, publisher: Side, reader: Side) -> list[str]:
    """What went wrong for this client; [] if nothing did."""
    name, wrong = f"model-{release}", []
    home = {"MLFLOW_REGISTRY_URI": f"{server.tracking_uri}/w/{publisher.slug}"}
    registered = run(client, server, publisher, "register", name)
    options = (name, "--organisation", publisher.slug, "--model-version", "1", "--to", reader.slug)

    def is_loaded() -> bool:
        try:
            loaded = run(client, server, reader, "load", name, "1", **home)
        except RuntimeError as error:
            print(f"  {release}: {str(error).splitlines()[-1][:160]}")
            return False
        return loaded == {"predicted": [2, 4], "run_id": registered["run_id"]}

    if is_loaded():
        wrong.append("it is loaded before it is published")
    server.manage("publish_model", *options)
    if not is_loaded():
        wrong.append("it is not loaded while it is published")
    for target in unpublished(publisher, registered):
        for mount in (f"/w/{publisher.slug}", ""):
            status, body = call(server, reader, "GET", f"{mount}{target}")
            if status == 200 or b"of the publisher" in body or b"not published" in body:
                wrong.append(f"GET {mount}{target} has status {status}")
    path = f"/w/{publisher.slug}{V2}/model-versions/get?name={name}&version=1"
    assert call(server, reader, "GET", path)[0] == 200
    server.manage("publish_model", *options, "--withdraw")
    started = time.monotonic()
    while call(server, reader, "GET", path)[0] == 200 and time.monotonic() - started < 10:
        time.sleep(0.01)
    print(f"  {release}: refused {time.monotonic() - started:.2f} s after the command that withdraws it")
    if time.monotonic() - started > 1:
        wrong.append("a withdrawal takes more than a second")
    if is_loaded():
        wrong.append("it is loaded after its withdrawal")
    return wrong


def unpublished(publisher: Side, registered: dict[str, object]) -> list[str]:
    folder = f"{registered['experiment_id']}/{registered['run_id']}/artifacts"
    return [
        f"{V2}/runs/get?run_id={registered['run_id']}",
        f"{V2}/experiments/get?experiment_id={registered['experiment_id']}",
        f"{V2}/registered-models/get?name=another",
        f"{ARTIFACTS}/workspaces/{publisher.slug}/{folder}/notes.txt",
        f"{ARTIFACTS}?path=workspaces/{publisher.slug}/{folder}",
        f"{ARTIFACTS}/workspaces/{publisher.slug}/{publisher.folder}/x.txt",
    ]


@dataclass(frozen=True)
class Pair:
    """The same call with another organisation's id and with one that nobody has."""

    method: str
    target: str  # with {}
    other: str
    madeup: str
    body: str = ""  # with ID


def pairs(server: Server, ours: Side, theirs: Side) -> list[Pair]:
    model = f"model-{secrets.token_hex(4)}"
    made(server, theirs, "registered-models/create", {"name": model})
    run, slug = secrets.token_hex(16), "x" * len(theirs.slug)
    experiment, unknown = theirs.experiment, "9" * len(theirs.experiment)
    inputs = json.dumps({"run_id": "ID", "models": []})
    tag = json.dumps({"run_id": "ID", "key": "k", "value": "v"})
    return [
        Pair("GET", f"{V2}/runs/get?run_id={{}}", theirs.run, run),
        Pair("GET", f"{V2}/experiments/get?experiment_id={{}}", experiment, unknown),
        Pair("GET", f"{V2}/registered-models/get?name={{}}", model, model[::-1]),
        Pair("POST", f"{V2}/runs/search", experiment, unknown, json.dumps({"experiment_ids": ["ID"]})),
        Pair("POST", f"{V2}/runs/set-tag", theirs.run, run, tag),
        Pair("POST", f"{V2}/runs/log-inputs", theirs.run, run, inputs),
        Pair("GET", f"{ARTIFACTS}/{{}}/x.txt", theirs.folder, f"{experiment}/{run}/artifacts"),
        Pair("GET", f"{ARTIFACTS}/workspaces/{{}}/{theirs.folder}/x.txt", theirs.slug, slug),
        Pair("GET", f"/w/{{}}{V2}/runs/get?run_id={ours.run}", theirs.slug, slug),
    ]


def measure(
    server: Server, side: Side, pair: Pair
) -> tuple[dict[str, list[float]], dict[str, set[tuple[int, int]]]]:
    """The times of CALLS calls with each id, next to each other over one connection, and what they got."""
    to = urlsplit(server.url)
    connection = http.client.HTTPConnection(to.hostname or "", to.port, timeout=60)
    headers = {"Authorization": f"Bearer {side.key}", "Content-Type": "application/json"}
    times: dict[str, list[float]] = {pair.other: [], pair.madeup: []}
    got: dict[str, set[tuple[int, int]]] = {pair.other: set(), pair.madeup: set()}
    choose = random.Random(CALLS)
    for name in (each for _ in range(CALLS) for each in choose.sample([pair.other, pair.madeup], 2)):
        started = time.perf_counter()
        target = f"/api/mlflow{pair.target.format(name)}"
        connection.request(pair.method, target, pair.body.replace("ID", name) or None, headers)
        response = connection.getresponse()
        length = len(response.read())
        times[name].append(time.perf_counter() - started)
        got[name].add((response.status, length))
    connection.close()
    return times, got


def compare_times(server: Server, ours: Side, theirs: Side) -> list[str]:
    wrong = []
    print(f"\nmedians of {CALLS} calls, in ms: another organisation's id, a made-up one, their ratio")
    for pair in pairs(server, ours, theirs):
        ratios = list[float]()
        while len(ratios) < ROUNDS and (not ratios or abs(ratios[-1] - 1) > WITHIN):
            times, got = measure(server, ours, pair)
            other, madeup = (statistics.median(times[name]) * 1000 for name in (pair.other, pair.madeup))
            ratios.append(other / madeup)
            seen = sorted(got[pair.madeup])
            print(
                f"{other:8.2f} {madeup:8.2f} {ratios[-1]:6.3f}  {pair.method} {pair.target}  {seen}",
                flush=True,
            )
            if got[pair.other] != got[pair.madeup]:
                wrong.append(f"{pair.method} {pair.target}: {got}")
        if min(ratios) > 1 + WITHIN or max(ratios) < 1 - WITHIN:
            wrong.append(f"{pair.method} {pair.target}: the medians differ by more than 5 %")
    return wrong


def main() -> int:
    missing: dict[str, str] = {}
    clients = selected("CLIENTS", CLIENTS)
    environments = installed((SERVER, *(each for each in clients if each != SERVER)), missing)
    wrong = [f"{name}: {text}" for name, text in missing.items()]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        field = stack.enter_context(FieldWithWorkspaces(folder))
        server = stack.enter_context(field.server(SERVER, environments[SERVER]))
        publisher, reader = make_side(server, "publisher"), make_side(server, "reader")
        for release in (each for each in clients if each in environments):
            found = try_client(environments[release], release, server, publisher, reader)
            print(f"client {release}, server {SERVER}: {'; '.join(found) or 'as it should be'}", flush=True)
            wrong += [f"client {release}: {text}" for text in found]
        wrong += compare_times(server, reader, publisher)
    print(*wrong, sep="\n")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
