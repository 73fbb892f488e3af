"""The examples of examples/workload_identity/ as jobs run them, with tokens of oidc-provider: `make workloads`.

GitHub's action runs with the environment of a job, GitLab's include with the variables that GitLab sets, and the
Kubernetes job's plugin with stock clients (CLIENTS=…), while the file with the token is replaced. The exit status is 1
if one fails.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
import yaml

from tests.field.environments import BASE_OF_3_18, Environment, InstallError, Step, environment
from tests.field.identity import register
from tests.field.issuers import OidcProvider
from tests.field.readers.results import Result, show
from tests.field.servers import ROOT, Field, Server

EXAMPLES = ROOT / "examples" / "workload_identity"
PLUGIN = str(EXAMPLES / "hokusai_mlflow_auth")
CLIENTS = os.environ.get("CLIENTS", "2.22.0,3.1.4,3.17.2,3.18.0").split(",")
REGISTRY = "https://registry.example"  # in the examples
JOB = """
import sys
from mlflow import MlflowClient
client = MlflowClient()
client.create_registered_model(sys.argv[1])
print("waits", flush=True)
sys.stdin.readline()
print(client.get_registered_model(sys.argv[1]).name, flush=True)
"""


def main() -> int:
    try:
        issuer = OidcProvider("ES256")
    except FileNotFoundError as error:
        return show([Result(program="oidc-provider", version="", text=str(error), could_run=False)])
    with (
        tempfile.TemporaryDirectory() as name,
        Field(Path(name) / "field") as field,
        field.server("portal", Environment(folder=ROOT / ".venv")) as portal,
        issuer.serve("only"),
    ):
        audience = f"{portal.tracking_uri}/w/shared"
        portal.manage(
            *("create_trust", "shared", "--user", "trainer", "--name", "jobs", "--private-issuer"),
            *("--issuer", issuer.url, "--audience", audience, "--claim", "sub=job*"),
        )
        results = [github(portal, issuer, Path(name), exchange) for exchange in ("true", "false")]
        results.append(gitlab(portal, issuer, audience))
        for release in CLIENTS:
            results.append(kubernetes(portal, issuer, audience, release, Path(name)))
        return show(results)


def github(portal: Server, issuer: OidcProvider, folder: Path, exchange: str) -> Result:
    """The action's only step; the runner gives it these variables, and a service that signs the job's token."""

    class Tokens(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            [audience] = parse_qs(urlsplit(self.path).query)["audience"]
            is_job = self.headers["Authorization"] == "Bearer of the job"
            body = json.dumps({"value": issuer.fetch_token(claims={"aud": audience})}).encode()
            self.send_response(200 if is_job else 401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    action = yaml.safe_load((EXAMPLES / "github_action" / "action.yml").read_text())
    [step] = action["runs"]["steps"]
    inputs = {"registry": portal.url, "organisation": "shared", "exchange": exchange}
    variables = {name: inputs[value.split(".")[1].rstrip(" }")] for name, value in step["env"].items()}
    (written := folder / f"github-{exchange}").touch()
    service = ThreadingHTTPServer(("127.0.0.1", 0), Tokens)
    threading.Thread(target=service.serve_forever, args=(0.01,), daemon=True).start()
    variables |= {
        "ACTIONS_ID_TOKEN_REQUEST_URL": f"http://127.0.0.1:{service.server_port}/token?api-version=2.0",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "of the job",
        "GITHUB_ACTION_PATH": str(EXAMPLES / "github_action"),
        "GITHUB_ENV": str(written),
        "PATH": os.environ["PATH"],
    }
    done = subprocess.run(
        [step["shell"], "-eo", "pipefail", "-c", step["run"]],
        env=variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    service.shutdown()
    service.server_close()
    set_variables = dict(line.split("=", 1) for line in written.read_text().splitlines())
    credential = set_variables.get("MLFLOW_TRACKING_TOKEN", "")
    problem = done.stderr if done.returncode else ""
    if not problem and f"::add-mask::{credential}" not in done.stdout:
        problem = "the credential is not masked"
    if not problem and credential.startswith("hk_") != (exchange == "true"):
        problem = "the credential has another form"
    if not problem and set_variables["MLFLOW_TRACKING_URI"] != portal.tracking_uri:
        problem = f"MLFLOW_TRACKING_URI is {set_variables['MLFLOW_TRACKING_URI']}"
    problem = problem or register(portal, credential, f"github-{exchange}")
    text = f"exchange: {exchange}; registers a model, and the credential is masked"
    return Result(program="GitHub action", version="", text=problem or text, works=not problem)


def gitlab(portal: Server, issuer: OidcProvider, audience: str) -> Result:
    """GitLab sets the variables of `variables`, and a token of this audience for each of `id_tokens`."""
    job = yaml.safe_load((EXAMPLES / "gitlab-include.yml").read_text())[".registry"]
    [(name, wanted)] = job["id_tokens"].items()
    problem = ""
    if name != "MLFLOW_TRACKING_TOKEN" or wanted["aud"].replace(REGISTRY, portal.url) != audience.replace(
        "/w/shared", "/w/acme"
    ):
        problem = f"{name}: {wanted}"
    if job["variables"] != {"MLFLOW_TRACKING_URI": f"{REGISTRY}/api/mlflow"}:
        problem = str(job["variables"])
    problem = problem or register(portal, issuer.fetch_token(claims={"aud": audience}), "gitlab")
    text = "registers a model with the token of the include"
    return Result(program="GitLab include", version="", text=problem or text, works=not problem)


def kubernetes(portal: Server, issuer: OidcProvider, audience: str, release: str, folder: Path) -> Result:
    """The job's variables; the token's file is replaced while the job runs, as Kubernetes does."""
    named = {"program": "Kubernetes job, MLflow client", "version": release}
    try:
        installed = client_with_plugin(release)
    except InstallError as error:
        return Result(**named, text=str(error), could_run=False)
    manifest = yaml.safe_load((EXAMPLES / "kubernetes-job.yaml").read_text())
    [container] = manifest["spec"]["template"]["spec"]["containers"]
    variables = {each["name"]: each["value"].replace(REGISTRY, portal.url) for each in container["env"]}
    file = folder / f"token-{release}"
    variables["HOKUSAI_TOKEN_FILE"] = str(file)
    subjects = [f"job-{release}-{number}" for number in (1, 2)]
    first, second = (issuer.fetch_token(claims={"aud": audience, "sub": each}) for each in subjects)
    file.write_text(first)
    name = f"kubernetes-{release}"
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "PYTHON"))}
    with subprocess.Popen(
        [installed.python, "-c", JOB, name],
        env=kept | variables | {"HOME": str(folder), "NO_PROXY": "127.0.0.1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        while process.stdout.readline() not in ("", "waits\n"):
            pass
        (folder / "next").write_text(second)
        (folder / "next").rename(file)
        told, errors = process.communicate("\n", timeout=120)
    portal.wait_until_logged()
    with psycopg.connect(portal.environment["DATABASE_URL"]) as connection:
        rows = connection.execute(
            "select distinct subject from proxy_call where status = 200 and subject = any(%s)", [subjects]
        ).fetchall()
    works = told.strip() == name and len(rows) == 2
    text = "reads the token again after its file was replaced: calls with both subjects"
    return Result(**named, text=text if works else f"{told}{errors[-500:]} {rows}", works=works)


def client_with_plugin(release: str) -> Environment:
    """A stock client of this release with the plugin. Raises InstallError."""
    steps: list[Step] = [("install", f"mlflow-skinny=={release}", PLUGIN)]
    if release == "3.18.0":  # there is no mlflow-skinny of it here
        steps = [
            ("install", f"mlflow-skinny=={BASE_OF_3_18}", PLUGIN),
            ("uninstall", "--yes", "mlflow-skinny", "mlflow-tracing"),
            ("install", "--no-deps", f"mlflow=={release}"),
        ]
    return environment(f"client-{release}", *steps)


if __name__ == "__main__":
    sys.exit(main())
