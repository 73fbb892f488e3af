"""Who still uses a key's old secret while a rotation overlaps: the same for pages, the API and the command.

Calls belong to `proxy`; they are read through the key's reverse accessor.
"""

import datetime
from collections import Counter
from dataclasses import dataclass
from typing import Any

from keys.models import ApiKey, KeyEvent

MOST_CALLS = 10_000  # that are read, the latest first, so that a busy key's page stays fast
MOST_CALLERS = 10


@dataclass(frozen=True, kw_only=True)
class OldSecretUse:
    """`calls` with the old secret since the rotation, refused ones included, and the most frequent `callers` (address,
    client, calls, last_at). `is_cut`: there are more calls; the latest were counted."""

    calls: int
    is_cut: bool
    callers: list[dict[str, Any]]


def read_old_secret_use(key: ApiKey) -> OldSecretUse:
    """The use of the old secret since the last rotation."""
    rotation = key.events.filter(kind=KeyEvent.Kind.ROTATED).first()
    calls = key.calls.with_old_secret().between(rotation.at if rotation else None, None)
    rows = list(calls.order_by("-at", "-id").values_list("address", "client", "at")[: MOST_CALLS + 1])
    counted = rows[:MOST_CALLS]
    last: dict[tuple[str | None, str], datetime.datetime] = {}
    for address, client, at in counted:
        last.setdefault((address, client), at)
    times = Counter((address, client) for address, client, _ in counted)
    callers = [
        {"address": caller[0], "client": caller[1], "calls": count, "last_at": last[caller]}
        for caller, count in times.most_common(MOST_CALLERS)
    ]
    return OldSecretUse(calls=len(counted), is_cut=len(rows) > MOST_CALLS, callers=callers)
