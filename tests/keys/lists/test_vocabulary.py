"""Every state, kind and overlap has its colour and its words."""

import datetime

from keys.actions.overlaps import OVERLAPS
from keys.lists import colours
from keys.lists.colours import ALERT_COLOURS, COLOURS, EVENT_COLOURS, SHOWN_STATE_COLOURS, STATE_COLOURS
from keys.lists.event_words import describe_event
from keys.models import Alert, ApiKey, KeyEvent
from proxy.lists import colours as proxy_colours
from proxy.models import Registration, tag_rules


def test_every_state_and_every_kind_of_event_has_a_colour():
    assert set(STATE_COLOURS) == set(ApiKey.State.values)
    assert set(EVENT_COLOURS) == set(KeyEvent.Kind.values)
    assert set(ALERT_COLOURS) == set(Alert.Kind.values)
    assert set(proxy_colours.OUTCOME_COLOURS) == set(Registration.Outcome.values)
    assert set(proxy_colours.RULES_COLOURS) == {*tag_rules.STATES, tag_rules.QUARANTINED}


def test_all_badges_use_one_vocabulary_of_colours():
    tables = [
        table
        for module in (colours, proxy_colours)
        for name, table in vars(module).items()
        if name.endswith("_COLOURS")
    ]

    assert len(tables) >= 8
    assert {colour for table in tables for colour in table.values()} == set(COLOURS)


def test_what_is_a_security_incident_has_the_colour_of_danger():
    incidents = [EVENT_COLOURS["leaked"], EVENT_COLOURS["canary_used"], SHOWN_STATE_COLOURS["leaked"]]
    incidents += [ALERT_COLOURS["leaked"], ALERT_COLOURS["canary_used"]]

    assert {*incidents, proxy_colours.RULES_COLOURS["quarantined"]} == {"danger"}


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
