"""Programs that talk to MLflow, each in an environment of its own, through the portal: `make integrations`.

Each script in `programs/` runs twice: with the key of a new user (preset Contributor), whose results are then looked up
at the portal, and with a key that may only read. The table has version, what was found, the scopes of the calls, and
the text that the refusal leaves in the program's output. The outputs are in FIELD_CACHE/outputs. PROGRAMS (a list of
names) selects some; KEEP=no deletes each environment after its use. docs/integrations.md explains the results. The exit
status is 1 if one of the programs that could be installed fails.
"""

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.field.catalogue import INTEGRATIONS, Integration
from tests.field.environments import Environment, InstallError, cache_folder, environment
from tests.field.servers import ROOT, Field, Server

PROGRAMS = Path(__file__).parent / "programs"
SECONDS = 600.0
# The words of a refusal, from its most telling to its least.
TELLING = (
    r"needs .*scope|write.*scope|scope.*write",
    r"PERMISSION_DENIED",
    r"\b403\b|Forbidden",
    r"[Ee]rror",
)


@dataclass(frozen=True, kw_only=True)
class Result:
    name: str
    version: str = ""
    problem: str = ""  # "": it works
    cannot_run: str = ""
    found: str = ""
    scopes: str = ""
    refusal: str = ""


def run_program(
    each: Integration, where: Environment, server: Server, key: str, experiment: str
) -> tuple[int, str]:
    """The exit status and the output."""
    folder = tempfile.mkdtemp(dir=server.log.parent)
    settings = {
        "MLFLOW_TRACKING_URI": server.tracking_uri,
        "MLFLOW_TRACKING_TOKEN": key,
        "MLFLOW_EXPERIMENT_NAME": each.experiment,
        "EXPERIMENT_ID": experiment,
        "PORTAL_URL": server.url,
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
        "HOME": folder,
        "PYTHONPATH": folder,  # not the folder of the scripts: some are named like packages
    }
    if each.command:
        return each.command(PROGRAMS / each.script, where, settings)
    copy = shutil.copy(PROGRAMS / each.script, folder)
    done = where.run(str(copy), timeout=SECONDS, **settings)
    return done.returncode, done.stdout


def look_up(each: Integration, server: Server, key: str) -> tuple[str, list[str]]:
    """What the portal has of this program, in words, and what is missing."""
    from mlflow import MlflowClient

    os.environ["MLFLOW_TRACKING_TOKEN"] = key
    client = MlflowClient(server.tracking_uri, server.tracking_uri)
    experiment = client.get_experiment_by_name(each.experiment)
    if experiment is None:
        return "", [f"no experiment {each.experiment}"]
    runs = client.search_runs([experiment.experiment_id])
    have = {
        "metrics": {name for run in runs for name in run.data.metrics},
        "params": {name for run in runs for name in run.data.params},
        "artifacts": {file.path for run in runs for file in client.list_artifacts(run.info.run_id)},
    }
    traces = len(client.search_traces(locations=[experiment.experiment_id]))
    versions = len(client.search_model_versions(f"name = '{each.model}'")) if each.model else 0
    counts = {"runs": len(runs), "traces": traces, "versions": versions}
    missing = [
        f"{name} {word}, found {sorted(have[name])}"
        for name in have
        for word in getattr(each, name)
        if word not in have[name]
    ]
    missing += [
        f"{getattr(each, name)} {name}, found {counts[name]}"
        for name in counts
        if counts[name] < getattr(each, name)
    ]
    words = [f"{count} {name}" for name, count in counts.items() if count]
    words += [f"{len(names)} {name}" for name, names in have.items() if names]
    return ", ".join(words), missing


def scopes_of(operations: Sequence[str]) -> str:
    from proxy.routes.table import OPERATIONS

    return " ".join(
        sorted({str(scope) for row in OPERATIONS if row.name in operations for scope in row.scopes})
    )


def telling_line(output: str) -> str:
    """The line that tells the program's user most about the refusal."""
    lines = [" ".join(line.split()) for line in output.splitlines() if line.strip()]
    for pattern in TELLING:
        if found := [line for line in lines if re.search(pattern, line)]:
            return found[-1][:400]
    return ""


def keep_output(name: str, output: str) -> None:
    folder = cache_folder() / "outputs"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.txt").write_text(output)


def try_program(each: Integration, server: Server, auditor: str) -> Result:
    if reason := each.cannot_run():
        return Result(name=each.name, cannot_run=reason)
    try:
        where = environment(each.script.partition(".")[0], *each.packages)
    except InstallError as error:
        return Result(name=each.name, cannot_run=f"cannot be installed: {error}")
    try:
        return try_installed(each, where, server, auditor)
    finally:
        if os.environ.get("KEEP") == "no":
            shutil.rmtree(where.folder, ignore_errors=True)


def try_installed(each: Integration, where: Environment, server: Server, auditor: str) -> Result:
    user = each.experiment
    experiment = server.new_experiment(user, each.experiment) if each.needs_experiment else ""
    status, output = run_program(each, where, server, server.issue(user, "program"), experiment)
    keep_output(user, output)
    server.wait_until_logged()
    found, missing = look_up(each, server, auditor)
    if status:
        missing.append(f"exit status {status}: {output.strip()[-1500:]}")
    reader = server.issue(f"{user}-reader", "reader", "--preset", "reader")
    refused_status, refused = run_program(each, where, server, reader, experiment)
    keep_output(f"{user}-reader", refused)
    return Result(
        name=each.name,
        version=each.version(where),
        problem="; ".join(missing),
        found=found,
        scopes=scopes_of(list(server.operations(user))),
        refusal=f"exit status {refused_status}: {telling_line(refused) or 'nothing'}",
    )


def report(results: list[Result]) -> int:
    for each in results:
        state = "cannot run" if each.cannot_run else "FAILS" if each.problem else "works"
        print(f"\n{each.name} {each.version}: {state}")
        for label, text in (
            ("why", each.cannot_run or each.problem),
            ("found", each.found),
            ("scopes", each.scopes),
            ("refusal", each.refusal),
        ):
            if text:
                print(f"  {label:8} {text}")
    tried = [each for each in results if not each.cannot_run]
    print(
        f"\n{sum(not each.problem for each in tried)} of {len(tried)} work; {len(results) - len(tried)} cannot run here"
    )
    return int(any(each.problem for each in tried))


def main() -> int:
    wanted = os.environ.get("PROGRAMS", "").replace(",", " ").split()
    chosen = [each for each in INTEGRATIONS if not wanted or each.experiment in wanted]
    results = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(
            stack.enter_context(Field(folder)).server("portal", Environment(folder=ROOT / ".venv"))
        )
        auditor = server.issue("auditor", "auditor", "--preset", "reader")
        for each in chosen:
            print(f"{each.name} …", file=sys.stderr, flush=True)
            results.append(try_program(each, server, auditor))
    return report(results)


if __name__ == "__main__":
    sys.exit(main())
