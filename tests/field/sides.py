"""Organisations on the servers of a field, each with a key and a file."""

import http.client
import json
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.field.servers import Server

ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"


@dataclass(frozen=True)
class Side:
    slug: str
    key: str
    experiment: str
    run: str
    marker: str

    @property
    def folder(self) -> str:
        return f"{self.experiment}/{self.run}/artifacts"


def ask(url: str, method: str, target: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    """One request whose target goes out as it is written."""
    to = urlsplit(url)
    connection = http.client.HTTPConnection(to.hostname or "", to.port, timeout=60)
    connection._validate_path = lambda _: None  # type: ignore[attr-defined]  # any target
    try:
        connection.request(method, target, body=body, headers=headers)
        response = connection.getresponse()
        return response.status, response.read()
    except (http.client.HTTPException, ValueError, OSError):
        return 0, b""
    finally:
        connection.close()


def call(
    server: Server, side: Side, method: str, target: str, body: bytes | None = None
) -> tuple[int, bytes]:
    headers = {"Authorization": f"Bearer {side.key}", "Content-Type": "application/json"}
    return ask(server.url, method, f"/api/mlflow{target}", body, **headers)


def make_side(server: Server, slug: str) -> Side:
    """An organisation with a file."""
    server.manage("organisation", "create", slug)
    server.issue(slug, "first")  # creates the user
    server.manage("organisation", "add-member", slug, slug, "--role", "owner")
    key = server.issue(slug, "second", "--preset", "full", "--organisation", slug)
    side = Side(slug, key, "", "", f"marker-of-{slug}")
    experiment = made(server, side, "experiments/create", {"name": slug})["experiment_id"]
    run = made(server, side, "runs/create", {"experiment_id": experiment})["run"]["info"]["run_id"]
    side = Side(slug, key, experiment, run, side.marker)
    for path in (f"{side.folder}/x.txt", f"{side.folder}/workspaces/x.txt"):
        status, body = call(server, side, "PUT", f"{ARTIFACTS}/{path}", side.marker.encode())
        assert status == 200, body
    return side


def made(
    server: Server, side: Side, name: str, content: dict[str, str]
) -> dict[str, dict[str, dict[str, str]]]:
    status, body = call(server, side, "POST", f"/api/2.0/mlflow/{name}", json.dumps(content).encode())
    assert status == 200, body
    answer: dict[str, dict[str, dict[str, str]]] = json.loads(body)
    return answer
