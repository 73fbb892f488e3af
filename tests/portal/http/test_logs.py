"""No key stands in a log, whoever wrote it there; and each line can be read, by machines and by people."""

import base64
import io
import json
import logging
import re
from urllib.parse import quote

import pytest

from keys.credentials import tokens
from portal.http import logs
from portal.http.logs import Json, Text, WithoutKeys, request_id
from tests.portals import wait_for

KEY = tokens.generate().secret
ENCODED = "".join(f"%{ord(letter):02x}" for letter in KEY)


@pytest.fixture(autouse=True)
def _no_request():
    request_id.set("")


def line(message, *arguments, error=None, form=Json, **extra) -> str:
    exc_info = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord("django.request", logging.WARNING, "x.py", 1, message, arguments, exc_info)
    record.__dict__ |= extra
    assert WithoutKeys().filter(record)
    return form().format(record)


def test_a_key_in_a_message_or_its_arguments_is_hidden():
    assert KEY not in line(f"Not Found: /{KEY}") + line("Not Found: %s", f"/api/mlflow/{KEY}")
    assert json.loads(line("Not Found: %s", "/x"))["event"] == "Not Found: /x"


@pytest.mark.parametrize("form", [Json, Text, logging.Formatter])
def test_a_key_in_a_traceback_is_hidden(form):
    try:
        raise ValueError(KEY)
    except ValueError as error:
        text = line("failed", error=error, form=form)

    assert "ValueError" in text
    assert KEY not in text


@pytest.mark.parametrize("form", [Json, Text])
@pytest.mark.parametrize(
    "value",
    [KEY, [KEY], {"a": {"b": (KEY,)}}, {KEY: 1}, ValueError(KEY), quote(KEY), ENCODED],
    ids=["text", "list", "deep", "name", "error", "quoted", "encoded"],
)
def test_a_key_in_a_field_is_hidden(form, value):
    text = line("event", form=form, found=value, stack_info=KEY)

    assert KEY not in text
    assert ENCODED not in text
    assert "(hidden)" in text


def test_a_line_of_json_is_an_event_and_its_fields():
    said = json.loads(line("listener_lost", error_name="OSError", request_id="req_1", count=3))

    assert said.pop("time").endswith("+00:00")
    assert said == {
        "level": "warning",
        "logger": "django.request",
        "event": "listener_lost",
        "error_name": "OSError",
        "request_id": "req_1",
        "count": 3,
    }


def test_a_line_of_text_cannot_be_forged():
    said = line("call", form=Text, client="x\n2026 INFO forged", status=200)

    assert len(said.splitlines()) == 1
    assert said.endswith('django.request call client="x\\n2026 INFO forged" status=200')


def requests(key: str) -> list[tuple[str, str, list[tuple[str, str]], bytes | None]]:
    """A key in every place where people and programs put it."""
    get, search = "/api/mlflow/api/2.0/mlflow/experiments/get", "/api/mlflow/api/2.0/mlflow/runs/search"
    encoded = "".join(f"%{ord(letter):02x}" for letter in key)
    basic = base64.b64encode(f"user:{key}".encode()).decode()
    json_body = json.dumps({"experiment_ids": [key], "filter": key}).encode()
    bearer = [("Authorization", f"Bearer {key}")]
    return [
        ("GET", f"{get}?experiment_id=0", bearer, None),
        ("GET", f"{get}?experiment_id=0", [("Authorization", f"Basic {basic}")], None),
        ("GET", f"{get}?experiment_id=0", [("X-API-Key", key)], None),
        ("GET", f"{get}?experiment_id=0", [("Authorization", f"Token {key}")], None),
        ("GET", f"{get}?experiment_id=0", [("Authorization", f"Basic {key}")], None),
        ("GET", f"{get}?experiment_id=0", [*bearer, ("X-API-Key", key[:-1])], None),
        ("GET", f"{get}?experiment_id={key}", bearer, None),
        ("GET", f"{get}?api_key={key}", [], None),
        ("GET", f"{get}?api_key={encoded}", [], None),
        ("GET", f"{get}?{key[:20]}={key[20:]}", bearer, None),
        ("GET", f"/{key}", [], None),
        ("GET", f"/{encoded}", bearer, None),
        ("GET", f"/api/mlflow/{key[:22]}/{key[22:]}", bearer, None),
        ("GET", f"/admin/{key}/", [], None),
        ("GET", f"/health/{key}", [], None),
        (
            "GET",
            f"{get}?experiment_id=0",
            [*bearer, ("User-Agent", key), ("Cookie", f"sessionid={key}")],
            None,
        ),
        ("GET", f"{get}?experiment_id=0", [*bearer, ("X-Request-ID", key), ("Referer", f"/{key}")], None),
        ("GET", "/", [("Host", key)], None),
        ("POST", search, bearer, json_body),
        ("POST", search, bearer, b"{" + key.encode()),
        ("POST", "/account/login/", [], f"login={key}&password={key}".encode()),
        (key, "/api/mlflow/version", bearer, None),
    ]


def test_whatever_a_caller_does_with_a_key_it_is_in_no_log(echo, echo_portal):
    key = echo_portal.issue("careless")["key"]
    replies = [
        echo_portal.request(method, target, headers=headers, body=body)
        for method, target, headers, body in requests(key)
    ]
    for head in (f"GET /?k={key} HTTP/9", f"GET /{key}", f"{key} / HTTP/1.1\r\nHost: x\r\n{key}: a\r\n bad"):
        echo_portal.raw(f"{head}\r\n\r\n".encode())
    answered = {reply.headers["X-Request-ID"] for reply in replies}
    log = wait_for(
        echo_portal.log.read_text, lambda text: all(name in text for name in answered if name), seconds=5
    )

    assert {reply.status for reply in replies} >= {200, 400, 401, 404}
    encoded = "".join(f"%{ord(letter):02x}" for letter in key)
    for form in (key, key[8:34], key[22:], encoded[-36:], base64.b64encode(f"user:{key}".encode()).decode()):
        assert form not in log


def test_each_call_is_one_line_that_says_who_and_what(echo, echo_portal, echo_key):
    target = "/api/mlflow/api/2.0/mlflow/runs/search"
    done = echo_portal.request("POST", target, key=echo_key["key"], body={"experiment_ids": ["0"]})
    refused = echo_portal.request("GET", "/api/mlflow/api/2.0/mlflow/nonsense", key=echo_key["key"])
    keyless = echo_portal.request("GET", "/api/mlflow/version")
    page = echo_portal.request("GET", "/")

    said = {
        reply.headers["X-Request-ID"]: line_of(echo_portal, reply) for reply in (done, refused, keyless, page)
    }
    first = said[done.headers["X-Request-ID"]]
    times = {first.pop("ms"), first.pop("upstream_ms")}
    assert min(times) > 0
    assert first == {
        "level": "info",
        "logger": "portal.access",
        "event": "call",
        "request_id": done.headers["X-Request-ID"],
        "method": "POST",
        "operation": "runs.search",
        "status": 200,
        "reason": "",
        "key_id": echo_key["id"],
        "user_id": echo_key["user_id"],
        "address": "127.0.0.1",
        "bytes_in": len(b'{"experiment_ids": ["0"]}'),
        "bytes_out": len(done.body),
    }
    shown = [
        (each.get("operation"), each["status"], each.get("reason"), each.get("page"))
        for each in said.values()
    ]
    assert shown[1:] == [("", 404, "not_a_route", None), ("", 401, "no_key", None), (None, 200, None, "home")]


def line_of(portal, reply) -> dict:
    name = reply.headers["X-Request-ID"]
    found = wait_for(lambda: [text for text in portal.log.read_text().splitlines() if name in text])
    assert len(found) == 1
    said = json.loads(found[0])
    del said["time"]
    return said


def test_a_line_that_is_written_directly_is_the_one_that_logging_writes(monkeypatch):
    out = [io.StringIO(), io.StringIO()]
    handlers = [logging.StreamHandler(each) for each in out]
    for handler in handlers:
        handler.setFormatter(logs.Json())
        handler.addFilter(logs.WithoutKeys())
    values = {"request_id": "req_1", "method": "GET", "status": 200, "reason": "", "ms": 1.5, "address": "é"}
    record = logging.LogRecord("portal.access", logging.INFO, "", 0, "call", (), None)
    record.__dict__.update(values)
    handlers[0].handle(record)
    monkeypatch.setattr(logging.getLogger(), "handlers", [handlers[1]])
    assert logs.json_handler() is handlers[1]
    logs.write_line(handlers[1], "portal.access", "call", values)
    written, direct = (re.sub(r"[0-9]{4}-[0-9-]+T[0-9:.]+", "TIME", each.getvalue()) for each in out)
    assert written == direct


def test_lines_go_through_logging_while_anything_else_listens():
    assert logs.json_handler() is None  # pytest's handlers
