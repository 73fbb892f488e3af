"""An administrator's day on a running portal, by the API alone and by the command line alone: invite, issue, watch,
rotate, revoke, export. In front of a real MLflow."""

import csv
import io
import json

import pytest

from tests.portals import wait_for

pytestmark = [pytest.mark.postgresql, pytest.mark.mlflow]
MODELS = "/api/mlflow/api/2.0/mlflow/registered-models"


def works(portal, secret: str, model: str) -> int:
    """What a client gets who registers a model with the key."""
    return portal.request("POST", f"{MODELS}/create", key=secret, body={"name": model}).status


def refused(portal, secret: str) -> bool:
    """Whether the key is no longer let in, within the second that takes. It only reads: until then it works."""

    def look() -> int:
        return portal.request("GET", f"{MODELS}/search", key=secret).status

    return wait_for(look, lambda status: status == 401, seconds=1) == 401


def told(export: str) -> list[tuple[str, str]]:
    """Which models an export says were registered, and what became of it."""
    return [(line["object_name"], line["outcome"]) for line in csv.DictReader(io.StringIO(export))]


def test_by_the_api_alone(mlflow_portal):
    mlflow_portal.manage(
        "shell", "-c", "from keys.models import User; User.objects.create_superuser('day-admin')"
    )
    admin = mlflow_portal.issue("day-admin", "--scope", "portal:admin")

    def api(method: str, path: str, body: dict | None = None, status: int = 200):
        reply = mlflow_portal.request(method, f"/api/v1{path}", key=admin["key"], body=body)
        assert reply.status == status, (path, reply.body)
        return reply

    person = api("POST", "/users", {"name": "day-api"}, 201).json()
    assert "/account/invitation/" in api("POST", f"/users/{person['id']}/invite", {}).json()["link"]
    issued = api("POST", "/keys", {"user": "day-api", "name": "day", "expires_in": "1d"}, 201).json()
    assert works(mlflow_portal, issued["key"], "day-api-1") == 200

    def seen() -> list[dict]:
        return api("GET", f"/calls?key={issued['id']}").json()["results"]

    assert [row["operation"] for row in wait_for(seen, seconds=3)] == ["registered-models.create"]
    [row] = api("GET", "/registrations?user=day-api").json()["results"]
    assert (row["object_name"], row["outcome"]) == ("day-api-1", "done")
    rotated = api("POST", f"/keys/{issued['id']}/rotate", {"overlap": "now"}).json()
    assert works(mlflow_portal, rotated["key"], "day-api-2") == 200
    assert refused(mlflow_portal, issued["key"])
    api("POST", f"/keys/{issued['id']}/revoke", {"reason": "the day is over"})
    assert refused(mlflow_portal, rotated["key"])
    text = api("GET", "/registrations/export?user=day-api").body.decode()
    assert told(text) == [("day-api-2", "done"), ("day-api-1", "done")]
    events = api("GET", f"/events?key={issued['id']}").json()["results"]
    assert [event["kind"] for event in events] == ["revoked", "rotated", "issued"]


def test_by_the_command_line_alone(mlflow_portal):
    def manage(*arguments: str) -> str:
        return mlflow_portal.manage(*arguments).stdout

    def asked(*arguments: str):
        return json.loads(manage(*arguments, "--json"))

    assert "/account/invitation/" in asked("invite_user", "--user", "day-shell")["link"]
    issued = asked("issue_key", "--user", "day-shell", "--name", "day", "--expires-in", "1d")
    assert works(mlflow_portal, issued["key"], "day-shell-1") == 200
    rows = wait_for(lambda: asked("list_calls", "--key", issued["id"]), seconds=5)
    assert [row["operation"] for row in rows] == ["registered-models.create"]
    [row] = asked("list_registrations", "--user", "day-shell")
    assert (row["object_name"], row["outcome"]) == ("day-shell-1", "done")
    rotated = asked("rotate_key", issued["id"], "--overlap", "now")
    assert works(mlflow_portal, rotated["key"], "day-shell-2") == 200
    assert asked("revoke_key", issued["id"], "--reason", "the day is over")["state"] == "revoked"
    assert refused(mlflow_portal, rotated["key"])
    exported = manage("list_registrations", "--user", "day-shell", "--csv", "--limit", "0")
    assert told(exported) == [("day-shell-2", "done"), ("day-shell-1", "done")]


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["list_keys", "--json"], 0),
        (["revoke_key", "key_none"], 1),
        (["may", "key_none", "GET", "/version"], 1),
        (["list_calls", "--status", "9"], 1),
        (["list_keys", "--colour", "red"], 2),
        (["rotate_key"], 2),
    ],
)
def test_exit_statuses_are_as_documented(mlflow_portal, arguments, status):
    result = mlflow_portal.manage(*arguments, check=False)

    assert result.returncode == status, result.stderr
    assert "Traceback" not in result.stderr
