"""Every state, kind and overlap has its colour and its words."""

import datetime

from keys.actions.overlaps import OVERLAPS
from keys.lists.colours import EVENT_COLOURS, STATE_COLOURS
from keys.lists.event_words import describe_event
from keys.models import ApiKey, KeyEvent


def test_every_state_and_every_kind_of_event_has_a_colour():
    assert set(STATE_COLOURS) == set(ApiKey.State.values)
    assert set(EVENT_COLOURS) == set(KeyEvent.Kind.values)


def test_an_overlap_is_as_long_as_its_words_say():
    assert {name: overlap.length for name, overlap in OVERLAPS.items()} == {
        "now": datetime.timedelta(0),
        "1h": datetime.timedelta(hours=1),
        "24h": datetime.timedelta(hours=24),
        "7d": datetime.timedelta(days=7),
        "30d": datetime.timedelta(days=30),
    }
    assert OVERLAPS["7d"].label == "In 7 days"


def test_a_rotation_says_when_the_old_secret_ends():
    def words(overlap: str) -> list[str]:
        return describe_event(KeyEvent(kind=KeyEvent.Kind.ROTATED, detail={"overlap": overlap}))

    assert words("now") == ["The old secret ends at once"]
    assert words("24h") == ["The old secret ends after 24 hours"]
