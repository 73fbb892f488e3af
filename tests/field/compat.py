"""Every MLflow client against every server, direct and through the portal: `make compat`.

Each client runs the steps in `steps/` twice against the same server. A step that passes direct must pass through the
portal with the same result, unless the step names the document by which the portal refuses it. CLIENTS and SERVERS
(lists of releases) select some; the details of all steps are in FIELD_CACHE/compat.json. The exit status is 1 if a step
fails only through the portal.
"""

import json
import os
import re
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portal.one_machine.supervisor import StartError
from tests.field.environments import Environment, InstallError, cache_folder, mlflow
from tests.field.servers import Field, Server

CLIENTS = ("2.9.2", "2.22.5", "3.1.4", "3.10.1", "3.17.2", "3.18.0")
SERVERS = ("2.22.5", "3.1.4", "3.10.1", "3.17.2", "3.18.0")
SCRIPT_SECONDS = 900.0
STEPS = Path(__file__).parent / "steps"
# Failures are expected here: the client's own retries would take minutes.
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1"}
OUTCOMES = ("passes", "n/a", "fails direct", "refused", "FAILS")


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One step of one client and server; `outcome` is one of OUTCOMES."""

    step: str
    outcome: str
    text: str = ""


def compare(direct: dict[str, Any], through: dict[str, Any]) -> Compared:
    step = direct["step"]
    if "n/a" in (direct["status"], through["status"]):
        return Compared(step=step, outcome="n/a")
    if direct["status"] == "failed":
        return Compared(step=step, outcome="fails direct", text=direct["text"])
    if through["status"] == "failed":
        outcome = "refused" if direct["refused"] else "FAILS"
        return Compared(step=step, outcome=outcome, text=through["text"])
    if direct["refused"]:
        return Compared(
            step=step, outcome="FAILS", text="passes, although the documents say that it is refused"
        )
    if direct["value"] != through["value"]:
        text = f"another result: {direct['value']!r} direct, {through['value']!r} through the portal"
        return Compared(step=step, outcome="FAILS", text=text)
    return Compared(step=step, outcome="passes")


def steps(client: Environment, folder: Path, **settings: str) -> list[dict[str, Any]]:
    """The results of all steps. Raises RuntimeError if there is none."""
    output = folder / "steps.json"
    output.unlink(missing_ok=True)
    done = client.run(str(STEPS), str(output), timeout=SCRIPT_SECONDS, **PATIENCE, **settings)
    if not output.exists():
        raise RuntimeError(done.stdout.strip()[-2000:])
    return list(json.loads(output.read_text())["steps"])


def run_pair(client: Environment, server: Server, key: str) -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp(dir=server.log.parent))
    started = time.monotonic()
    home = {"HOME": str(folder)}
    direct = steps(client, folder, MLFLOW_TRACKING_URI=server.mlflow_url, **home)
    through = steps(
        client, folder, MLFLOW_TRACKING_URI=server.tracking_uri, MLFLOW_TRACKING_TOKEN=key, **home
    )
    compared = [compare(*pair) for pair in zip(direct, through, strict=False)]
    return {"compared": compared, "direct": direct, "through": through, "seconds": time.monotonic() - started}


def installed(releases: tuple[str, ...], missing: dict[str, str]) -> dict[str, Environment]:
    found = {}
    for release in releases:
        print(f"installing MLflow {release} unless it is", file=sys.stderr, flush=True)
        try:
            found[release] = mlflow(release)
        except InstallError as error:
            missing[f"MLflow {release}"] = str(error)
    return found


def selected(name: str, releases: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(os.environ.get(name, "").replace(",", " ").split()) or releases


def run_all(results: dict[str, dict[str, Any]], missing: dict[str, str]) -> None:
    clients, servers = selected("CLIENTS", CLIENTS), selected("SERVERS", SERVERS)
    environments = installed(tuple(dict.fromkeys(clients + servers)), missing)
    with tempfile.TemporaryDirectory() as folder, Field(Path(folder)) as field:
        for release in (each for each in servers if each in environments):
            try:
                with field.server(release, environments[release]) as server:
                    run_clients(
                        server,
                        release,
                        {each: environments[each] for each in clients if each in environments},
                        results,
                        missing,
                    )
            except StartError as error:
                missing[f"server {release}"] = str(error)


def run_clients(
    server: Server,
    release: str,
    clients: dict[str, Environment],
    results: dict[str, dict[str, Any]],
    missing: dict[str, str],
) -> None:
    key = server.issue("alice", "compat", "--preset", "full")
    print_heading = f"{'client':8} {'server':8} " + "".join(f"{word:>13}" for word in OUTCOMES)
    print(print_heading, flush=True)
    for name, client in clients.items():
        try:
            result = run_pair(client, server, key)
        except RuntimeError as error:
            missing[f"client {name} on server {release}"] = str(error)
            continue
        results[f"{name} {release}"] = result
        counts = Counter(each.outcome for each in result["compared"])
        line = "".join(f"{counts[word]:13}" for word in OUTCOMES)
        print(f"{name:8} {release:8} {line}   {result['seconds']:.0f} s", flush=True)
    if "Traceback" in (log := server.log.read_text()):
        missing[f"the portal's log before server {release}"] = (
            "an exception: " + log[log.index("Traceback") :][:3000]
        )


def report(results: dict[str, dict[str, Any]], missing: dict[str, str]) -> int:
    """Print each step that does not simply pass, with the pairs in which it does not; returns the exit status."""
    for outcome in OUTCOMES[2:]:
        found: dict[tuple[str, str], list[str]] = {}
        for pair, result in results.items():
            for each in result["compared"]:
                if each.outcome == outcome:
                    found.setdefault((each.step, shortened(each.text)), []).append(pair)
        print(f"\n{outcome}: {len(found)} (step, error, pairs of client and server)")
        for (step, text), pairs in sorted(found.items()):
            print(f"  {step}: {text}\n      {', '.join(pairs)}")
    if missing:
        print("\nCould not run:")
        for name, text in missing.items():
            print(f"  {name}: {text}")
    return int(any(each.outcome == "FAILS" for result in results.values() for each in result["compared"]))


def shortened(text: str) -> str:
    """Without what differs from run to run, so that the same error of two clients is one."""
    text = re.sub(r"compat-[0-9a-f]{8}", "NAME", " ".join(text.split()))
    text = re.sub(r"(path=|artifacts/)\d+(?=%2F|/|\.)", r"\1ID", text)
    text = re.sub(r"(?:\b|(?<=2F))(?:[0-9a-f]{32}|tr-[0-9a-f]+|req_\w+|127\.0\.0\.1:\d+)\b", "ID", text)
    return text[:300]


def main() -> int:
    results: dict[str, dict[str, Any]] = {}
    missing: dict[str, str] = {}
    try:
        run_all(results, missing)
    finally:
        everything = {
            pair: {**result, "compared": [vars(each) for each in result["compared"]]}
            for pair, result in results.items()
        }
        (cache_folder() / "compat.json").write_text(json.dumps(everything, indent=1))
    return report(results, missing)


if __name__ == "__main__":
    sys.exit(main())
