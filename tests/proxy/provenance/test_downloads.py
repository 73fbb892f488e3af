"""A download is the file that was uploaded, or it does not end as if it were."""

import secrets

import pytest

from tests.echo import BLOCK, Script
from tests.portals import wait_for
from tests.proxy.provenance.test_writes import API, events, path, send  # noqa: F401  a fixture

pytestmark = [pytest.mark.postgresql, pytest.mark.server]
CONTENT = BLOCK * 4
OCTETS = ("Content-Type", "application/octet-stream")


@pytest.fixture
def uploaded(echo, echo_portal, echo_key, path) -> str:  # noqa: F811
    assert send(echo_portal, echo_key, "PUT", path, CONTENT).status == 200
    return path


def alerts(portal, found: str) -> list:
    return portal.sql("select kind, key_id from keys_alert where detail->>'path' = %s", found)


def fetch(portal, key: dict, path: str) -> bytes:  # noqa: F811
    """What comes over the wire until the portal closes the connection."""
    head = f"GET {API}/artifacts/{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key['key']}"
    return portal.raw(f"{head}\r\nConnection: close\r\n\r\n".encode())


def stored(body: bytes, *headers: tuple[str, str], status: int = 200) -> Script:
    return Script(status=status, headers=[OCTETS, *headers], body=body)


def test_the_file_that_was_uploaded_arrives(echo, echo_portal, echo_key, uploaded):
    echo.script = stored(CONTENT)

    reply = send(echo_portal, echo_key, "GET", uploaded)

    assert (reply.status, reply.body) == (200, CONTENT)


@pytest.mark.parametrize("change", ["first byte", "last byte", "shorter"])
def test_another_file_never_looks_complete_and_raises_one_alert(
    change, echo, echo_portal, echo_key, uploaded
):
    other = {"first byte": b"x" + CONTENT[1:], "last byte": CONTENT[:-1] + b"x", "shorter": CONTENT[:-9]}
    echo.script = stored(other[change])

    for _ in range(2):
        assert len(CONTENT) > len(fetch(echo_portal, echo_key, uploaded).partition(b"\r\n\r\n")[2]) > 0

    assert [kind for kind, *_ in events(echo_portal, uploaded)] == ["uploaded", "different"]
    assert alerts(echo_portal, uploaded) == [("artifact_changed", None)]
    calls = wait_for(
        lambda: echo_portal.sql("select reason from proxy_call where path like %s", f"%{uploaded}"),
        lambda rows: len(rows) == 3,
    )
    assert [reason for (reason,) in calls][1:] == ["artifact_changed"] * 2


def test_a_small_file_that_differs_is_refused_with_words(echo, echo_portal, echo_key, path):  # noqa: F811
    send(echo_portal, echo_key, "PUT", path, b"small")
    echo.script = stored(b"wrong")

    reply = send(echo_portal, echo_key, "GET", path)

    assert reply.status == 409
    assert "is not the one that was uploaded" in reply.json()["message"]
    assert b"wrong" not in reply.body


@pytest.mark.parametrize(
    ("status", "headers", "arrives"),
    [
        (206, [("Content-Range", f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}")], False),
        (206, [("Content-Range", f"bytes 0-{len(CONTENT) - 1}/{2 * len(CONTENT)}")], True),
        (206, [("Content-Range", f"bytes 5-{len(CONTENT) - 1}/{len(CONTENT)}")], True),
        (200, [("Content-Encoding", "gzip")], True),
    ],
)
def test_a_range_is_compared_if_it_is_the_whole_file(
    status, headers, arrives, echo, echo_portal, echo_key, uploaded
):
    echo.script = stored(secrets.token_bytes(len(CONTENT)), *headers, status=status)

    if arrives:
        reply = send(echo_portal, echo_key, "GET", uploaded)
        [call] = echo_portal.calls(request_id=reply.headers["X-Request-ID"])
        assert (reply.status, call["reason"]) == (status, "unchecked")
    else:
        assert len(fetch(echo_portal, echo_key, uploaded)) < len(CONTENT)


def test_files_without_a_digest_pass(echo, echo_portal, echo_key, uploaded):
    echo.script = Script(status=500, body=b"{}")
    send(echo_portal, echo_key, "PUT", uploaded, b"second")  # its outcome is unknown
    echo.script = stored(b"second")

    assert send(echo_portal, echo_key, "GET", uploaded).body == b"second"
