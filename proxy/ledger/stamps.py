"""Time-stamps of the ledger's heads: an authority outside the portal confirms that a head existed at a time.

Nobody can then make up another chain, not even with the portal's own keys and access to its database: it would have
other heads, and the authority stamps none in the past.
"""

import base64
import datetime
import json
import logging

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from keys.alerts.notifications import end_alert, notify
from keys.formatting.moments import format_rfc3339
from keys.models import Alert
from proxy.ledger import authority, verification
from proxy.ledger.authority import AuthorityError
from proxy.ledger.triggers import find_trigger_problem
from proxy.ledger.verification import Head, StampSummary
from proxy.models import LedgerStamp

logger = logging.getLogger(__name__)

LOCK = 4_816_283_303  # an advisory lock's number: one process at a time
TRIGGERS = frozenset({"ledger_stamp_keep", "ledger_stamp_keep_all"})


def stamp_if_due() -> LedgerStamp | None:
    """Stamp the head if the last time-stamp is older than TIMESTAMP_HOURS and the chain has grown since. A failure of
    the authority is an alert. Raises database errors."""
    try:
        return stamp_head(only_if_due=True) if is_due() else None
    except AuthorityError:
        return None


def is_due() -> bool:
    since = timezone.now() - datetime.timedelta(hours=settings.TIMESTAMP_HOURS)
    return not LedgerStamp.objects.filter(at__gt=since).exists()


def stamp_head(*, only_if_due: bool = False) -> LedgerStamp | None:
    """Stamp the head now; None if the ledger is empty, or its head has a time-stamp. Raises AuthorityError after the
    alert about it, and database errors."""
    url = settings.TIMESTAMP_URL
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
            head = verification.read_head()
            if head is None or LedgerStamp.objects.filter(sequence=head.sequence).exists():
                return None
            if only_if_due and not is_due():
                return None
            stamp = authority.ask(head.hash.encode())
            row = LedgerStamp.objects.create(
                sequence=head.sequence,
                hash=head.hash,
                stamped_at=stamp.at,
                authority=url,
                response=stamp.response,
            )
    except AuthorityError as error:
        notify(kind=Alert.Kind.TIMESTAMP, key=None, occasion=url[:100], authority=url, why=str(error))
        raise
    end_alert(kind=Alert.Kind.TIMESTAMP, occasion=url[:100])
    logger.info("ledger_stamped", extra={"sequence": row.sequence})
    return row


def as_json(stamp: LedgerStamp) -> str:
    """A line for a file outside the portal, which `verify_ledger --since-head` takes as a head."""
    return json.dumps(
        {
            "sequence": stamp.sequence,
            "hash": stamp.hash,
            "at": format_rfc3339(stamp.stamped_at),
            "authority": stamp.authority,
            "time_stamp": base64.b64encode(bytes(stamp.response)).decode(),
        }
    )


def read_heads(text: str) -> list[Head]:
    """The heads in lines of `as_json` or `Head.as_json`, after verifying their time-stamps. Raises AuthorityError, and
    ValueError for other lines."""
    heads = []
    for line in text.splitlines():
        if line.strip():
            head = Head.parse(line)
            verify_stored(json.loads(line).get("time_stamp"), head)
            heads.append(head)
    return heads


def verify_stored(response: str | None, head: Head) -> None:
    """Verify a stored head's time-stamp in base64, if it has one. Raises AuthorityError, ValueError."""
    if response:
        authority.verify(base64.b64decode(str(response), validate=True), head.hash.encode())


def stamped_heads() -> list[Head]:
    """The heads that have time-stamps, to be found in the chain."""
    rows = LedgerStamp.objects.values_list("sequence", "hash", "stamped_at")
    return [Head(sequence=sequence, hash=hash_, at=format_rfc3339(at)) for sequence, hash_, at in rows]


def verify() -> tuple[StampSummary, str]:
    """Every time-stamp against its head, without the authority: what there is, and the first problem ("": none)."""
    if problem := find_trigger_problem("time-stamps", TRIGGERS, "proxy_ledgerstamp"):
        return StampSummary(), problem
    count, untrusted, first, last = 0, 0, None, None
    for stamp in LedgerStamp.objects.iterator(chunk_size=500):
        try:
            found = authority.verify(bytes(stamp.response), stamp.hash.encode())
        except AuthorityError as error:
            return StampSummary(), f"the time-stamp of the head at row {stamp.sequence} is not valid: {error}"
        if found.at != stamp.stamped_at:
            return (
                StampSummary(),
                f"the time of the time-stamp of the head at row {stamp.sequence} was changed",
            )
        count, untrusted = count + 1, untrusted + (not found.is_trusted)
        first, last = first or stamp, stamp
    return StampSummary(count=count, untrusted=untrusted, first=first, last=last), ""
