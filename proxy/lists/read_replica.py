"""The standby at DATABASE_READ_URL. It answers the queries of the lists of calls and registrations, of usage totals and
of their exports, so that these do not take PostgreSQL's time from calls. Everything else stays at DATABASE_URL.

The standby follows the primary with a delay. A read therefore takes the primary's position in its log first, and waits
briefly until the standby is there: whoever has just written something finds it. If the standby does not get there in
time, pages after an action read from the primary, and others say as of when their data are.
"""

import datetime
import functools
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg.errors
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections
from django.http import HttpRequest, HttpResponseBase, StreamingHttpResponse
from django.utils import timezone

from keys.database import DATABASE_ERRORS, discard_dead_connections, give_back_connection

logger = logging.getLogger(__name__)

ALIAS = "read"  # in DATABASES
APP = "proxy"  # whose tables are read there
RETRY_SECONDS = 10.0  # after a failure, until the standby is tried again
WAIT_SECONDS, POLL_SECONDS = 0.2, 0.01  # for the standby to reach the primary's position
FRESH_SECONDS = 5.0  # pages do not mention a smaller lag
MOST_SECONDS = 300.0  # with more lag, the primary is read
ACTION_COOKIE, ACTION_SECONDS = "recent-action", 60
AS_OF_HEADER = "X-Data-As-Of"
ACTING = ("/admin/", "/account/")
SAFE = ("GET", "HEAD", "OPTIONS")

POSITION = "SELECT pg_current_wal_lsn()"
STATE = """
SELECT pg_is_in_recovery(), pg_last_wal_replay_lsn() >= %s::pg_lsn, pg_last_xact_replay_timestamp()
"""

View = TypeVar("View", bound=Callable[..., HttpResponseBase])

_is_reading: ContextVar[bool] = ContextVar("is_reading", default=False)
_failure: tuple[float, str] | None = None  # until when the standby is not tried, and the problem


class Router:
    """Django's choice of a database: the standby for reads of the proxy's tables inside `reading`."""

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        return ALIAS if _is_reading.get() and model._meta.app_label == APP else DEFAULT_DB_ALIAS

    def db_for_write(self, model: Any, **hints: Any) -> str:
        return DEFAULT_DB_ALIAS

    def allow_relation(self, one: Any, other: Any, **hints: Any) -> bool:
        return True  # both databases have the same rows

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool:
        return db == DEFAULT_DB_ALIAS


@dataclass(frozen=True, kw_only=True)
class State:
    """How the standby is. `as_of`: the time of the last commit that it has; None if it has all of them."""

    problem: str = ""
    as_of: datetime.datetime | None = None

    @property
    def lag_seconds(self) -> float:
        return max(0.0, (timezone.now() - self.as_of).total_seconds()) if self.as_of else 0.0


def is_configured() -> bool:
    return ALIAS in settings.DATABASES


@contextmanager
def reading() -> Iterator[None]:
    """Inside, reads of the proxy's tables go to the standby."""
    token = _is_reading.set(True)
    try:
        yield
    finally:
        _is_reading.reset(token)


def find_state() -> State:
    """How the standby is, after it has had WAIT_SECONDS to catch up. After a failure, it is not asked for a while."""
    global _failure
    if _failure and time.monotonic() < _failure[0]:
        return State(problem=_failure[1])
    try:
        state = ask()
    except DATABASE_ERRORS as error:
        if is_primary_away():
            raise
        discard_dead_connections(ALIAS)
        state = State(problem="it cannot be reached")
        logger.warning("read_replica_unavailable", extra={"error": type(error).__name__})
    else:
        if state.problem:
            logger.warning("read_replica_unusable", extra={"problem": state.problem})
    _failure = (time.monotonic() + RETRY_SECONDS, state.problem) if state.problem else None
    return state


def is_primary_away() -> bool:
    return not connections[DEFAULT_DB_ALIAS].is_usable()


def ask() -> State:
    end = time.monotonic() + WAIT_SECONDS
    [position] = query(DEFAULT_DB_ALIAS, POSITION)
    while True:
        is_standby, has_all, as_of = query(ALIAS, STATE, position)
        if not is_standby:
            return State(problem="it is no standby")
        if has_all:
            return State()
        if time.monotonic() >= end:
            break
        time.sleep(POLL_SECONDS)
    if as_of is None:
        return State(problem="it has not replayed any transaction yet")
    state = State(as_of=as_of)
    if state.lag_seconds > MOST_SECONDS:
        return State(problem=f"it is {state.lag_seconds:.0f} s behind", as_of=as_of)
    return state


def query(alias: str, statement: str, *values: Any) -> tuple[Any, ...]:
    with connections[alias].cursor() as cursor:
        cursor.execute(statement, values)
        row: tuple[Any, ...] = cursor.fetchone() or ()
    return row


def from_replica(view: View) -> View:
    """The view, a function or a method of the API, whose reads of the proxy's tables go to the standby."""

    @functools.wraps(view)
    def read(*arguments: Any, **options: Any) -> HttpResponseBase:
        request = next(getattr(each, "_request", each) for each in arguments if hasattr(each, "META"))
        return respond(request, lambda: view(*arguments, **options))

    return read  # type: ignore[return-value]


def respond(request: HttpRequest, view: Callable[[], HttpResponseBase]) -> HttpResponseBase:
    """The view's response. If the standby fails meanwhile, the primary answers."""
    if not is_configured():
        return view()
    state = find_state()
    if state.problem or (state.as_of and ACTION_COOKIE in request.COOKIES):
        return view()
    if state.lag_seconds > FRESH_SECONDS:
        request.data_as_of = state.as_of  # type: ignore[attr-defined]  # templates/admin/audit/base.html
    try:
        with reading():
            response = view()
    except DATABASE_ERRORS as error:
        if isinstance(error.__cause__, psycopg.errors.QueryCanceled):
            raise  # it took too long: the primary must not do it again
        logger.warning("read_replica_failed", extra={"error": type(error).__name__})
        discard_dead_connections(ALIAS)
        request.data_as_of = None  # type: ignore[attr-defined]
        return view()
    if state.as_of:
        response[AS_OF_HEADER] = state.as_of.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(response, StreamingHttpResponse):
        response.streaming_content = read_pieces(response.streaming_content)  # type: ignore[arg-type]
    return response


def read_pieces(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces of an export, which are read after the view has returned."""
    give_back_connection()  # of the primary: an export can take long
    pieces = iter(pieces)
    while True:
        with reading():
            piece = next(pieces, None)
        if piece is None:
            return
        yield piece


@contextmanager
def reading_if_possible(say: Callable[[str], object]) -> Iterator[None]:
    """For commands: reads go to the standby if it can be used. `say` gets what to know about it."""
    if not is_configured():
        yield
        return
    state = find_state()
    if state.problem:
        say(f"The read replica is not used: {state.problem}.")
        yield
        return
    if state.lag_seconds > FRESH_SECONDS:
        say(
            f"As of {state.as_of:%Y-%m-%d %H:%M:%S} UTC: the read replica is {state.lag_seconds:.0f} s behind."
        )
    with reading():
        yield


def note_actions(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Middleware: after a form of a page, the browser's next pages do not show older data. A search is no action."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        path = request.path_info
        is_action = request.method not in SAFE and not path.endswith("/find/")
        if is_action and path.startswith(ACTING) and response.status_code < 400:
            response.set_cookie(
                ACTION_COOKIE,
                "1",
                max_age=ACTION_SECONDS,
                secure=settings.SESSION_COOKIE_SECURE,
                httponly=True,
                samesite="Lax",
            )
        return response

    return middleware
