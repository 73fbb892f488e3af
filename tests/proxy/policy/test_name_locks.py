"""A turn is held by the call that took it, and by nobody's connection after it."""

from contextlib import suppress

import pytest
from django.db import DatabaseError, OperationalError, connection
from django.utils import timezone
from psycopg.conninfo import make_conninfo

from keys.credentials import cache
from keys.refusals import Refusal
from proxy.ledger import writer
from proxy.models import Registration
from proxy.policy import name_locks
from tests.portals import wait_for
from tests.proxy.logs import a_connection

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]

HELD = """
    select count(*) from pg_locks join pg_database d on d.oid = database
    where locktype = 'advisory' and classid = %s and granted and datname = current_database()
"""


def held() -> int:
    with a_connection() as other:
        return other.execute(HELD, [name_locks.NAMESPACE]).fetchone()[0]


def test_a_connection_that_is_thrown_away_takes_its_turns_with_it():
    name_locks.acquire(1)
    assert held() == 1

    name_locks.reconnect()

    assert wait_for(held, lambda count: count == 0) == 0


def test_a_turn_that_cannot_be_given_back_ends_with_its_connection():
    name_locks.acquire(1)
    connection.set_autocommit(False)
    with suppress(DatabaseError), connection.cursor() as cursor:
        cursor.execute("select 1/0")

    name_locks.release([1])

    assert wait_for(held, lambda count: count == 0) == 0


def test_a_row_that_cannot_be_written_over_a_connection_that_lives_leaves_the_turn_held():
    row = Registration(
        request_id="req_1", actor="test", environment="live", operation="x", kind="x", at=timezone.now()
    )
    name_locks.acquire(1)
    with connection.cursor() as cursor, a_connection() as other, other.transaction():
        other.execute("lock table proxy_registration")
        cursor.execute("set lock_timeout = '50ms'")
        with pytest.raises(OperationalError):
            writer.insert_with_retry(row)

    assert held() == 1
    with connection.cursor() as cursor:
        cursor.execute("reset lock_timeout")
    name_locks.release([1])
    assert held() == 0


def test_behind_a_pooler_in_transaction_mode_a_transaction_holds_the_turn(monkeypatch):
    monkeypatch.setattr(name_locks, "WAIT_SECONDS", 0.05)
    with name_locks.hold_in_transaction([1]):
        assert held() == 1
        assert not name_locks.try_once(1), "a session's lock and a transaction's exclude each other"
        with pytest.raises(Refusal, match="Other calls"), name_locks.hold_in_transaction([2]):
            pass
    assert held() == 0
    name_locks.acquire(1)
    with pytest.raises(Refusal, match="Other calls"), name_locks.hold_in_transaction([1]):
        pass
    name_locks.release([1])


def test_with_a_direct_address_the_locks_are_held_there_and_several_calls_hold_theirs(settings):
    """DATABASE_URL may then lead through a pooler that gives the next statement to another session."""
    parts = connection.get_connection_params()
    named = {name: parts[name] for name in ("host", "port", "user", "password", "dbname") if parts.get(name)}
    settings.DATABASE_LISTEN_URL = make_conninfo(**named, application_name="direct")

    assert not cache.keeps_sessions()
    with name_locks.hold_in_transaction([1]), name_locks.hold_in_transaction([2]), a_connection() as other:
        holders = other.execute(
            "select application_name from pg_locks join pg_stat_activity using (pid) where locktype = 'advisory' "
            "and classid = %s and granted and datname = current_database()",
            [name_locks.NAMESPACE],
        ).fetchall()

    assert holders == [("direct",), ("direct",)]
    assert wait_for(held, lambda count: count == 0) == 0
