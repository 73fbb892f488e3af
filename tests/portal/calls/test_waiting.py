"""A burst of one key waits for slots in the server's event loop, and nothing is refused."""

import http.client
import re
import threading

import pytest

from tests.echo import Script
from tests.portals import wait_for
from tests.proxy.forwarding.test_forwarding import GET_EXPERIMENT

pytestmark = pytest.mark.server
CALLS = 40


def queued(port: int) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return int(float(re.search(r'hokusai_calls_queued\{kind="calls"\} ([0-9.]+)', text)[1]))


def call(port: int, key: dict) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", GET_EXPERIMENT, headers={"Authorization": f"Bearer {key['key']}"})
    return connection


def test_calls_beyond_the_slots_of_a_key_wait_and_one_that_leaves_is_forgotten(echo, echo_portal, echo_key):
    hold = threading.Event()
    echo.script = Script(hold=hold)
    port = int(echo_portal.url.rsplit(":", 1)[1])
    connections = [call(port, echo_key) for _ in range(CALLS)]
    try:
        assert wait_for(lambda: queued(port) >= CALLS // 2, seconds=8)
        waiting = queued(port)
        connections.pop().close()
        assert wait_for(lambda: queued(port) == waiting - 1, seconds=5)
    finally:
        hold.set()
    statuses = []
    for connection in connections:
        response = connection.getresponse()
        response.read()
        statuses.append(response.status)
        connection.close()
    assert statuses == [200] * len(connections)
    assert queued(port) == 0
