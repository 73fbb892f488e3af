"""Slots of pages and exports."""

import threading

import pytest

from keys import page_slots
from keys.page_slots import PageSlots


@pytest.fixture
def slots() -> PageSlots:
    return PageSlots(most=3, most_each=2, most_waiting=2, most_waiting_each=1)


@pytest.fixture
def exports() -> PageSlots:
    return PageSlots(most=3, most_each=2)


def test_one_user_leaves_slots_to_another(exports):
    assert exports.take("bob")
    assert exports.take("bob")
    assert exports.take("bob") is None
    assert exports.take("alice")
    assert exports.take("charlie") is None


def test_a_released_slot_is_free_once(exports):
    first, _ = exports.take("bob"), exports.take("bob")
    first.release()
    first.release()
    assert exports.take("bob")
    assert exports.take("bob") is None


@pytest.mark.django_db
def test_a_page_waits_until_another_one_ends(slots):
    held = [slots.take("bob"), slots.take("bob")]
    results = []
    waiting = threading.Thread(target=lambda: results.append(slots.take("bob")))
    waiting.start()
    assert slots.take("alice"), "a user whose own slots are free does not wait"
    while not slots.waiting["bob"]:
        pass
    assert slots.take("bob") is None, "one waits already"
    held[0].release()
    waiting.join(10)
    assert results[0].user == "bob"
    assert not slots.waiting


@pytest.mark.django_db
def test_a_page_waits_for_a_limited_time(slots, monkeypatch):
    monkeypatch.setattr(page_slots, "WAIT_SECONDS", 0.01)
    assert slots.take("bob")
    assert slots.take("bob")
    assert slots.take("bob") is None
    assert not slots.waiting
