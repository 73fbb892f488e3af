"""Two organisations on MLflow servers with workspaces: `make organisations`.

walls: the suite's tests of the walls between organisations, with each release of SERVERS, and with files on disk and
in an S3 stand-in (STORES).
clients: each client of CLIENTS loads a version that another organisation has published, by MLFLOW_REGISTRY_URI. Before,
after and beside that, nothing of the publisher can be read; a withdrawal counts within a second.
flag: MLflow restarts without --enable-workspaces while the portal runs, with an empty database, because it does not
start without the flag where workspaces have experiments. The portal reads nothing there, says so within a minute, and
serves again after a restart with the flag.
times: the medians of CALLS calls with another organisation's id and with a made-up one differ by at most 5 %, in every
route that takes an id.

PARTS=… selects some. The exit status is 1 if something differs.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from tests.field.compat import selected
from tests.field.environments import Environment, InstallError, mlflow
from tests.field.servers import ROOT, Server
from tests.field.sides import ARTIFACTS, Side, call, make_side
from tests.field.stores import DISK, SERVERS, STORES, FieldWithStore, mlflow_for

PARTS = selected("PARTS", ("walls", "clients", "flag", "times"))
CLIENTS = selected("CLIENTS", ("2.22.5", "3.1.4", "3.17.2", "3.18.0"))
WALLS = tuple(f"tests/end_to_end/{name}.py" for name in ("test_walls", "test_walls_on_pages", "matrix"))
TIMES = ("tests/end_to_end/id_times.py",)
PYTEST = (sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", "--timeout", "7200")
PROGRAM = str(Path(__file__).parent / "programs" / "published_model.py")
PROGRAM_SECONDS = 300.0
V2 = "/api/2.0/mlflow"


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


def try_clients(server: Server, clients: dict[str, Environment]) -> list[str]:
    publisher, reader = make_side(server, "publisher"), make_side(server, "reader")
    wrong = []
    for release, client in clients.items():
        found = try_client(client, release, server, publisher, reader)
        print(f"  client {release}: {'; '.join(found) or 'as it should be'}", flush=True)
        wrong += [f"client {release}: {text}" for text in found]
    return wrong


def lose_flag(field: FieldWithStore, server: Server) -> list[str]:
    """What the portal does while MLflow runs without workspaces; [] if it is as it should be."""
    side = make_side(server, "waiting")
    target = f"{V2}/runs/get?run_id={side.run}"

    def seconds_until(status: int) -> float:
        begun = time.monotonic()
        while (found := call(server, side, "GET", target))[0] != status and time.monotonic() - begun < 90:
            if found[0] == 200 and status != 200:
                wrong.append("a server without workspaces was read")
            time.sleep(0.2)
        return time.monotonic() - begun

    wrong = [] if call(server, side, "GET", target)[0] == 200 else ["it was not served before"]
    other = f"sqlite:///{server.log.parent}/other.db"
    field.options = ("--disable-workspaces", "--backend-store-uri", other)
    try:
        field.restart(server.mlflow_url)
        lost = seconds_until(503)
        message = call(server, side, "GET", target)[1]
    finally:
        field.options = type(field).options
    field.restart(server.mlflow_url)
    back = seconds_until(200)
    print(f"  without the flag: 503 after {lost:.1f} s; with it again: served after {back:.1f} s", flush=True)
    if b"--enable-workspaces" not in message:
        wrong.append("the message does not name the flag")
    return wrong + ["it took more than a minute"] * (max(lost, back) > 60)


def run_tests(mlflow_url: str, *files: str) -> list[str]:
    """Run these tests of the suite against an MLflow."""
    environment = os.environ | {"FIELD_MLFLOW": mlflow_url}
    status = subprocess.run([*PYTEST, *files], cwd=ROOT, env=environment, check=False).returncode
    return [f"pytest ended with {status}"] if status else []


def examine(field: FieldWithStore, release: str, clients: dict[str, Environment]) -> list[str]:
    wrong, installed = [], mlflow_for(release)
    for field.place in STORES if "walls" in PARTS else ():
        print(f"\nMLflow {release}, files in {field.place}: walls", flush=True)
        folder = field.folder / f"walls-{release}-{field.place}"
        folder.mkdir()
        with field.mlflow(folder, installed) as url:
            wrong += [f"walls, {release}, {field.place}: {text}" for text in run_tests(url, *WALLS)]
    field.place = DISK
    if "times" in PARTS:
        print(f"\nMLflow {release}: times", flush=True)
        folder = field.folder / f"times-{release}"
        folder.mkdir()
        with field.mlflow(folder, installed) as url:
            wrong += [f"times, {release}: {text}" for text in run_tests(url, *TIMES)]
    if {"clients", "flag"} & {*PARTS}:
        with field.server(f"server-{release}", installed) as server:
            print(f"\nMLflow {release}: clients, and the flag", flush=True)
            found = try_clients(server, clients)
            found += lose_flag(field, server) if "flag" in PARTS else []
            wrong += [f"server {release}, {text}" for text in found]
    return wrong


def main() -> int:
    wrong, clients = list[str](), dict[str, Environment]()
    for release in CLIENTS if "clients" in PARTS else ():
        try:
            clients[release] = mlflow_for(release) if release in SERVERS else mlflow(release)
        except InstallError as error:
            wrong.append(f"client {release}: {error}")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        field = stack.enter_context(FieldWithStore(folder))
        for release in SERVERS:
            wrong += examine(field, release, clients)
    print(*(wrong or ["\nnothing differs"]), sep="\n")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
