"""Signed tokens of a real issuer, panva's oidc-provider, through a portal to a real MLflow: `make identity`.

With RSA and with EC keys, a stock client registers a model with a token alone; the issuer then changes its key, and
goes away. The exit status is 1 if a call goes otherwise than said.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import requests

from portal.one_machine.ports import free_port
from tests.field.environments import Environment, node_modules, node_program
from tests.field.readers.providers import PACKAGE
from tests.field.readers.results import Result, show
from tests.field.servers import ROOT, Field, Server

SCRIPT = Path(__file__).parent / "readers" / "signer.mjs"
AUDIENCE = "https://registry.example"
REGISTER = """
import sys
from mlflow import MlflowClient
client = MlflowClient()
client.create_registered_model(sys.argv[1])
print(client.get_registered_model(sys.argv[1]).name)
"""


def main() -> int:
    modules = node_modules(PACKAGE)
    if modules is None:
        return show([Result(program="oidc-provider", version="", text="install Node", could_run=False)])
    shutil.copy(SCRIPT, modules)
    with (
        tempfile.TemporaryDirectory() as name,
        Field(Path(name) / "field") as field,
        field.server("portal", Environment(folder=ROOT / ".venv")) as portal,
    ):
        return show([check(portal, modules, algorithm) for algorithm in ("RS256", "ES256")])


def check(portal: Server, modules: Path, algorithm: str) -> Result:
    port, problems = free_port(), []
    portal.manage(
        *("create_trust", "shared", "--user", "trainer", "--name", algorithm, "--audience", AUDIENCE),
        *("--issuer", f"http://127.0.0.1:{port}", "--claim", "sub=job", "--private-issuer"),
    )
    with node_program(modules, SCRIPT.name, str(port), AUDIENCE, algorithm, "first"):
        first = fetch_token(port)
        if problem := register(portal, first, f"{algorithm}-model"):
            problems.append(f"register: {problem}")
    with node_program(modules, SCRIPT.name, str(port), AUDIENCE, algorithm, "second"):
        second = fetch_token(port)
        early = call(portal, second)  # the set was fetched a moment ago: at most once a minute
        if early.status_code != 401 or "kid" not in early.text:
            problems.append(f"an unknown kid: {early.status_code} {early.text}")
        time.sleep(61)
        if (late := call(portal, second)).status_code != 200:
            problems.append(f"the new key: {late.status_code} {late.text}")
        third = fetch_token(port)
    for token, status in ((second, 200), (third, 200), (first, 401)):
        if (answer := call(portal, token)).status_code != status:
            problems.append(f"without the issuer: {answer.status_code} {answer.text}")
    text = (
        "registers a model with the token alone; a new key is fetched once a minute; the issuer may be away"
    )
    return Result(
        program=f"oidc-provider, {algorithm}",
        version=PACKAGE.rpartition("@")[2],
        text="; ".join(problems) or text,
        works=not problems,
    )


def fetch_token(port: int) -> str:
    sent = {"grant_type": "client_credentials", "client_id": "job", "client_secret": "a secret of the job"}
    answer = requests.post(f"http://127.0.0.1:{port}/token", {**sent, "scope": "train"}, timeout=30)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])


def call(portal: Server, token: str) -> requests.Response:
    return requests.get(
        f"{portal.tracking_uri}/api/2.0/mlflow/registered-models/search",
        headers={"Authorization": f"Bearer {token}"},
        timeout=60,
    )


def register(portal: Server, token: str, name: str) -> str:
    """The problem of a stock client that registers a model with this token; "": none."""
    done = subprocess.run(
        [sys.executable, "-c", REGISTER, name],
        env={
            "MLFLOW_TRACKING_URI": portal.tracking_uri,
            "MLFLOW_TRACKING_TOKEN": token,
            "HOME": "/nonexistent",
        },
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    return "" if done.stdout.strip() == name else done.stderr[-500:]


if __name__ == "__main__":
    sys.exit(main())
