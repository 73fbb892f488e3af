"""Exports and pages of one user stop neither health checks nor sign-in, nor other users' exports."""

import itertools
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from keys import page_slots
from keys.page_slots import MAX_EXPORTS, MAX_EXPORTS_EACH, PageSlot, PageSlots, exports, pages
from portal.http import page_slots as http_slots
from portal.http.page_slots import ExportContent
from proxy.upstream.time_share import TimeShare
from tests.portal.http.test_connections import not_reading
from tests.portals import Portal, portal, wait_for
from tests.proxy.upstream.test_time_share import Clock

EXPORT = "/api/v1/calls/export?form=csv"
ROWS = 10_000  # some 11 MB as CSV: more than the portal and the kernel buffer for a client
SOON = 1.0  # seconds
SOON_REFUSED = 10.0  # seconds, on a machine that is busy
ADD_CALLS = """
    INSERT INTO proxy_call (request_id, at, key_id, user_id, operation, method, path, object_kind, object_name, status,
        reason, bytes_in, bytes_out, duration_ms, upstream_ms, address, client, client_version)
    SELECT 'req_' || md5(number::text || key.public_id), now(), key.id, key.owner_id, 'runs.search', 'POST',
        repeat('/path', 180), '', '', 200, '', 10, 100, 1, 1, '192.0.2.1', 'mlflow', '3.17.2'
    FROM keys_apikey AS key, generate_series(1, %s) AS number WHERE key.public_id = %s
"""


@pytest.fixture
def running(echo_server) -> Iterator[Portal]:
    with portal(mlflow_url=echo_server.url) as running:
        yield running


def fastest(running: Portal, path: str, *, seconds: float = 5.0) -> float:
    """The shortest time of a successful response, of those that begin within `seconds`."""

    def attempt() -> float:
        started = time.monotonic()
        assert running.request("GET", path, timeout=seconds).status == 200
        return time.monotonic() - started

    return wait_for(attempt, lambda took: took < SOON, seconds=seconds)


@pytest.mark.postgresql
def test_exports_that_nobody_reads_stop_nobody_else(running):
    bob, alice = (running.issue(name, "--scope", "portal:read") for name in ("bob", "alice"))
    for key in (bob, alice):
        running.sql(ADD_CALLS, ROWS, key["id"])
    head = f"GET {EXPORT} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {bob['key']}\r\n\r\n"
    with not_reading(running, 36, head.encode()) as connections:
        for path in ("/health/live", "/health", "/account/login/", "/health/live"):
            assert fastest(running, path) < SOON, path

        refused = running.request("GET", EXPORT, key=bob["key"], timeout=SOON_REFUSED)
        assert (refused.status, refused.json()["reason"]) == (503, "too_many_exports")
        assert refused.headers["Retry-After"] == "30"
        whole = running.request("GET", EXPORT, key=alice["key"], timeout=30)
        assert (whole.status, whole.body.count(b"\r\n")) == (200, ROWS + 1)
        statuses = sorted(int(connection.recv(4096).split()[1]) for connection in connections)
        assert statuses == [200] * MAX_EXPORTS_EACH + [503] * (36 - MAX_EXPORTS_EACH)

    # Bob's connections are closed: his slots are free again.
    again = lambda: running.request("GET", EXPORT, key=bob["key"]).status  # noqa: E731
    assert wait_for(again, lambda status: status == 200) == 200


@pytest.mark.postgresql
def test_slow_readers_of_two_users_do_not_keep_all_slots(echo_server):
    assert MAX_EXPORTS_EACH <= MAX_EXPORTS // 2
    with ExitStack() as stack:
        running = stack.enter_context(
            portal(mlflow_url=echo_server.url, config="tests.portal.short_timeouts")
        )
        bob, charlie, alice = (
            running.issue(name, "--scope", "portal:read") for name in ("bob", "charlie", "alice")
        )
        connections = []
        for key in (bob, charlie):
            running.sql(ADD_CALLS, ROWS, key["id"])
        for key in (bob, charlie):
            head = f"GET {EXPORT} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key['key']}\r\n\r\n"
            connections += stack.enter_context(not_reading(running, MAX_EXPORTS_EACH, head.encode()))

        def export() -> int:
            return running.request("GET", EXPORT, key=alice["key"]).status

        for connection in connections:
            assert connection.recv(12, socket.MSG_PEEK) == b"HTTP/1.1 200", "each of them has a slot"
        served = wait_for(export, lambda status: status == 200, seconds=60)
        assert served == 200, "their connections are still open"


def test_an_export_rests_between_its_pieces_while_others_are_active(monkeypatch):
    share, slept, spent = TimeShare(share=0.1, longest=5.0, clock=Clock()), [], itertools.count(0.0, 0.01)
    monkeypatch.setattr(http_slots, "PROCESSOR", share)
    monkeypatch.setattr(http_slots.time, "sleep", slept.append)
    monkeypatch.setattr(http_slots.time, "thread_time", lambda: next(spent))
    export = lambda: ExportContent(iter([b"a", b"b"]), PageSlot(exports, "bob"))  # noqa: E731

    assert b"".join(export()) == b"ab"
    assert slept == [0, 0], "nobody else is there"
    share.note("alice")
    assert b"".join(export()) == b"ab"
    assert slept[2:] == pytest.approx([0.05, 0.1])


class Connection:
    """The server's end of a connection, which notes who is charged."""

    charged: tuple[str, float] | None = None

    def charge_to(self, user: str, weight: float = 1.0) -> None:
        self.charged = user, weight


@pytest.fixture
def no_exports(monkeypatch) -> None:
    monkeypatch.setattr(page_slots, "exports", PageSlots(most=0, most_each=0))


@pytest.fixture
def no_pages(monkeypatch) -> None:
    monkeypatch.setattr(page_slots, "pages", PageSlots(most=0, most_each=0))


@pytest.mark.django_db
class TestPeople:
    @pytest.mark.parametrize(
        "path",
        [
            "/account/calls/download.csv",
            "/account/registrations/download.jsonl",
            "/admin/keys/apikey/export/",
        ],
    )
    def test_an_export_too_many_gets_a_page_in_words(self, path, admin_client, no_exports):
        response = admin_client.get(path, headers={"Accept": "text/html", "User-Agent": "Mozilla/5.0"})
        assert (response.status_code, response["Retry-After"]) == (503, "30")
        assert "You can download 2 exports at once" in response.content.decode()

    @pytest.mark.parametrize("path", ["/account/", "/account/calls/", "/admin/", "/admin/proxy/call/"])
    def test_a_page_too_many_gets_a_page_in_words(self, path, admin_client, no_pages):
        response = admin_client.get(path, headers={"Accept": "text/html", "User-Agent": "Mozilla/5.0"})
        assert (response.status_code, response["Retry-After"]) == (503, "5")
        assert "Too many pages" in response.content.decode()

    @pytest.mark.parametrize("path", ["/account/calls/", "/admin/", "/api/v1/calls", "/api/v1/calls?size=0"])
    def test_a_page_is_charged_to_its_user(self, path, admin_client, admin_user):
        connection = Connection()
        admin_client.get(path, **{"gunicorn.socket": connection})
        assert connection.charged == (admin_user.public_id, 0.25)

    def test_sign_in_takes_no_slot(self, admin_client, no_pages):
        assert admin_client.get("/account/login/").status_code == 302
        assert admin_client.post("/account/logout/").status_code == 302

    @pytest.mark.parametrize(
        "path", ["/account/calls/", "/account/calls/download.csv", "/admin/", "/api/v1/calls"]
    )
    def test_each_slot_is_released(self, path, admin_client):
        for _ in range(MAX_EXPORTS + page_slots.MAX_PAGES):
            response = admin_client.get(path)
            assert response.status_code == 200
            if response.streaming:
                assert exports.held.total() == 1
                b"".join(response.streaming_content)  # the test client closes the response at its end
        assert not exports.held
        assert not pages.held
