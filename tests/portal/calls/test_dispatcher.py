"""Calls by key skip Django's handler: each has the same response, and the same rows in log and ledger, as with it."""

import io
import json
import os
import random
import re
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime

import pytest
from django.core import signals
from django.core.handlers.wsgi import WSGIHandler
from django.db import close_old_connections, transaction
from django.middleware.security import SecurityMiddleware
from django.test import RequestFactory

from keys import actions
from keys.credentials.cache import RowCache
from keys.models import User
from portal.calls import dispatcher
from portal.calls.dispatcher import PortalHandler
from portal.http.requests import PortalRequest
from proxy.models import Registration
from proxy.routes.table import OPERATIONS
from proxy.usage import recording

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
    "key-in-query": ("GET", f"{API}/experiments/get?api_key=hk_live_abcdefgh", None),
    "mount": ("GET", "/api/mlflow", None),
    "mount-with-slash": ("GET", "/api/mlflow/", None),
    "mlflows-health": ("GET", "/api/mlflow/health", None),
    "not-a-mount": ("GET", "/api/mlflower", None),
    "not-utf-8": ("GET", "/api/mlflow/%ff", None),
    "api": ("GET", "/api/v1/keys/", None),
    "page": ("GET", "/admin/", None),
}
CREDENTIALS = ("key", "revoked", "mistyped", "none", "browser")
HOSTS = ("testserver", "elsewhere.example")
CHANGING = re.compile(r"req_[0-9a-f]{32}|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z?|nonce-[^']+|csrf[^>]+>")


class DjangosHandler(WSGIHandler):
    request_class = PortalRequest


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
    return kept


@pytest.fixture
def handlers(settings, echo, monkeypatch) -> Iterator[list]:
    settings.MLFLOW_URL = echo.url
    settings.ALLOWED_HOSTS = ["testserver"]
    for name in (
        *("proxy.forwarding.close_old_connections", "proxy.provenance.events.close_old_connections"),
        *("proxy.views.give_back_connection", "portal.calls.dispatcher.give_back_connection"),
    ):
        monkeypatch.setattr(name, lambda: None)  # it has the test's transaction
    # From the second call on, as in production, the key comes from this process's memory.
    monkeypatch.setattr(RowCache, "peek", lambda cache, name: (e := cache.entries.get(name)) and e.value)
    ends = (signals.request_started, signals.request_finished)
    for signal in ends:
        signal.disconnect(close_old_connections)
    yield [PortalHandler(), DjangosHandler()]
    for signal in ends:
        signal.connect(close_old_connections)


def environment(method: str, path: str, body: object, headers: dict[str, str]) -> dict:
    content = body if isinstance(body, str) else json.dumps(body)
    request = RequestFactory().generic(
        method, path, data="" if body is None else content, content_type="application/json", headers=headers
    )
    return {
        **request.environ,
        "RAW_URI": path,
        "wsgi.input": io.BytesIO(request.environ["wsgi.input"].read()),
    }


def outcome(handler: WSGIHandler, environ: dict, rows: list) -> tuple:
    """Status, headers, body, and the rows of log and ledger, without what differs from call to call."""
    rows.clear()
    started: list = []
    with transaction.atomic():
        before = set(Registration.objects.values_list("pk", flat=True))
        response = handler(environ, lambda status, headers: started.extend([status, dict(headers)]))
        try:
            body = b"".join(response)
        finally:
            response.close()
        fields = ("operation", "object_name", "version", "outcome", "tags", "user_id", "key_id", "address")
        ledger = list(Registration.objects.exclude(pk__in=before).values_list(*fields))
        transaction.set_rollback(True)
    logged = [
        row._replace(request_id="", at=None, duration_ms=0, upstream_ms=0)
        for row in rows
        if isinstance(row, recording.CallRecord)
    ]
    status, headers = started
    text = CHANGING.sub("", body.decode("latin-1"))
    headers = {name: CHANGING.sub("", value) for name, value in headers.items() if name != "Date"}
    if "Expires" in headers:  # at once: the present second, in which the other handler's response may not be
        assert abs(time.time() - parsedate_to_datetime(headers["Expires"]).timestamp()) < 60
        headers["Expires"] = "at once"
    return status, headers, text, logged, ledger


def headers_of(credential: str, secret: str, host: str) -> dict[str, str]:
    headers = {"Authorization": f"Bearer {secret}"} if secret else {}
    return {**headers, "Accept": "text/html" if credential == "browser" else "*/*", "Host": host}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_call_gets_the_same_without_djangos_handler(name, secrets, handlers, rows):
    for credential in CREDENTIALS:
        for host in HOSTS:
            headers = headers_of(credential, secrets[credential], host)
            got = [outcome(handler, environment(*REQUESTS[name], headers), rows) for handler in handlers]
            assert got[0] == got[1], (credential, host)


def generated(seed: int) -> list[tuple]:
    """Requests for many operations: some valid, others with broken paths, queries, bodies and headers."""
    choose = random.Random(seed)
    requests = []
    for operation in choose.sample(OPERATIONS, int(os.environ.get("PARITY", 60))):
        path = re.sub(r"[{<][^}>]*[}>]", "a1", operation.path)
        mount = choose.choice(["", "/mlflow", "/api/mlflow", "/api/mlflow"])
        fields = {each.field: choose.choice(["1", "a" * 32, 7, None]) for each in operation.targets}
        body = choose.choice([fields, fields, {}, "", "{", '{"a": 1, "a": 2}', None])
        query = choose.choice(["", "", "?experiment_id=1", "?a=%zz", "?a=1&a=2", "?x=%0a"])
        path = choose.choice([path, path, path, path + "/", path + "//x", path.replace("a", "%61", 1)])
        extra = choose.choice([{}, {}, {"X-Hokusai-User-Id": "9"}, {"Range": "bytes=0-1"}])
        requests.append((operation.method.upper(), mount + path + query, body, extra))
    return requests


def test_each_operation_gets_the_same_without_djangos_handler(secrets, handlers, rows):
    """With PARITY=333, every operation."""
    taken, requests = 0, generated(17)
    for method, path, body, extra in requests:
        headers = {**headers_of("key", secrets["key"], "testserver"), **extra}
        got = [outcome(handler, environment(method, path, body, headers), rows) for handler in handlers]
        assert got[0] == got[1], (method, path, body)
        taken += dispatcher.find_mount(environment(method, path, body, headers)) is not None
    assert taken > len(requests) / 2


def test_the_portals_own_health_below_a_mount_is_not_mlflows(secrets, echo, settings, client):
    settings.MLFLOW_URL = echo.url
    response = client.get("/api/mlflow/health/mlflow", headers={"Authorization": f"Bearer {secrets['key']}"})
    assert "mlflow" in response.json()["checks"]


@pytest.mark.parametrize(
    ("headers", "mount"),
    [
        ({"HTTP_AUTHORIZATION": "Bearer x"}, "/api/mlflow"),
        ({"HTTP_X_API_KEY": "x"}, "/api/mlflow"),
        ({}, None),
        ({"HTTP_AUTHORIZATION": "Bearer x", "HTTP_COOKIE": "sessionid=1"}, None),
    ],
)
def test_only_a_call_by_key_without_a_cookie_skips_djangos_handler(headers, mount):
    assert dispatcher.find_mount({"PATH_INFO": "/api/mlflow/version", **headers}) == mount


def test_an_error_of_the_portals_is_a_500_that_is_logged(secrets, handlers, rows, monkeypatch, caplog):
    def broken(*arguments: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr("proxy.forwarding.read_target", broken)
    environ = environment(*REQUESTS["get"], headers_of("key", secrets["key"], "testserver"))
    got = []
    for handler in handlers:
        caplog.clear()
        got.append((outcome(handler, dict(environ), rows), [record.name for record in caplog.records]))
    assert got[0] == got[1]
    assert got[0][0][0].startswith("500")
    assert "django.request" in got[0][1]


def test_a_call_over_https_gets_the_header_of_strict_transport(
    secrets, handlers, rows, settings, monkeypatch
):
    settings.SECURE_HSTS_SECONDS = 60
    monkeypatch.setattr(dispatcher, "SECURITY", SecurityMiddleware(dispatcher.no_response))
    always = {is_secure: dispatcher.headers_of_middleware(is_secure=is_secure) for is_secure in (False, True)}
    monkeypatch.setattr(dispatcher, "ALWAYS", always)
    environ = environment(*REQUESTS["get"], headers_of("key", secrets["key"], "testserver"))
    for scheme in ("https", "http"):
        made = [PortalHandler(), DjangosHandler()]
        got = [outcome(handler, {**environ, "wsgi.url_scheme": scheme}, rows) for handler in made]
        assert got[0] == got[1]
        assert ("Strict-Transport-Security" in got[0][1]) == (scheme == "https")
