"""Which hosts are served, and what caches may keep."""

import logging

import pytest

from tests.echo import Script
from tests.portal.http.test_health import GET_EXPERIMENT, PATHS

PROBED = (*PATHS, "/metrics")


@pytest.mark.postgresql
@pytest.mark.parametrize(
    "head",
    [
        "HTTP/1.0\r\n",  # HAProxy
        "HTTP/1.1\r\nHost: 10.1.2.3:8000\r\nConnection: close\r\n",  # Caddy, Prometheus, kubelet
        "HTTP/1.1\r\nHost: replica-7\r\nConnection: close\r\n",  # Varnish
        "HTTP/1.1\r\nHost: \r\nConnection: close\r\n",
        "HTTP/1.1\r\nConnection: close\r\n",
    ],
)
def test_probes_are_answered_whatever_host_they_name(echo, echo_portal, head):
    for path in PROBED:
        assert echo_portal.exchange(f"GET {path} {head}\r\n".encode()).status == 200, path


def test_elsewhere_a_foreign_host_is_refused_and_the_log_names_the_setting(client, caplog):
    with caplog.at_level(logging.WARNING):
        reply = client.get("/docs/", headers={"Host": "replica-7:8000"})

    record = next(record for record in caplog.records if record.getMessage() == "host_refused")
    assert reply.status_code == 400
    assert "replica-7:8000" in reply.json()["message"]
    assert (record.host, record.setting) == ("replica-7:8000", "ALLOWED_HOSTS")
    assert "ALLOWED_HOSTS" in record.advice


@pytest.mark.postgresql
@pytest.mark.parametrize("given", [None, "public, max-age=600", "private, max-age=600", "no-store"])
def test_no_cache_may_keep_what_a_key_got(echo, echo_portal, echo_key, given):
    echo.script = Script(body=b"{}", headers=[("Cache-Control", given)] if given else [])

    for header in [("X-API-Key", echo_key["key"]), ("Authorization", f"Bearer {echo_key['key']}")]:
        reply = echo_portal.request("GET", GET_EXPERIMENT, headers=[header])
        assert reply.headers.get_all("Cache-Control") == ["private, no-store"]


@pytest.mark.parametrize("path", ["/account/", "/admin/", "/docs/", "/api/v1/keys", "/api/v1/schema/"])
def test_no_cache_may_keep_what_a_session_got(cast, alice, path):
    assert alice.get(path)["Cache-Control"] == "private, no-store"


def test_caches_may_keep_the_portals_own_files(alice):
    reply = alice.get("/static/portal/icon.svg")
    reply.close()
    assert "public" in reply["Cache-Control"]
