"""Calls by key skip the middleware of pages: each gets the same response, headers and row in the log as with it."""

import json

import pytest
from django.conf import settings as django_settings
from django.test import Client

from keys import actions
from keys.models import User
from proxy.usage import recording

SHORTCUT = "portal.http.middleware.calls_by_key"
API = "/api/mlflow/api/2.0/mlflow"
ARTIFACT = "/api/2.0/mlflow-artifacts/artifacts/0/run/artifacts/model.bin"
BATCH = {"run_id": "0" * 32, "metrics": []}
REQUESTS = {
    "get": ("GET", f"{API}/experiments/get?experiment_id=0", None),
    "other-mount": ("GET", "/mlflow/api/2.0/mlflow/experiments/get?experiment_id=0", None),
    "bare-host": ("GET", "/api/2.0/mlflow/experiments/get?experiment_id=0", None),
    "head": ("HEAD", "/version", None),
    "version": ("GET", "/version", None),
    "artifact": ("GET", ARTIFACT, None),
    "search": ("POST", f"{API}/runs/search", {"experiment_ids": ["0"]}),
    "create": ("POST", f"{API}/registered-models/create", {"name": "m"}),
    "not-own": ("POST", f"{API}/runs/log-batch", BATCH),
    "malformed": ("POST", f"{API}/runs/log-batch", "{"),
    "delete": ("DELETE", f"{API}/registered-models/delete", {"name": "m"}),
    "not-a-route": ("GET", f"{API}/nothing", None),
    "not-a-method": ("PATCH", f"{API}/experiments/get", None),
    "closed": ("POST", "/api/mlflow/ajax-api/3.0/mlflow/assistant/chat", {}),
    "options": ("OPTIONS", f"{API}/experiments/get", None),
    "bad-path": ("GET", f"{API}/../experiments/get", None),
    "bad-query": ("GET", f"{API}/experiments/get?a=%00", None),
    "mount": ("GET", "/api/mlflow", None),
    "mount-with-slash": ("GET", "/api/mlflow/", None),
    "mlflows-health": ("GET", "/api/mlflow/health", None),
    "not-a-mount": ("GET", "/api/mlflower", None),
    "api": ("GET", "/api/v1/keys/", None),
    "page": ("GET", "/admin/", None),
}
CREDENTIALS = ("key", "revoked", "mistyped", "none", "browser")
HOSTS = ("testserver", "elsewhere.example")


@pytest.fixture
def secrets(db) -> dict[str, str]:
    alice = User.objects.create_user("alice")
    _, secret = actions.issue(owner=alice, name="training")
    ended, revoked = actions.issue(owner=alice, name="ended")
    actions.revoke(key=ended)
    return {"key": secret, "revoked": revoked, "mistyped": secret[:-1] + "?", "none": "", "browser": secret}


@pytest.fixture
def rows(monkeypatch) -> list:
    kept: list = []
    monkeypatch.setattr(recording, "append", kept.append)
    monkeypatch.setattr("proxy.views.close_old_connections", lambda: None)  # it has the test's transaction
    return kept


def responses(name: str, secret: str, host: str, *, accept: str, rows: list) -> list:
    """What the caller gets and the log keeps, without the values that differ from call to call."""
    method, path, body = REQUESTS[name]
    rows.clear()
    content = body if isinstance(body, str) else json.dumps(body)
    headers = {"Authorization": f"Bearer {secret}"} if secret else {}
    answer = Client(raise_request_exception=False).generic(
        method,
        path,
        data="" if body is None else content,
        content_type="application/json",
        headers={**headers, "Accept": accept, "Host": host},
    )
    parts = b"".join(answer.streaming_content) if answer.streaming else answer.content
    request_id = answer["X-Request-ID"]
    headers = {name: value for name, value in answer.headers.items() if name not in ("X-Request-ID", "Date")}
    logged = [
        row._replace(request_id="", at=None, duration_ms=0, upstream_ms=0)
        for row in rows
        if isinstance(row, recording.CallRecord)
    ]
    return [answer.status_code, headers, parts.replace(request_id.encode(), b"ID"), logged]


@pytest.mark.parametrize("name", REQUESTS)
def test_a_call_gets_the_same_without_the_middleware_of_pages(name, secrets, echo, settings, rows):
    settings.MLFLOW_URL = echo.url
    settings.ALLOWED_HOSTS = ["testserver"]
    for credential in CREDENTIALS:
        accept = "text/html" if credential == "browser" else "*/*"
        for host in HOSTS:
            got = []
            for middleware in (
                django_settings.MIDDLEWARE,
                [each for each in django_settings.MIDDLEWARE if each != SHORTCUT],
            ):
                settings.MIDDLEWARE = middleware
                got.append(responses(name, secrets[credential], host, accept=accept, rows=rows))
            assert got[0] == got[1], (credential, host)


def test_the_portals_own_health_below_a_mount_is_not_mlflows(secrets, echo, settings, client):
    settings.MLFLOW_URL = echo.url
    response = client.get("/api/mlflow/health/mlflow", headers={"Authorization": f"Bearer {secrets['key']}"})
    assert "mlflow" in response.json()["checks"]


def test_a_call_by_key_has_no_session(secrets, echo, settings, rows, client):
    settings.MLFLOW_URL = echo.url
    path = REQUESTS["get"][1]
    by_key = client.get(path, headers={"Authorization": f"Bearer {secrets['key']}"})
    by_nobody = client.get(path)
    assert (by_key.status_code, by_nobody.status_code) == (200, 401)
    assert not hasattr(by_key.wsgi_request, "session")
    assert hasattr(by_nobody.wsgi_request, "session")
