"""After a key has leaked: the list of what it changed and downloaded, and the quarantine of the versions that it
registered."""

import datetime
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields

from django.db.models import Count, Max, Min, Q, Sum
from django.utils import timezone

from keys.actions.grants import check_user
from keys.models import ApiKey, Namespace, User
from proxy.ledger import compliance, reconcile, writer
from proxy.models import ArtifactEvent, ArtifactEventQuerySet, Owner, Registration
from proxy.models.calls import Call
from proxy.policy import quarantine as policy
from proxy.policy.attribution import QUARANTINE_TAG
from proxy.request.messages import Json
from proxy.routes import matching
from proxy.routes.operations import Operation
from proxy.routes.table import OPERATIONS
from proxy.upstream.registry import API, Registry, RegistryError, tags

SET_TAG = f"{API}/model-versions/set-tag"
DELETE_TAG = f"{API}/model-versions/delete-tag"
DOWNLOADS = frozenset(  # operations whose response is a file, or an address from which to get it
    {
        "artifacts.download",
        "artifacts.presigned",
        "artifacts.presigned-download-url",
        "logged-models.get-artifact",
        "traces.get-artifact",
    }
)


@dataclass(frozen=True, kw_only=True)
class Change:
    """An object that a key or a user created, changed or downloaded. `where`: the source, which is ledger, owners or
    calls; `times`: how often, from `at` to `last`; `bytes`: how much the responses contained, for a download.

    The fields are those of the API and of the CSV file.
    """

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
    last: datetime.datetime | None = None
    bytes: int = 0

    @property
    def is_download(self) -> bool:
        return self.operation in DOWNLOADS


def blast_radius(
    *, since: datetime.datetime, key: ApiKey | None = None, user: User | None = None
) -> list[Change]:
    """Everything that a key, or all keys of a user, created, changed or downloaded since then, oldest first."""
    by = Q(key=key) if key else Q(user=user)
    changes = [*registry_changes(by, since), *created_objects(by, since), *logged_calls(by, since)]
    return sorted(changes, key=lambda change: change.at)


@dataclass(frozen=True, kw_only=True)
class FileChange:
    """A file that a key or a user uploaded or deleted, or whose download was not what had been recorded."""

    at: datetime.datetime
    event: str
    environment: str
    path: str
    bytes: int | None
    sha256: str
    user: str
    key: str
    request_id: str


FILE_FIELDS = [field.name for field in fields(FileChange)]


def file_events(
    *, since: datetime.datetime, key: ApiKey | None = None, user: User | None = None
) -> ArtifactEventQuerySet:
    """The events of files that a key, or all keys of a user, caused since then."""
    by = Q(key=key) if key else Q(user=user)
    return ArtifactEvent.objects.filter(by, at__gte=since).with_people()


def file_changes(
    *, since: datetime.datetime, key: ApiKey | None = None, user: User | None = None
) -> Iterator[FileChange]:
    """The same with their digests, oldest first."""
    events = file_events(since=since, key=key, user=user).order_by("at", "id")
    return (describe_file(event) for event in events.iterator(chunk_size=2000))


def describe_file(event: ArtifactEvent) -> FileChange:
    return FileChange(
        at=event.at.replace(microsecond=0),
        event=event.kind,
        environment=event.environment,
        path=event.path,
        bytes=event.size,
        sha256=event.sha256,
        user=event.user.username if event.user else "",
        key=event.key.public_id if event.key else "",
        request_id=event.request_id,
    )


def registry_changes(by: Q, since: datetime.datetime) -> Iterator[Change]:
    """Changes of the registry, from the ledger, without those that MLflow refused. A pending row may be a change."""
    without_effect = (Registration.Outcome.REFUSED, Registration.Outcome.NOT_DONE)
    rows = Registration.objects.filter(by).between(since).exclude(outcome__in=without_effect).with_people()
    for row in rows.order_by("id").iterator():
        yield Change(
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


def created_objects(by: Q, since: datetime.datetime) -> Iterator[Change]:
    """Created runs, experiments, traces and other objects outside the registry, from the table of owners."""
    rows = Owner.objects.filter(by, created_at__gte=since).exclude(kind__in=writer.KINDS.values())
    origins = creating_calls(by, since)
    for owner in rows.select_related("user", "key").order_by("created_at").iterator():
        address, request_id = origins.get((owner.kind, owner.name), ("", ""))
        yield Change(
            at=owner.created_at,
            where="owners",
            operation="created",
            kind=owner.kind,
            name=owner.name,
            outcome="done",
            user=owner.user.username if owner.user else "",
            key=owner.key.public_id if owner.key else "",
            address=address,
            request_id=request_id,
        )


def creating_calls(by: Q, since: datetime.datetime) -> dict[tuple[str, str], tuple[str, str]]:
    """The caller's address and the request id of the call that created each object, if the usage log has the call."""
    creating = [operation.name for operation in OPERATIONS if operation.created]
    calls = Call.objects.filter(by, at__gte=since, status__lt=400, operation__in=creating)
    rows = calls.values_list("object_kind", "object_name", "address", "request_id").order_by("at")
    return {(kind, name): (address or "", request_id) for kind, name, address, request_id in rows.iterator()}


def logged_calls(by: Q, since: datetime.datetime) -> Iterator[Change]:
    """Other writes, and downloads: one for each object, operation and address, from the usage log as far back as it is
    kept."""
    names = [*DOWNLOADS, *(operation.name for operation in OPERATIONS if is_other_write(operation))]
    calls = (
        Call.objects.filter(by, at__gte=since, status__lt=400, operation__in=names)
        .values("operation", "object_kind", "object_name", "address", "key__public_id", "user__username")
        .annotate(first=Min("at"), last=Max("at"), times=Count("id"), bytes=Sum("bytes_out"))
        .order_by("first")
    )
    for call in calls.iterator():
        yield Change(
            at=call["first"],
            where="calls",
            operation=call["operation"],
            kind=call["object_kind"],
            name=call["object_name"],
            outcome="done",
            times=call["times"],
            user=call["user__username"],
            key=call["key__public_id"] or "",
            address=call["address"] or "",
            last=call["last"],
            bytes=call["bytes"] if call["operation"] in DOWNLOADS else 0,
        )


def is_other_write(operation: Operation) -> bool:
    return not (operation.is_read or operation.refused or writer.is_recorded(operation))


@dataclass(frozen=True, kw_only=True)
class QuarantineResult:
    """A version and the result: marked, marked before, gone or failed; of lifting: lifted, not marked or failed.

    `problem` says why it failed.
    """

    name: str
    version: str
    result: str
    problem: str = ""


def versions_of(
    key: ApiKey, since: datetime.datetime
) -> list[tuple[Registration, compliance.CurrentVersion]]:
    """The versions that a key registered since then, the oldest first, with their present names."""
    rows = list(Registration.objects.versions().by_key(key).between(since).order_by("id"))
    current = compliance.current_versions(rows)
    return [(row, current[row.pk]) for row in rows]


def quarantine(
    *,
    key: ApiKey,
    since: datetime.datetime,
    registry: Registry,
    reason: str = "",
    by: User | None = None,
    on_result: Callable[[QuarantineResult], None] = lambda result: None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[QuarantineResult]:
    """Set the quarantine tag on every version that a key registered since then, and record this in the ledger.

    Pending rows of the key are reconciled first, so that no version is missed; this raises RegistryError if MLflow
    is unreachable. If one version cannot be marked, the others still are. `on_progress` gets how many versions of how
    many are done. Raises NotAllowed for a superuser's key if `by` is a user and none.
    """
    check_user(key.owner_id, by)
    reconcile.reconcile_pending(registry, every=True, key=key)
    value = reason or f"since {timezone.now():%Y-%m-%d}"
    results, versions = list[QuarantineResult](), versions_of(key, since)
    for row, current in versions:
        on_progress(len(results), len(versions))
        results.append(quarantine_version(row, current.name, value, registry, by))
        on_result(results[-1])
    return results


def quarantine_version(
    row: Registration, name: str, value: str, registry: Registry, by: User | None
) -> QuarantineResult:
    """Mark one version, whose model now has this name, unless it was deleted or replaced."""
    try:
        version = registry.version(name, row.version)
        if version is None or int(version["creation_timestamp"]) != row.created_ms:
            return QuarantineResult(name=name, version=row.version, result="gone")
        if QUARANTINE_TAG in tags(version) and is_quarantined(row.namespace, name, row.version):
            return QuarantineResult(name=name, version=row.version, result="marked before")
        content = {"name": name, "version": row.version, "key": QUARANTINE_TAG, "value": value}
        files = {field: version[field] for field in ("source", "run_id", "model_id") if version.get(field)}
        if experiment_id := experiment_of(version, registry):
            files["experiment_id"] = experiment_id
        entry = begin(row.namespace, "POST", SET_TAG, content | files, by)
        return finish(entry, *registry.ask("POST", SET_TAG, body=content), result="marked")
    except RegistryError as error:
        return QuarantineResult(name=name, version=row.version, result="failed", problem=str(error))


def experiment_of(version: Json, registry: Registry) -> str:
    """The id of the experiment in which the version's files are; "" if its run and its logged model are gone."""
    if (run_id := version.get("run_id")) and (run := registry.run(run_id)):
        return str(run["info"]["experiment_id"])
    if (model_id := version.get("model_id")) and (model := registry.logged_model(model_id)):
        return str(model["info"]["experiment_id"])
    return ""


def lift(
    *, name: str, version: str, registry: Registry, reason: str, by: User | None = None
) -> QuarantineResult:
    """Lift the quarantine of one version, and record who did it and why: remove the tag at MLflow, and let keys change
    and copy the version again.

    Raises RegistryError if MLflow is unreachable, and NotAllowed for a superuser's model or version if `by` is a user
    and none. The result is "not marked" for a version without quarantine.
    """
    namespace, version = registry.namespace, writer.normalise_version(version)
    for owner_id in owners_of_version(namespace, name, version):
        check_user(owner_id, by)
    if not is_quarantined(namespace, name, version):
        return QuarantineResult(name=name, version=version, result="not marked")
    current = registry.version(name, version)
    content = {"name": name, "version": version, "key": QUARANTINE_TAG}
    entry = begin(namespace, "DELETE", DELETE_TAG, content | {"lift_reason": reason}, by)
    if current is None or QUARANTINE_TAG not in tags(current):  # nothing to remove at MLflow
        writer.close(entry, outcome=Registration.Outcome.DONE, reason="tag_absent")
        policy.known_marks.drop(str(namespace))
        return QuarantineResult(name=name, version=version, result="lifted")
    return finish(entry, *registry.ask("DELETE", DELETE_TAG, body=content), result="lifted")


def owners_of_version(namespace: Namespace, name: str, version: str) -> set[int]:
    """Who registered the version, and whose model it is."""
    rows = Registration.objects.versions().of_model(namespace, name).filter(version=version)
    owners = Owner.objects.of(namespace, "registered_model", name)
    users = {*rows.values_list("user_id", flat=True), *owners.values_list("user_id", flat=True)}
    return {user_id for user_id in users if user_id is not None}


def is_quarantined(namespace: Namespace, name: str, version: str) -> bool:
    number = policy.version_number(version)
    return any((each.name, each.version) == (name, number) for each in policy.quarantined_versions(namespace))


def begin(namespace: Namespace, method: str, path: str, content: Json, by: User | None) -> Registration:
    """The ledger's pending row for a change of a mark."""
    match = matching.match_operation(method, path)
    return writer.begin_for_command(
        actor=Registration.QUARANTINE, user=by, namespace=namespace, match=match, content=content
    )


def finish(entry: Registration, status: int, answer: Json, *, result: str) -> QuarantineResult:
    """Complete the row from MLflow's response. PostgreSQL announces the change of the mark to other processes."""
    done = status == 200
    outcome = Registration.Outcome.DONE if done else Registration.Outcome.REFUSED
    problem = "" if done else str(answer.get("message") or f"status {status}")
    writer.close(entry, outcome=outcome, status=status, reason=str(answer.get("error_code", ""))[:80])
    policy.known_marks.drop(str(entry.namespace))
    return QuarantineResult(
        name=entry.object_name, version=entry.version, result=result if done else "failed", problem=problem
    )
