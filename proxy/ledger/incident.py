"""When a key has leaked: what it touched since, and a mark on every version that it registered."""

import datetime
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from django.db.models import Count, Min, Q
from django.utils import timezone

from keys.models import ApiKey, User
from proxy.ledger import compliance, reconcile, writer
from proxy.models import Owner, Registration
from proxy.models.calls import Call
from proxy.policy.attribution import QUARANTINE_TAG
from proxy.routes import matching
from proxy.routes.operations import Operation
from proxy.routes.table import OPERATIONS
from proxy.upstream.registry import API, Registry, RegistryError, tags

ACTOR = "quarantine"
SET_TAG = f"{API}/model-versions/set-tag"


@dataclass(frozen=True, kw_only=True)
class Touch:
    """Something that a key or a user created or changed. `where` we know it from: ledger, owners or calls;
    `times`: how often, from `at` on."""

    at: datetime.datetime
    where: str
    operation: str
    kind: str
    name: str
    version: str = ""
    new_name: str = ""
    outcome: str = ""
    times: int = 1
    user: str = ""
    key: str = ""
    address: str = ""
    request_id: str = ""


def blast_radius(
    *, since: datetime.datetime, key: ApiKey | None = None, user: User | None = None
) -> list[Touch]:
    """Everything that a key, or all of a user's, created or changed since then, oldest first."""
    by = Q(key=key) if key else Q(user=user)
    touches = [*registered(by, since), *created(by, since), *changed(by, since)]
    return sorted(touches, key=lambda touch: touch.at)


def registered(by: Q, since: datetime.datetime) -> Iterator[Touch]:
    """The registry's part, from the ledger; what MLflow refused is not a change, what is pending may be."""
    harmless = (Registration.Outcome.REFUSED, Registration.Outcome.NOT_DONE)
    rows = Registration.objects.filter(by).between(since).exclude(outcome__in=harmless).with_people()
    for row in rows.order_by("id").iterator():
        yield Touch(
            at=row.at,
            where="ledger",
            operation=row.operation,
            kind=row.kind,
            name=row.object_name,
            version=row.version,
            new_name=row.new_name,
            outcome=row.outcome,
            user=row.user.username if row.user else "",
            key=row.key.public_id if row.key else "",
            address=str(row.address or ""),
            request_id=row.request_id,
        )


def created(by: Q, since: datetime.datetime) -> Iterator[Touch]:
    """Runs, experiments, traces and the like, from the table of owners."""
    rows = Owner.objects.filter(by, created_at__gte=since).exclude(kind__in=writer.KINDS.values())
    for owner in rows.select_related("user", "key").order_by("created_at").iterator():
        yield Touch(
            at=owner.created_at,
            where="owners",
            operation="created",
            kind=owner.kind,
            name=owner.name,
            outcome="done",
            user=owner.user.username if owner.user else "",
            key=owner.key.public_id if owner.key else "",
        )


def changed(by: Q, since: datetime.datetime) -> Iterator[Touch]:
    """What else was written to, from the usage log as far back as it goes: one for each object and operation."""
    writes = [operation.name for operation in OPERATIONS if is_other_write(operation)]
    calls = (
        Call.objects.filter(by, at__gte=since, status__lt=400, operation__in=writes)
        .values("operation", "object_kind", "object_name", "key__public_id", "user__username")
        .annotate(first=Min("at"), times=Count("id"))
        .order_by("first")
    )
    for call in calls.iterator():
        yield Touch(
            at=call["first"],
            where="calls",
            operation=call["operation"],
            kind=call["object_kind"],
            name=call["object_name"],
            outcome="done",
            times=call["times"],
            user=call["user__username"],
            key=call["key__public_id"] or "",
        )


def is_other_write(operation: Operation) -> bool:
    return not (operation.is_read or operation.refused or writer.is_recorded(operation))


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A version and what became of it: marked, marked before, gone, failed; `problem` in words if it failed."""

    name: str
    version: str
    result: str
    problem: str = ""


def quarantine(
    *,
    key: ApiKey,
    since: datetime.datetime,
    registry: Registry,
    reason: str = "",
    by: User | None = None,
    tell: Callable[[Mark], None] = lambda mark: None,
) -> list[Mark]:
    """Tag every version that a key registered since then, and write into the ledger that this was done.

    What was pending is settled first, so that no version is missed. Raises RegistryError if MLflow cannot be
    asked for that; a version that cannot be marked does not keep the others from it.
    """
    reconcile.settle(key.environment, registry, every=True, key=key)
    value = reason or f"since {timezone.now():%Y-%m-%d}"
    rows = list(Registration.objects.versions().by_key(key).between(since).order_by("id"))
    standing = compliance.current_versions(rows)
    marks = []
    for row in rows:
        marks.append(mark(row, standing[row.pk].name, value, registry, by))
        tell(marks[-1])
    return marks


def mark(row: Registration, name: str, value: str, registry: Registry, by: User | None) -> Mark:
    """Tag one version, which is `name`'s by now, unless it is gone or another has taken its place."""
    try:
        version = registry.version(name, row.version)
        if version is None or int(version["creation_timestamp"]) != row.created_ms:
            return Mark(name=name, version=row.version, result="gone")
        if QUARANTINE_TAG in tags(version):
            return Mark(name=name, version=row.version, result="marked before")
        content = {"name": name, "version": row.version, "key": QUARANTINE_TAG, "value": value}
        entry = writer.begin_own(
            actor=ACTOR,
            user=by,
            environment=row.environment,
            match=matching.match_operation("POST", SET_TAG),
            content=content,
        )
        status, answer = registry.ask("POST", SET_TAG, body=content)
    except RegistryError as error:
        return Mark(name=name, version=row.version, result="failed", problem=str(error))
    done = status == 200
    outcome = Registration.Outcome.DONE if done else Registration.Outcome.REFUSED
    problem = "" if done else str(answer.get("message") or f"status {status}")
    writer.close(entry, outcome=outcome, status=status, reason=str(answer.get("error_code", ""))[:80])
    return Mark(name=name, version=row.version, result="marked" if done else "failed", problem=problem)
