"""The usage log's partitions: one for each day (UTC), created in advance and dropped after the retention time.

A call whose day has no partition (because a clock has moved) goes to the default one. A partition is created as a table
and then attached. To drop one, the portal detaches it and then removes its files. Neither step waits long for readers
of the log or blocks them, whatever the size of the day.
"""

import datetime
import logging
from collections.abc import Callable, Iterable

import psycopg
from psycopg import sql

logger = logging.getLogger(__name__)

DAYS_AHEAD = 7
HOURS_KEPT = datetime.timedelta(days=14)  # of the totals by hour; those by day are kept
SEGMENTS_KEPT = datetime.timedelta(days=30)  # rows of removed segments, in case a backup restores one
LOCK = 4_816_283_301  # of the advisory lock: one process maintains partitions at a time
LOCK_SECONDS = 5  # how long to wait for the log's readers
PREFIX = "proxy_call_"
DEFAULT = "proxy_call_default"
DROPPED = "proxy_call_dropped_"  # detached, files not yet removed

Connection = psycopg.Connection[tuple[object, ...]]  # in autocommit mode
Change = Callable[[Connection, datetime.date], None]

# The history of a file is kept until the event that superseded it is past retention. Each run looks at a week of such
# events, so that its cost does not depend on the number of files.
FORGET_SUPERSEDED = """
    DELETE FROM proxy_artifactevent AS old USING proxy_artifactevent AS event
    WHERE event.at >= %(since)s AND event.at < %(until)s AND event.kind <> 'different'
    AND old.environment = event.environment AND old.path = event.path AND (old.at, old.id) < (event.at, event.id)
"""
FORGET_DELETED = """
    DELETE FROM proxy_artifactevent AS old
    WHERE at >= %(since)s AND at < %(until)s AND kind IN ('deleted', 'different') AND NOT EXISTS (
        SELECT FROM proxy_artifactevent AS event WHERE event.environment = old.environment
        AND event.path = old.path AND (event.at, event.id) > (old.at, old.id)
    )
"""


def name_of(day: datetime.date) -> str:
    return f"{PREFIX}{day:%Y%m%d}"


def days(connection: Connection) -> set[datetime.date]:
    """The days that have a partition."""
    rows = connection.execute(
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
        "WHERE i.inhparent = 'proxy_call'::regclass AND c.relname <> %s",
        [DEFAULT],
    ).fetchall()
    return {datetime.datetime.strptime(str(name), f"{PREFIX}%Y%m%d").date() for (name,) in rows}  # noqa: DTZ007


def maintain(connection: Connection, *, today: datetime.date, keep_days: int) -> tuple[int, int]:
    """Create the coming days' partitions and drop those past retention; returns how many of each.

    Each change is a transaction of its own. Raises psycopg.Error (for example because of a long read of the log): the
    changes before it are committed, and the next run makes the rest.
    """
    made = dropped = 0
    wanted = [today + datetime.timedelta(days=ahead) for ahead in range(-1, DAYS_AHEAD + 1)]
    oldest = today - datetime.timedelta(days=keep_days)
    for day in wanted:
        made += step(connection, day, make)
    for day in sorted(days(connection)):
        if day < oldest:
            dropped += step(connection, day, drop)
    remove_dropped(connection)
    with connection.transaction():
        delete_expired(connection, oldest)
    return made, dropped


def step(connection: Connection, day: datetime.date, change: Change) -> bool:
    """Create or drop one partition in a transaction of its own, unless it is done already. Returns whether it did."""
    with connection.transaction():
        connection.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        if (day in days(connection)) == (change is make):
            return False
        change(connection, day)
    logger.info("partition_made" if change is make else "partition_dropped", extra={"day": str(day)})
    return True


def make(connection: Connection, day: datetime.date) -> None:
    """Create a day's partition; calls of that day in the default partition move to it."""
    name, default = sql.Identifier(name_of(day)), sql.Identifier(DEFAULT)
    bounds = [f"{day} 00:00+00", f"{day + datetime.timedelta(days=1)} 00:00+00"]
    first, after = (sql.Literal(bound) for bound in bounds)
    connection.execute(
        sql.SQL("CREATE TABLE {} (LIKE proxy_call INCLUDING DEFAULTS INCLUDING CONSTRAINTS)").format(name)
    )
    connection.execute(
        sql.SQL(
            "WITH moved AS (DELETE FROM {} WHERE at >= {} AND at < {} RETURNING *) "
            "INSERT INTO {} SELECT * FROM moved"
        ).format(default, first, after, name)
    )
    connection.execute(
        sql.SQL("ALTER TABLE proxy_call ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})").format(
            name, first, after
        )
    )


def drop(connection: Connection, day: datetime.date) -> None:
    """Detach a day from the log, which takes the same time for any size. `remove_dropped` frees its disk space."""
    name, dropped = sql.Identifier(name_of(day)), sql.Identifier(f"{DROPPED}{day:%Y%m%d}")
    connection.execute(
        sql.SQL("DROP TABLE IF EXISTS {}").format(dropped)
    )  # a partition of the same day was dropped before
    connection.execute(sql.SQL("ALTER TABLE proxy_call DETACH PARTITION {}").format(name))
    connection.execute(sql.SQL("ALTER TABLE {} RENAME TO {}").format(name, dropped))


def remove_dropped(connection: Connection) -> int:
    """Remove the files of the detached days, which no reader uses; returns how many."""
    rows = connection.execute(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND starts_with(relname, %s)", [DROPPED]
    ).fetchall()
    for (name,) in rows:
        connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(str(name))))
    return len(rows)


def delete_expired(connection: Connection, oldest: datetime.date) -> None:
    """Delete rows past their retention from the default partition and from the other tables."""
    connection.execute(
        sql.SQL("DELETE FROM {} WHERE at < %s").format(sql.Identifier(DEFAULT)), [midnight(oldest)]
    )
    connection.execute("DELETE FROM proxy_keylessattempt WHERE hour < %s", [midnight(oldest)])
    connection.execute(
        "DELETE FROM proxy_calltotal WHERE span = 'hour' AND start < now() - %s::interval", [HOURS_KEPT]
    )
    bounds = {"since": midnight(oldest - datetime.timedelta(days=7)), "until": midnight(oldest)}
    connection.execute(FORGET_SUPERSEDED, bounds)
    connection.execute(FORGET_DELETED, bounds)
    connection.execute("DELETE FROM proxy_spoolsegment WHERE at < now() - %s::interval", [SEGMENTS_KEPT])


def make_for(connection: Connection, wanted: Iterable[datetime.date], *, today: datetime.date) -> None:
    """Create partitions for late calls, which a portal without PostgreSQL has kept for days."""
    for day in sorted(wanted):
        if abs((day - today).days) <= DAYS_AHEAD:
            step(connection, day, make)


def midnight(day: datetime.date) -> datetime.datetime:
    return datetime.datetime.combine(day, datetime.time(), tzinfo=datetime.UTC)
