"""SCIM against a running portal and a real MLflow: `make scim`.

scim2-tester in full, for the directory for all and for an organisation's. Then a directory deactivates a user whose key
uploads a file. The exit status is 1 if a check fails.
"""

import json
import secrets
import sys
import tempfile
import time
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import requests

from tests.field.environments import Environment, InstallError, environment
from tests.field.readers.results import Result, show
from tests.field.servers import ROOT, Field, Server

PACKAGES = ("install", "scim2-tester==0.5.2", "scim2-client[httpx2]==0.13.2")
SIZE = 16 * 2**20  # bytes of the upload; more than the buffers of the sockets
REFUSED_SECONDS = 1.0
USER = "urn:ietf:params:scim:schemas:core:2.0:User"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
SCRIPT = Path(__file__).with_name("programs") / "scim_tester.py"


def main() -> int:
    try:
        installed = environment("scim", PACKAGES)
    except InstallError as error:
        return show([Result(program="scim2-tester", version="0.5.2", could_run=False, text=str(error))])
    with (
        tempfile.TemporaryDirectory() as name,
        Field(Path(name) / "field") as field,
        field.server("portal", Environment(folder=ROOT / ".venv")) as portal,
    ):
        results = [check(portal, installed, directory) for directory in ("shared", "third-party")]
        return show([*results, deactivate_while_uploading(portal)])


def check(portal: Server, installed: Environment, directory: str) -> Result:
    user = f"directory-of-{directory}"
    if directory == "shared":
        portal.issue(user, "first")  # creates the user
        portal.manage("set_role", user, "key_admin")
    else:
        portal.manage("organisation", "create", directory)
        portal.issue(user, "first")
        portal.manage("organisation", "add-member", directory, user)
    key = portal.issue(user, "directory", "--scope", "portal:scim", "--organisation", directory)
    done = installed.run(str(SCRIPT), f"{portal.url}/scim/v2", key, timeout=300)
    text = f"directory of {directory}: {done.stdout.strip()}"
    return Result(program="scim2-tester", version="0.5.2", text=text, works=done.returncode == 0)


def deactivate_while_uploading(portal: Server) -> Result:
    """The directory's user eve is deactivated when half of her file is sent."""
    directory = connect(portal.issue("directory-of-shared", "deactivating", "--scope", "portal:scim"))
    made = directory.post(
        f"{portal.url}/scim/v2/Users", json={"schemas": [USER], "userName": "eve"}, timeout=30
    )
    user = made.json()["id"]
    eve = connect(portal.issue("eve", "job"))
    path, content = create_run(portal, eve), secrets.token_bytes(SIZE)
    upload = HTTPConnection(urlsplit(portal.url).netloc, timeout=60)
    upload.putrequest("PUT", f"/api/mlflow{path}")
    upload.putheader("Authorization", str(eve.headers["Authorization"]))
    upload.putheader("Content-Length", str(SIZE))
    upload.endheaders(content[: SIZE // 2])

    change = {"op": "replace", "path": "active", "value": False}
    answer = directory.patch(
        f"{portal.url}/scim/v2/Users/{user}", json={"schemas": [PATCH], "Operations": [change]}, timeout=30
    )
    seconds, refusal = time_until_refused(portal, eve)
    upload.send(content[SIZE // 2 :])
    uploaded = upload.getresponse()
    told = uploaded.read()
    stored = requests.get(f"{portal.mlflow_url}{path}", timeout=60).content
    problems = [
        problem
        for problem, is_there in {
            f"the directory's change: {answer.status_code} {answer.text}": answer.status_code
            not in (200, 204),
            f"the upload: {uploaded.status} {told!r}": uploaded.status != 200,
            f"{len(stored)} bytes of {SIZE} are stored, or others": stored != content,
            f"refused after {seconds:.2f} s: {refusal}": seconds >= REFUSED_SECONDS
            or "paused" not in refusal,
        }.items()
        if is_there
    ]
    text = f"the next call is refused after {seconds:.2f} s; the running upload of {SIZE >> 20} MiB completes"
    return Result(
        program="deactivation",
        version="during an upload",
        text="; ".join(problems) or text,
        works=not problems,
    )


def connect(key: str) -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    session.headers["Authorization"] = f"Bearer {key}"
    return session


def create_run(portal: Server, session: requests.Session) -> str:
    """The path of an artifact of a new run, which belongs to the session's user."""
    api = f"{portal.tracking_uri}/api/2.0/mlflow"
    experiment = session.post(f"{api}/experiments/create", json={"name": "eve"}, timeout=60).json()
    number = experiment["experiment_id"]
    made = session.post(f"{api}/runs/create", json={"experiment_id": number}, timeout=60).json()
    run = made["run"]["info"]["run_id"]
    return f"/api/2.0/mlflow-artifacts/artifacts/{number}/{run}/artifacts/weights.bin"


def time_until_refused(portal: Server, session: requests.Session) -> tuple[float, str]:
    """The seconds from now until the last call that was accepted began, and the message of the first refusal."""
    began, accepted = time.monotonic(), 0.0
    while (started := time.monotonic() - began) < 10:
        answer = session.get(
            f"{portal.tracking_uri}/api/2.0/mlflow/experiments/search?max_results=1", timeout=60
        )
        if answer.status_code == 401:
            return accepted, str(json.loads(answer.text)["message"])
        accepted = started
    return accepted, "never refused"


if __name__ == "__main__":
    sys.exit(main())
