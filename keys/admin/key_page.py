"""What a key's page shows besides its fields: its history, its use, its limits.

Calls and registrations belong to `proxy`; they are read through the key's reverse accessors.
"""

import datetime
from typing import Any

from django.http import HttpRequest
from django.utils import timezone

from keys import limits
from keys.formatting import sizes
from keys.lists.colours import EVENT_COLOURS
from keys.lists.event_words import describe_actor, describe_event
from keys.lists.old_secret import read_old_secret_use
from keys.models import ApiKey, KeyEvent
from keys.pages.keys import offered_actions
from keys.rights import permissions

DAYS = 30  # of the chart
MOST_EVENTS = 50
MOST_CALLS = 8
# By the status's first digit: its name, and the design token of its colour. Totals do not tell the portal's refusals
# from MLflow's errors.
CLASSES = {
    2: ("Successful", "--chart-ok"),
    3: ("Redirected", "--chart-redirected"),
    4: ("Client errors", "--chart-client-errors"),
    5: ("Server errors", "--chart-server-errors"),
}


def build_context(request: HttpRequest, key: ApiKey) -> dict[str, Any]:
    """The context of the page's template."""
    context: dict[str, Any] = {"pages": offered_actions(request, key), "bars": bars(key)}
    events = list(key.events.select_related("actor")[: MOST_EVENTS + 1])
    context |= {
        "events": [event_row(event) for event in events[:MOST_EVENTS]],
        "has_more": len(events) > MOST_EVENTS,
    }
    if request.user.has_perm(permissions.VIEW_CALL):
        context |= {"chart": chart(key.call_totals), "calls": key.calls.all().page(size=MOST_CALLS)}
        if key.has_old_secret and not key.revoked_at:
            context["old_secret_use"] = read_old_secret_use(key)
    if request.user.has_perm(permissions.VIEW_REGISTRATION):
        context["registrations"] = key.registrations.order_by("-pk")[:MOST_CALLS]
    return context


def event_row(event: KeyEvent) -> dict[str, Any]:
    """An event in words."""
    return {
        "what": event.get_kind_display(),
        "colour": EVENT_COLOURS.get(event.kind, ""),
        "at": event.at,
        "who": describe_actor(event),
        "address": event.address,
        "details": describe_event(event),
    }


def chart(totals: Any) -> dict[str, Any]:
    """Calls per day by status class, from the totals of a key or a user, for `admin/keys/chart.html`."""
    today = timezone.now().astimezone(datetime.UTC).date()
    days = [today - datetime.timedelta(days=DAYS - 1 - n) for n in range(DAYS)]
    since = datetime.datetime.combine(days[0], datetime.time(), datetime.UTC)
    counts: dict[tuple[datetime.date, int], int] = {}
    for row in totals.all().by_day().between(since, None).grouped("start", "status_class"):
        day = row["start"].astimezone(datetime.UTC).date()
        counts[day, row["status_class"]] = row["calls"]
    sums = {status: sum(counts.get((day, status), 0) for day in days) for status in CLASSES}
    return {
        "series": [(f"{name} ({status}xx)", token) for status, (name, token) in CLASSES.items()],
        "rows": [(f"{day:%Y-%m-%d}", [counts.get((day, status), 0) for status in CLASSES]) for day in days],
        "total": sum(sums.values()),
        "sums": [(name, f"{status}xx", sums[status]) for status, (name, _) in CLASSES.items()],
        "days": DAYS,
    }


def bars(key: ApiKey) -> list[dict[str, Any]]:
    """How much of its limits the key has used, in words and for a bar."""
    return bars_of(limits.read_key_use(key))


def bars_of(used: limits.KeyUse) -> list[dict[str, Any]]:
    """The same of what a key or an organisation has used."""
    rows = [
        ("Calls in the last minute", used.minute, "{:,}".format),
        ("Artifact transfers in the last minute", used.transfers, "{:,}".format),
        ("Calls this month (UTC)", used.month_requests, "{:,}".format),
        ("Bytes this month (UTC)", used.month_bytes, sizes.format_size),
    ]
    return [
        {
            "name": name,
            "used": words(use.used),
            "limit": words(use.limit) if use.limit is not None else None,
            "percent": use.percent,
        }
        for name, use, words in rows
        if use.limit is not None or "minute" not in name  # without a limit, no minute is counted
    ]
