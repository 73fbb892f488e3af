"""Signed tokens of real issuers, oidc-provider and Canaille, through a portal to a real MLflow: `make identity`.

With RSA and with EC keys, a stock client registers a model with a token alone; the issuer then changes its key, and
goes away. The exit status is 1 if a call goes otherwise than said.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import requests

from tests.field.environments import Environment, InstallError
from tests.field.issuers import Canaille, Issuer, OidcProvider
from tests.field.readers.results import Result, show
from tests.field.servers import ROOT, Field, Server

KEY_SECONDS = 70.0  # a new key is fetched at most once a minute
REGISTER = """
import sys
from mlflow import MlflowClient
client = MlflowClient()
client.create_registered_model(sys.argv[1])
print(client.get_registered_model(sys.argv[1]).name)
"""


def main() -> int:
    with (
        tempfile.TemporaryDirectory() as name,
        Field(Path(name) / "field") as field,
        field.server("portal", Environment(folder=ROOT / ".venv")) as portal,
    ):
        makers: list[Callable[[str], Issuer]] = [
            OidcProvider,
            lambda algorithm: Canaille(algorithm, field, Path(name) / algorithm),
        ]
        return show([check(portal, make, each) for make in makers for each in ("RS256", "ES256")])


def check(portal: Server, make: Callable[[str], Issuer], algorithm: str) -> Result:
    try:
        issuer = make(algorithm)
    except (FileNotFoundError, InstallError) as error:
        return Result(program=algorithm, version="", text=str(error), could_run=False)
    problems = []
    portal.manage(
        *("create_trust", "shared", "--user", "trainer", "--name", f"{issuer.program} {algorithm}"),
        *("--audience", issuer.audience, "--issuer", issuer.url, "--claim", f"sub={issuer.subject}"),
        "--private-issuer",
    )
    with issuer.serve("first"):
        first = issuer.fetch_token()
        if problem := register(portal, first, f"{issuer.program}-{algorithm}"):
            problems.append(f"register: {problem}")
    with issuer.serve("second"):
        second = issuer.fetch_token()
        early = call(portal, second)  # the set was fetched a moment ago: at most once a minute
        if early.status_code != 401 or "kid" not in early.text:
            problems.append(f"an unknown kid: {early.status_code} {early.text}")
        if (late := wait_for_key(portal, second)).status_code != 200:
            problems.append(f"the new key: {late.status_code} {late.text}")
        third = issuer.fetch_token()
    for token, status in ((second, 200), (third, 200), (first, 401)):
        if (answer := call(portal, token)).status_code != status:
            problems.append(f"without the issuer: {answer.status_code} {answer.text}")
    text = (
        "registers a model with the token alone; a new key is fetched once a minute; the issuer may be away"
    )
    return Result(
        program=f"{issuer.program}, {algorithm}",
        version=issuer.version,
        text="; ".join(problems) or text,
        works=not problems,
    )


def wait_for_key(portal: Server, token: str) -> requests.Response:
    """The first response with 200 to this token, or the last one after KEY_SECONDS."""
    end = time.monotonic() + KEY_SECONDS
    while (response := call(portal, token)).status_code != 200 and time.monotonic() < end:
        time.sleep(1)
    return response


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
