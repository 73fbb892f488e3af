"""Signed tokens of real issuers, oidc-provider and Canaille, through a portal to a real MLflow: `make identity`.

With RSA and with EC keys, a stock client registers a model with a token alone. Wrong tokens are refused with a message
that names what is wrong (`wrong_tokens`). Then the issuer changes its key while a job calls, and goes away. The exit
status is 1 if a call goes otherwise than said.
"""

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import requests

from tests.field import wrong_tokens
from tests.field.environments import Environment, InstallError
from tests.field.issuers import Canaille, Issuer, OidcProvider
from tests.field.readers.results import Result, show
from tests.field.servers import ROOT, Field, Server
from tests.field.wrong_tokens import call

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
        counts = wrong_tokens.check(portal, issuer, problems)
    with SteadyUse(portal, first) as use, issuer.serve("second"):
        second = issuer.fetch_token()
        early = call(portal, second)  # the set was fetched a moment ago: at most once a minute
        if early.status_code != 401 or "kid" not in early.text:
            problems.append(f"an unknown kid: {early.status_code} {early.text}")
        if (late := wait_for_key(portal, second)).status_code != 200:
            problems.append(f"the new key: {late.status_code} {late.text}")
        third = issuer.fetch_token()
    problems += use.problems()
    for token, status in ((second, 200), (third, 200), (first, 401)):
        if (answer := call(portal, token)).status_code != status:
            problems.append(f"without the issuer: {answer.status_code} {answer.text}")
    text = (
        f"registers a model with the token alone; {counts}; a new key is fetched once a minute, while {use.accepted} "
        "calls with the old one succeed; the issuer may be away"
    )
    return Result(
        program=f"{issuer.program}, {algorithm}",
        version=issuer.version,
        text="; ".join(problems) or text,
        works=not problems,
    )


class SteadyUse(threading.Thread):
    """A job that calls with one token during the `with` block."""

    def __init__(self, portal: Server, token: str) -> None:
        super().__init__(daemon=True)
        self.portal, self.token, self.done = portal, token, threading.Event()
        self.refused: list[requests.Response] = []
        self.accepted = self.late = 0  # late: accepted after a refusal

    def __enter__(self) -> "SteadyUse":
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.done.set()
        self.join()

    def run(self) -> None:
        while not self.done.wait(0.2):
            answer = call(self.portal, self.token)
            if answer.status_code == 200:
                self.accepted, self.late = self.accepted + 1, self.late + bool(self.refused)
            else:
                self.refused.append(answer)

    def problems(self) -> list[str]:
        """The old key works until the portal has the set without it, and never again."""
        wrong = [each for each in self.refused if each.status_code != 401 or "kid" not in each.text]
        found = [f"while the key changes: {each.status_code} {each.text}" for each in wrong[:1]]
        if not self.accepted or self.late:
            found.append(f"{self.accepted} calls with the old key, {self.late} of them after a refusal")
        return found


def wait_for_key(portal: Server, token: str) -> requests.Response:
    """The first response with 200 to this token, or the last one after KEY_SECONDS."""
    end = time.monotonic() + KEY_SECONDS
    while (response := call(portal, token)).status_code != 200 and time.monotonic() < end:
        time.sleep(1)
    return response


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
