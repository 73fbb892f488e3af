"""The listener believes that it hears PostgreSQL only after it has heard itself."""

import logging

import pytest

from keys.credentials import cache
from keys.credentials.cache import Listener, Pulse, RowCache
from keys.database import connection_parameters
from tests.proxy.logs import a_connection


@pytest.fixture
def pulse(monkeypatch) -> Pulse:
    pulse = Pulse()
    monkeypatch.setattr(cache, "pulse", pulse)
    monkeypatch.setattr(cache, "UNHEARD_SECONDS", 1.0)
    monkeypatch.setattr(cache, "VERIFY_SECONDS", 0.2)
    return pulse


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_a_listener_hears_its_own_notification(pulse):
    pulse.is_deaf = True
    with a_connection() as listening:
        listening.execute(f"LISTEN {cache.CHANNEL}")
        Listener(connection_parameters()).verify(listening)

    assert not pulse.is_deaf


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_a_listener_that_hears_nothing_says_so(pulse, caplog, client):
    """As behind a pooler in transaction mode: each statement worked, and the session that listens is another's now."""
    with a_connection() as listening, caplog.at_level(logging.WARNING):
        Listener(connection_parameters()).verify(listening)
    [record] = [record for record in caplog.records if record.getMessage() == "listener_deaf"]

    assert "session mode" in record.advice
    assert client.get("/health").json()["checks"]["notifications"]["status"] == "degraded"


def test_without_notifications_nothing_is_trusted_for_longer_than_a_second(pulse):
    now = 100.0
    pulse.clock = lambda: now
    remembered: RowCache[str] = RowCache(pulse=pulse)
    pulse.beat()
    pulse.is_deaf = True
    assert remembered.get("key", lambda: "good") == "good"
    assert remembered.get("key", lambda: "revoked") == "good"
    now += 1.0
    pulse.beat()
    assert remembered.get("key", lambda: "revoked") == "revoked"


def test_a_thread_with_a_connection_waits_for_no_second_one(pulse, monkeypatch):
    """A pooler may have fewer connections than the portal has threads."""
    pulse.has_listener = True
    remembered: RowCache[str] = RowCache(pulse=pulse)
    remembered.get("key", lambda: "good")
    remembered.distrust_all()
    monkeypatch.setattr(cache, "holds_connection", lambda: True)
    monkeypatch.setattr(remembered, "fetch_in_thread", None)

    assert remembered.get("key", lambda: "narrower") == "narrower"
