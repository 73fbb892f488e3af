"""What is remembered of keys: trusted while PostgreSQL is heard, gone on with while it is away."""

import threading
import time

import pytest
from django.db import DatabaseError, OperationalError

from keys.credentials import cache
from keys.credentials.cache import Pulse, RowCache


@pytest.fixture
def pulse(monkeypatch) -> Pulse:
    """As if a listener heard PostgreSQL just now; it was long ago that anything was asked."""
    monkeypatch.setattr(cache, "UNHEARD_SECONDS", 1.0)
    monkeypatch.setattr(cache, "holds_connection", lambda: False)  # of an earlier test
    pulse = Pulse()
    pulse.has_listener = True
    pulse.beat()
    return pulse


def known(pulse: Pulse, value: str = "good") -> RowCache[str]:
    remembered: RowCache[str] = RowCache(pulse=pulse)
    assert remembered.get("key", lambda: value) == value
    remembered.distrust_all()
    return remembered


def fail() -> str:
    raise OperationalError("away")


def test_a_known_key_waits_for_no_pool_while_postgresql_is_away(pulse):
    remembered, release, asked = known(pulse), threading.Event(), []

    def slow() -> str:
        asked.append(1)
        release.wait(10)
        return fail()

    pulse.lose()
    started = time.monotonic()
    assert [remembered.get("key", slow) for _ in range(50)] == ["good"] * 50
    assert time.monotonic() - started < 1.0
    assert len(asked) == 1, "one at a time asks"
    release.set()


def test_an_unknown_key_is_not_made_up(pulse):
    pulse.lose()
    with pytest.raises(OperationalError):
        known(pulse).get("other", fail)


def test_nothing_is_gone_on_with_for_ever(pulse, monkeypatch):
    remembered = known(pulse)
    monkeypatch.setattr(cache, "OUTAGE_SECONDS", 0.0)
    pulse.lose()
    with pytest.raises(DatabaseError, match="too long"):
        remembered.get("key", fail)


def test_while_postgresql_is_heard_its_answer_is_waited_for(pulse):
    """What it says counts, however long it takes: the key may have been revoked."""
    remembered = known(pulse)

    def slow() -> str:
        for _ in range(4):
            time.sleep(0.1)
            pulse.beat()
        return "narrower"

    assert remembered.get("key", slow) == "narrower"
    assert remembered.get("key", fail) == "narrower"


def test_a_quick_answer_counts_even_if_the_listener_is_lost(pulse):
    remembered = known(pulse)
    pulse.lose()
    assert remembered.get("key", lambda: None) is None
    assert remembered.get("key", lambda: "again") == "again"


def test_silence_counts_as_loss_and_a_word_ends_it(pulse):
    assert pulse.is_steady
    pulse.lose()
    assert not pulse.is_steady
    pulse.beat()
    assert pulse.is_steady
