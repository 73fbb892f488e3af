"""Something to look at: calls and registrations of two users, as the portal would have written them."""

import datetime

from django.utils import timezone

from keys import actions
from keys.models import ApiKey, User
from proxy.models import CallTotal, HourTotal, KeylessAttempt
from tests.keys.people import call
from tests.proxy.ledger_rows import pending, row

COMPLETE = {"hokusai_token_id": "vision-1", "benchmark_metric": "accuracy", "benchmark_value": "0.93"}
REFUSALS = [(403, "not_owner"), (403, "scope"), (413, "body_too_large"), (502, "upstream_unreachable")]


def keys() -> list[ApiKey]:
    people = [User.objects.get_or_create(username=name)[0] for name in ("dora", "emil")]
    return [actions.issue(owner=user, name=f"{user.username}'s nightly training")[0] for user in people]


def tell(calls: int = 60) -> None:
    """A model that was renamed, deleted and made again, some refusals, and totals for the dashboard."""
    first, second = keys()
    models(first, second)
    now = timezone.now()
    for number in range(calls):
        status, reason = REFUSALS[number % 4] if number % 6 == 0 else (200, "")
        call(
            (first, second)[number % 2],
            number + 1,
            at=now - datetime.timedelta(minutes=17 * number),
            operation="registered-models.get" if number % 3 else "runs.log-batch",
            object_kind="registered_model" if number % 3 else "run",
            object_name="vision" if number % 3 else f"{number:032x}",
            status=status,
            reason=reason,
            address="192.0.2.7",
            client="mlflow-python-client/3.17.2",
            client_version="3.17.2",
            duration_ms=12.5 * (number + 1),
        )
    totals(first, second, now)


def models(first: ApiKey, second: ApiKey) -> None:
    row(first, "registered-models.create", "sight", tags={"team": "perception"})
    row(
        first,
        "model-versions.create",
        "sight",
        version="1",
        tags=COMPLETE,
        run_id="a" * 32,
        source="runs:/a/model",
    )
    row(first, "registered-models.rename", "sight", new_name="vision")
    row(second, "registered-models.create", "vision", "refused_by_mlflow", reason="RESOURCE_ALREADY_EXISTS")
    row(
        first,
        "model-versions.create",
        "vision",
        version="2",
        tags={"hokusai_token_id": "-no-"},
        run_id="b" * 32,
    )
    row(first, "registered-models.set-alias", "vision", version="2", detail={"alias": "champion"})
    row(first, "registered-models.delete", "vision")
    row(second, "registered-models.create", "vision")
    row(
        second,
        "model-versions.create",
        "vision",
        version="1",
        tags=COMPLETE,
        run_id="c" * 32,
        address="192.0.2.9",
    )
    row(second, "model-versions.delete-tag", "vision", version="1", tags={"benchmark_metric": None})
    row(second, "registered-models.set-alias", "vision", version="1", detail={"alias": "champion"})
    pending(second, "model-versions.set-tag", "vision", version="1", tags={"note": "<b>bold</b>"})


def totals(first: ApiKey, second: ApiKey, now: datetime.datetime) -> None:
    hour = now.replace(minute=0, second=0, microsecond=0)
    HourTotal.objects.bulk_create(
        [
            HourTotal(
                start=hour - datetime.timedelta(hours=ago),
                status_class=status_class,
                calls=calls,
                bytes_in=calls * 10_000,
                bytes_out=calls * 2_000_000,
                duration_ms=calls * 70,
                latencies=[0] * 6 + [calls] + [0] * 9,
            )
            for ago in range(24 * 40)
            for status_class, calls in ((2, 40 + ago % 24), (4, ago % 5), (5, ago % 2))
        ],
        update_conflicts=True,
        unique_fields=["start", "status_class"],
        update_fields=["calls", "bytes_in", "bytes_out", "duration_ms", "latencies"],
    )
    for span, start in (("day", hour.replace(hour=0)), ("hour", hour)):
        for key, calls in ((first, 400), (second, 90)):
            CallTotal.objects.create(
                span=span, start=start, key=key, user=key.owner, operation="runs.get", status_class=2, calls=calls,
                latencies=[0] * 16,
            )  # fmt: skip
    for reason, network, count in (("unknown_key", "198.51.100.0/24", 41), ("no_key", "203.0.113.0/24", 7)):
        KeylessAttempt.objects.update_or_create(
            hour=hour, reason=reason, network=network, defaults={"count": count}
        )
