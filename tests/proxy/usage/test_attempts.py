"""Requests without a valid key: counted by reason, network and hour, whatever comes."""

import datetime
import random

import pytest

from proxy.usage.attempts import MAX_KEPT, MAX_KEPT_OF_NETWORK, AttemptBucket, Attempts, Refused, network_of
from tests.portals import wait_for
from tests.proxy.forwarding.test_forwarding import GET_EXPERIMENT

NOON = datetime.datetime(2026, 3, 4, 12, 0, tzinfo=datetime.UTC)
LATER = NOON + datetime.timedelta(minutes=59)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.77", "192.0.2.0/24"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("", ""),
        ("unix:", ""),
    ],
)
def test_an_address_counts_as_its_network(address, network):
    assert network_of(address) == network


def test_attempts_add_up_by_hour_reason_and_network():
    attempts = Attempts()
    for address, at in (("192.0.2.1", NOON), ("192.0.2.200", LATER), ("198.51.100.1", LATER)):
        attempts.add("unknown_key", address, at=at)
    attempts.add("no_key", "192.0.2.1", at=NOON + datetime.timedelta(hours=1))

    assert attempts.pop_counts() == {
        AttemptBucket(NOON, "unknown_key", "192.0.2.0/24"): 2,
        AttemptBucket(NOON, "unknown_key", "198.51.100.0/24"): 1,
        AttemptBucket(NOON + datetime.timedelta(hours=1), "no_key", "192.0.2.0/24"): 1,
    }
    assert not attempts.pop_counts()


def test_a_flood_from_everywhere_takes_bounded_memory_and_rows():
    attempts, chance = Attempts(buckets=100), random.Random(1)
    rows: set[AttemptBucket] = set()
    for _ in range(20):
        for _ in range(1000):
            attempts.add("unknown_key", f"2001:db8:{chance.getrandbits(16):x}:1::1", at=NOON)
        rows |= set(attempts.pop_counts())

    assert len(rows) <= 101
    assert AttemptBucket(NOON, "unknown_key", "") in rows
    assert len(attempts.known) <= 101


def test_a_new_hour_has_places_again_and_what_could_not_be_written_is_kept():
    attempts = Attempts(buckets=1)
    attempts.add("no_key", "192.0.2.1", at=NOON)
    attempts.add("no_key", "198.51.100.1", at=NOON)
    taken = attempts.pop_counts()
    attempts.restore(taken)
    attempts.add("no_key", "198.51.100.1", at=NOON + datetime.timedelta(hours=1))

    assert sum(attempts.pop_counts().values()) == 3
    assert sum(taken.values()) == 2


@pytest.mark.postgresql
def test_they_are_in_the_table_soon_and_have_no_rows_of_their_own(echo, echo_portal, echo_key):
    def counts() -> dict[str, int]:
        return dict(
            echo_portal.sql(
                "select reason, sum(count)::int from proxy_keylessattempt where network = '127.0.0.0/24' "
                "group by reason"
            )
        )

    before = counts()
    for _ in range(3):
        assert echo_portal.request("GET", GET_EXPERIMENT).status == 401
    wrong = echo_key["key"][:-1] + ("a" if echo_key["key"][-1] != "a" else "b")
    assert echo_portal.request("GET", GET_EXPERIMENT, key=wrong).status == 401

    def grown(now: dict[str, int]) -> bool:
        return (now.get("no_key", 0) - before.get("no_key", 0)) >= 3 and (
            now.get("malformed_key", 0) - before.get("malformed_key", 0)
        ) >= 1

    assert grown(wait_for(counts, grown, seconds=2))


def test_a_call_with_a_key_that_has_ended_is_its_holders_to_look_up(echo, echo_portal):
    issued = echo_portal.issue("eve", "--requests-per-minute", "2")
    echo_portal.manage("revoke_key", issued["id"])
    replies = [
        wait_for(
            lambda: echo_portal.request("GET", GET_EXPERIMENT, key=issued["key"]),
            lambda seen: seen.status == 401,
        )
        for _ in range(3)
    ]

    [[key_id]] = echo_portal.sql("select id from keys_apikey where public_id = %s", issued["id"])
    rows = echo_portal.calls(at_least=2, reason="revoked_key", key_id=key_id)

    assert [row["request_id"] for row in rows] == [reply.headers["X-Request-ID"] for reply in replies[:2]]
    [[used]] = echo_portal.sql("select last_used_at from keys_apikey where public_id = %s", issued["id"])
    assert used is None
    counted = "select coalesce(sum(count), 0) from proxy_keylessattempt where reason = 'revoked_key'"
    assert wait_for(lambda: echo_portal.sql(counted)[0][0]) >= 1  # the third is over the limit of a minute


def refused(number: int, at: datetime.datetime = NOON) -> Refused:
    name = f"req_{number:032x}"
    return Refused(
        request_id=name, at=at, status=401, reason="no_key", method="GET", path="/api", message="No key."
    )


def test_a_flood_keeps_few_refusals_and_leaves_room_for_others():
    attempts = Attempts()
    for number in range(10 * MAX_KEPT_OF_NETWORK):
        attempts.keep(refused(number), "192.0.2.1")
    attempts.keep(refused(1), "198.51.100.1")

    assert len(attempts.pop_refused()) == MAX_KEPT_OF_NETWORK + 1
    for number in range(2 * MAX_KEPT):
        attempts.keep(refused(number), f"2001:db8:{number:x}::1")
    assert len(attempts.pop_refused()) == MAX_KEPT - MAX_KEPT_OF_NETWORK - 1
    attempts.keep(refused(2), "192.0.2.1")
    assert attempts.pop_refused() == []
    later = refused(3, NOON + datetime.timedelta(hours=1))
    attempts.keep(later, "192.0.2.1")
    assert attempts.pop_refused() == [later]


def test_refusals_that_were_not_written_come_back_first():
    attempts = Attempts()
    attempts.keep(refused(1), "192.0.2.1")
    taken = attempts.pop_refused()
    attempts.keep(refused(2), "192.0.2.1")
    attempts.restore_refused(taken)

    assert attempts.pop_refused() == [refused(1), refused(2)]
