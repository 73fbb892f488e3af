"""What the portal records of uploads and deletions that pass through it."""

import hashlib
import secrets

import pytest

from proxy.usage.artifact_events import ArtifactRecord, decode
from tests.echo import Script
from tests.portals import Portal, wait_for

pytestmark = [pytest.mark.postgresql, pytest.mark.server]
API = "/api/mlflow/api/2.0/mlflow-artifacts"


@pytest.fixture
def path() -> str:
    """A path of a run of nobody's."""
    return f"7/{secrets.token_hex(16)}/artifacts/model/weights.bin"


def send(portal: Portal, key: dict, method: str, path: str, body: bytes | None = None, **options):
    return portal.request(method, f"{API}/artifacts/{path}", key=key["key"], body=body, **options)


def events(portal: Portal, path: str) -> list[tuple]:
    return portal.sql(
        "select kind, size, sha256 from proxy_artifactevent where path = %s order by at, id", path
    )


def uploaded(body: bytes) -> tuple:
    return "uploaded", len(body), hashlib.sha256(body).hexdigest()


CHUNKED = [("Transfer-Encoding", "chunked")]


def test_an_upload_is_recorded_with_size_digest_key_and_request(echo, echo_portal, echo_key, path):
    body = secrets.token_bytes(200_000)

    reply = send(echo_portal, echo_key, "PUT", path, body)

    [row] = echo_portal.rows(
        "select event.*, key.public_id from proxy_artifactevent event join keys_apikey key on key.id = key_id "
        "where path = %s",
        path,
    )
    assert (row["kind"], row["size"], row["sha256"]) == uploaded(body)
    assert (row["public_id"], row["request_id"]) == (echo_key["id"], reply.headers["X-Request-ID"])


@pytest.mark.parametrize("body", [b"", b"5\r\nhello\r\n0\r\n\r\n"])
def test_empty_and_chunked_files_have_digests_too(body, echo, echo_portal, echo_key, path):
    headers = CHUNKED if body else [("Content-Length", "0")]

    assert send(echo_portal, echo_key, "PUT", path, body or None, headers=headers).status == 200

    assert events(echo_portal, path) == [uploaded(b"hello" if body else b"")]


@pytest.mark.parametrize("status", [400, 403, 500, 503])
def test_nothing_is_recorded_of_what_mlflow_does_not_accept(status, echo, echo_portal, echo_key, path):
    echo.script = Script(status=status, body=b"{}")

    send(echo_portal, echo_key, "PUT", path, b"bytes")

    assert events(echo_portal, path) == []


def test_nothing_is_recorded_of_half_an_upload(echo, echo_portal, echo_key, path):
    head = f"PUT {API}/artifacts/{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {echo_key['key']}\r\n"

    echo_portal.raw(f"{head}Content-Length: 9000\r\nConnection: close\r\n\r\n".encode(), b"x" * 4000)

    wait_for(lambda: echo_portal.calls(path=f"{API}/artifacts/{path}", at_least=1))
    assert events(echo_portal, path) == []


def test_overwriting_is_an_event_and_the_old_digest_counts_again_if_it_did_not_happen(
    echo, echo_portal, echo_key, path
):
    send(echo_portal, echo_key, "PUT", path, b"first")
    echo.script = Script(status=400, body=b"{}")
    send(echo_portal, echo_key, "PUT", path, b"refused")
    echo.script = None
    send(echo_portal, echo_key, "PUT", path, b"second")

    _, size, digest = uploaded(b"first")
    nothing = ("pending", None, "")
    kept = ("kept", size, digest)
    assert events(echo_portal, path) == [uploaded(b"first"), nothing, kept, nothing, uploaded(b"second")]


def test_a_file_counts_as_not_seen_when_the_outcome_of_overwriting_is_unknown(
    echo, echo_portal, echo_key, path
):
    send(echo_portal, echo_key, "PUT", path, b"first")
    echo.script = Script(status=500, body=b"{}")

    send(echo_portal, echo_key, "PUT", path, b"second")

    assert events(echo_portal, path)[-1] == ("pending", None, "")


def test_deleting_a_folder_is_an_event_of_every_file_in_it(echo, echo_portal, echo_key, path):
    folder = path.rpartition("/")[0]
    beside = f"{folder}0/other"  # the name that follows the folder's in order
    for name in (path, f"{folder}/a/b", beside):
        send(echo_portal, echo_key, "PUT", name, b"x")

    assert send(echo_portal, echo_key, "DELETE", folder).status == 200

    kinds = {name: events(echo_portal, name)[-1][0] for name in (path, f"{folder}/a/b", beside)}
    assert kinds == {path: "deleted", f"{folder}/a/b": "deleted", beside: "uploaded"}


def test_an_event_survives_the_spool():
    record = ArtifactRecord(
        at=decode(b'["artifact", 1.5, "live", "p", "deleted", null, "", 1, 2, "r"]').at,
        environment="live",
        path="p",
        kind="deleted",
        size=None,
        sha256="",
        key_id=1,
        user_id=2,
        request_id="r",
    )

    assert decode(record.encode()) == record
