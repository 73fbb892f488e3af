"""CPU time and time of the start of a production worker, side by side with the previous release:
`python -m benchmarks.start`, one minute.

Each round starts gunicorn with one worker, from this source code and from the previous release in turns, each with its
own migrated database. It counts the CPU time of all its processes from the start until `/health/ready` has responded
200 and one call by key has been served. A ratio is the median of the rounds' ratios. PREVIOUS=… names another commit,
ROUNDS=… sets the length.

`python -m benchmarks.start run` does the same with the second start of everything on this machine (`make run`), with
the embedded PostgreSQL and MLflow, until the portal is ready and MLflow responds. The CPU time includes those of MLflow
and PostgreSQL, and of processes that have ended meanwhile.
"""

import contextlib
import json
import os
import secrets
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import psycopg

from benchmarks.callers import read_experiment, send_one
from benchmarks.calls import UPSTREAM, previous_release
from benchmarks.results import Row, median_ratio, save
from benchmarks.usage_log import ROOT, process

ROUNDS = int(os.environ.get("ROUNDS", 5))
MOST = 0.5  # of the previous release
SECONDS = 120.0
Costs = tuple[float, float]  # seconds of CPU time, and seconds


def main() -> int:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        # As in an installation: the first round writes compiled modules.
        os.environ |= {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(folder / "compiled")}
        roots = {"portal": ROOT, "previous": previous_release(folder)}
        if sys.argv[1:] == ["run"]:
            return report("second start of `make run`", rounds(stack, folder, roots, start_everything))
        prepare(stack, folder, roots)
        return report("start of a worker", rounds(stack, folder, roots, start_worker))


def rounds(stack: ExitStack, folder: Path, roots: dict[str, Path], start: "object") -> dict[str, list[Costs]]:
    """The costs of each start; the first round warms up."""
    costs: dict[str, list[Costs]] = {name: [] for name in roots}
    for number in range(ROUNDS + 1):
        for name in sorted(roots, reverse=number % 2 == 1):
            cost = start(folder, name, roots[name])  # type: ignore[operator]
            if number:
                costs[name].append(cost)
    return costs


def report(what: str, costs: dict[str, list[Costs]]) -> int:
    ratios = []
    for index, unit in enumerate(("CPU", "time")):
        medians = {name: statistics.median(each[index] for each in found) for name, found in costs.items()}
        own, previous = ([each[index] for each in costs[name]] for name in ("portal", "previous"))
        ratios.append(median_ratio(own, previous))
        seconds = ", ".join(f"{name} {value:.2f} s" for name, value in medians.items())
        print(f"  {what}, {unit}: {seconds}: {ratios[-1]:.2f} (at most {MOST})", flush=True)
    save(
        Row(what=f"{what}, CPU / the previous release", result=ratios[0], most=MOST),
        Row(what=f"{what}, time / the previous release", result=ratios[1], most=None),
    )
    return int(ratios[0] > MOST)


# A production worker


def prepare(stack: ExitStack, folder: Path, roots: dict[str, Path]) -> None:
    """A PostgreSQL with a migrated database and a key for each, and an upstream."""
    from portal.one_machine.ports import free_port
    from portal.one_machine.postgres import running_postgres

    database = stack.enter_context(running_postgres(folder / "postgresql"))
    upstream = free_port()
    os.environ |= {
        "MLFLOW_URL": f"http://127.0.0.1:{upstream}",
        "ISOLATION": "off",
        "SECRET_KEY": secrets.token_urlsafe(50),
        "KEY_PEPPERS": secrets.token_urlsafe(32),
        "WORKERS": "1",
    }
    stack.enter_context(process("-c", UPSTREAM, str(upstream)))
    for name, root in roots.items():
        with psycopg.connect(database.url("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "start-{name}"')
        environment = {**os.environ, "DATABASE_URL": database.url(f"start-{name}"), "PYTHONPATH": str(root)}
        environment["DATA_DIR"] = str(folder / f"data-{name}")
        manage = [sys.executable, "-W", "ignore", "manage.py"]
        subprocess.run([*manage, "migrate", "--verbosity", "0"], cwd=root, env=environment, check=True)
        issue = [*manage, "issue_key", "--user", "alice", "--name", "bench", "--json"]
        done = subprocess.run(issue, cwd=root, env=environment, check=True, stdout=subprocess.PIPE)
        environment["START_KEY"] = json.loads(done.stdout)["key"]
        (folder / f"{name}.json").write_text(json.dumps(environment))


def start_worker(folder: Path, name: str, root: Path) -> Costs:
    from portal.one_machine.ports import free_port

    port = free_port()
    environment = json.loads((folder / f"{name}.json").read_text()) | {"PORT": str(port)}
    command = ("-m", "gunicorn", "--config", "python:portal.server", "portal.wsgi:application")
    began = time.monotonic()
    with process(*command, log=folder / f"{name}.log", cwd=root, **environment) as running:
        wait(port, "/health/ready")
        send_one(port, read_experiment(environment["START_KEY"]))
        seconds = time.monotonic() - began
        return cpu_of_tree(psutil.Process(running.pid)), seconds


def wait(port: int, path: str) -> None:
    """Until the portal responds 200. Asks seldom, because each response costs it CPU time."""
    import http.client

    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("GET", path)
            if connection.getresponse().status == 200:
                return
        connection.close()
        time.sleep(0.1)
    raise SystemExit(f"{path} did not respond 200 within {SECONDS:.0f} s")


def cpu_of_tree(parent: psutil.Process) -> float:
    """CPU seconds of the processes that run and of those that they have waited for."""
    total = 0.0
    for each in (parent, *parent.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = each.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


# `make run`


def start_everything(folder: Path, name: str, root: Path) -> Costs:
    """The cost of a start of all processes on a data folder of its own, which the first start creates."""
    from portal.one_machine.ports import free_port

    port = free_port()
    settings = {"DATA_DIR": str(folder / f"run-{name}"), "PORT": str(port), "PYTHONPATH": str(root)}
    unset = ("MLFLOW_URL", "DATABASE_URL", "SECRET_KEY", "KEY_PEPPERS")
    for variable in unset:
        os.environ.pop(variable, None)
    began = time.monotonic()
    with everything(folder / f"run-{name}.log", root, settings) as parent:
        wait(port, "/health/mlflow")
        seconds = time.monotonic() - began
        return cpu_of_tree(parent), seconds


@contextlib.contextmanager
def everything(log: Path, root: Path, settings: dict[str, str]) -> Iterator[psutil.Process]:
    with log.open("ab") as out:
        running = subprocess.Popen(
            [sys.executable, "manage.py", "up"],
            env={**os.environ, **settings},
            cwd=root,
            stdout=out,
            stderr=out,
        )
    try:
        yield psutil.Process(running.pid)
    finally:
        running.send_signal(signal.SIGTERM)
        running.wait(60)


if __name__ == "__main__":
    sys.exit(main())
