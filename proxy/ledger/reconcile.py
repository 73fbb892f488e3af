"""Determines the outcome of the ledger's rows that were never completed, from the state of MLflow.

A pending row was written before MLflow was called. A creation took effect if MLflow has an object with its name, its
attribution tags and a matching time; any other change took effect if MLflow has the requested state.
"""

import datetime
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from django.utils import timezone

from keys.credentials.caller import Caller
from proxy.ledger import writer
from proxy.ledger.writer import shorten
from proxy.models import Owner, Registration, RegistrationQuerySet
from proxy.models.manifests import ACTOR as MANIFEST
from proxy.policy import owner_actions
from proxy.policy.attribution import KEY_TAG, USER_TAG
from proxy.request.messages import Json
from proxy.routes.objects import ObjectRef
from proxy.upstream.client import CONNECT_TIMEOUT, IDLE_TIMEOUT
from proxy.upstream.registry import Registry, tags

Outcome = Registration.Outcome
IN_FLIGHT = CONNECT_TIMEOUT + IDLE_TIMEOUT + 5  # seconds that a call may take
CLOCKS_DIFFER = 60_000  # milliseconds by which MLflow's clock may lag behind ours
RECONCILED = "reconciled"
# LoggedModelStatus (mlflow/protos/service.proto), which a request may also give as a number.
STATUSES = {"1": "LOGGED_MODEL_PENDING", "2": "LOGGED_MODEL_READY", "3": "LOGGED_MODEL_UPLOAD_FAILED"}
LIFE = ("registered-models.create", "registered-models.rename", "registered-models.delete")


@dataclass(kw_only=True)
class Reconciled:
    """A pending row and its outcome; `columns` are those of the object that MLflow created."""

    row: Registration
    outcome: str
    columns: dict[str, Any] = field(default_factory=dict)


def reconcile_pending(registry: Registry, *, every: bool = False, **where: Any) -> list[Reconciled]:
    """Complete the pending rows of an environment; `where` narrows them, `every` includes requests that may still run.

    The newest come first: of two equal requests, the later one more likely created the newest object. Raises
    RegistryError; rows completed until then stay completed.
    """
    rows = Registration.objects.pending().within(registry.namespace).filter(**where).with_people()
    if not every:
        rows = rows.filter(at__lt=surely_ended())
    return reconcile_rows(rows.order_by("-id"), registry)


def surely_ended() -> datetime.datetime:
    """The time before which a call must have begun to have ended for certain, at MLflow too."""
    return timezone.now() - datetime.timedelta(seconds=IN_FLIGHT)


def reconcile_rows(
    rows: Iterable[Registration], registry: Registry, *, only_done_since: datetime.datetime | None = None
) -> list[Reconciled]:
    """Complete these rows, newest first. Of rows from `only_done_since` on, only those that took effect: MLflow may
    still carry out the others."""
    completed = []
    for row in rows:
        result = determine_outcome(row, registry)
        if only_done_since and row.at >= only_done_since and result.outcome != Outcome.DONE:
            continue
        if writer.close(row, outcome=result.outcome, reason=RECONCILED, **result.columns):
            completed.append(result)
    completed.reverse()
    for result in completed:
        if result.outcome == Outcome.DONE:
            restore_owner(result.row)
    return completed


def determine_outcome(row: Registration, registry: Registry) -> Reconciled:
    if row.operation.endswith(".create"):
        columns = find_created(row, registry)
        if columns is not None:
            return Reconciled(row=row, outcome=Outcome.DONE, columns=columns)
        return Reconciled(row=row, outcome=Outcome.UNKNOWN if was_deleted_since(row) else Outcome.NOT_DONE)
    holds = is_in_effect(row, registry)
    if holds is None or (not holds and was_written_since(row)):
        return Reconciled(row=row, outcome=Outcome.UNKNOWN)
    return Reconciled(row=row, outcome=Outcome.DONE if holds else Outcome.NOT_DONE)


def find_created(row: Registration, registry: Registry) -> dict[str, Any] | None:
    """The ledger's columns for the object that a request created; None if MLflow has none that this request
    created and that belongs to no other row."""
    matching = []
    for content in list_candidates(row, registry):
        columns = writer.read_created(row, {response_field(row): content})
        if (
            columns is None
            or not is_created_by(row, content, columns["created_ms"])
            or is_claimed(row, columns)
        ):
            continue
        matching.append(columns)
    return min(matching, key=lambda columns: int(columns["created_ms"]), default=None)


def response_field(row: Registration) -> str:
    return "model" if row.kind == "logged_model" else row.kind


def list_candidates(row: Registration, registry: Registry) -> Iterator[Json]:
    name = find_current_name(row)
    if row.kind == "registered_model":
        model = registry.model(name)
        yield from [model] if model else []
    elif row.kind == "model_version":
        yield from registry.versions(name)
    elif row.kind == "logged_model":
        yield from registry.logged_models(str(row.detail.get("experiment_id", "")))


def is_created_by(row: Registration, content: Json, created_ms: int) -> bool:
    """Whether the attribution tags are the row's, which nobody else can set, and the time is not before it."""
    present = tags(content.get("info", content))
    requested_ms = int(row.at.timestamp() * 1000)
    is_attributed = all(
        name in row.tags and present.get(name) == row.tags[name] for name in (USER_TAG, KEY_TAG)
    )
    return is_attributed and created_ms >= requested_ms - CLOCKS_DIFFER


def is_claimed(row: Registration, columns: dict[str, Any]) -> bool:
    """Whether the object belongs to another row, for example to the client's retry."""
    same = (
        Registration.objects.effective()
        .within(row.namespace)
        .filter(operation=row.operation, created_ms=columns["created_ms"])
    )
    if row.kind == "logged_model":
        return same.filter(object_name=columns["object_name"]).exists()
    return same.filter(object_name=row.object_name, version=columns.get("version", "")).exists()


def find_current_name(row: Registration) -> str:
    """The present name of the registered model that a row names."""
    name, since = row.object_name, row.pk
    while row.kind != "logged_model" and (
        rename := later_rows(row, since)
        .filter(operation="registered-models.rename", object_name=name)
        .first()
    ):
        name, since = rename.new_name, rename.pk
    return name


def later_rows(row: Registration, since: int | None = None) -> RegistrationQuerySet:
    """Later rows that changed the registry, oldest first."""
    return (
        Registration.objects.effective()
        .exclude(actor=MANIFEST)  # describes a version, and changes nothing in MLflow
        .within(row.namespace)
        .filter(id__gt=row.pk if since is None else since)
        .order_by("id")
    )


def was_deleted_since(row: Registration) -> bool:
    """Whether the object that a row may have created may have been deleted through the portal since."""
    if row.kind == "registered_model":
        # If it was created, it was deleted before the next creation of that name.
        following = later_rows(row).filter(operation__in=LIFE, object_name=row.object_name).first()
        return following is not None and not following.operation.endswith(".create")
    names = {row.object_name, find_current_name(row)} - {""}
    if row.kind == "logged_model":
        return (
            later_rows(row)
            .filter(operation="logged-models.delete")
            .exclude(object_name__in=claimed_names(row))
            .exists()
        )
    deletions = later_rows(row).filter(object_name__in=names)
    whole, single = "registered-models.delete", "model-versions.delete"
    return (
        deletions.filter(operation=whole).exists()
        or deletions.filter(operation=single).exclude(version__in=claimed_names(row)).exists()
    )


def claimed_names(row: Registration) -> set[str]:
    """Objects that other rows created by the same operation: ids of logged models, or versions of the same model."""
    made = Registration.objects.effective().within(row.namespace)
    if row.kind == "logged_model":
        return set(made.filter(operation=row.operation, id__gt=row.pk).values_list("object_name", flat=True))
    made = made.filter(object_name=row.object_name)
    former = made.filter(operation="registered-models.delete", id__lt=row.pk).order_by("id").last()
    made = made.filter(operation=row.operation, id__gt=former.pk if former else 0)
    return set(made.values_list("version", flat=True))


def was_written_since(row: Registration) -> bool:
    """Whether a later write may have replaced the state that a row requested."""
    names = {row.object_name, find_current_name(row)}
    return later_rows(row).filter(object_name__in=names, version__in=("", row.version)).exists()


def is_in_effect(row: Registration, registry: Registry) -> bool | None:
    """Whether MLflow has the state that a row requested; None if that is unknown."""
    if row.operation == "registered-models.rename":
        return was_renamed(row, registry)
    content = read_object(row, registry)
    if row.operation.endswith(".delete"):
        return True if content is None else (None if is_newer(row, content) else False)
    if content is None or is_newer(row, content):
        return None
    return EFFECTS[row.operation.partition(".")[2]](row, content)


def read_object(row: Registration, registry: Registry) -> Json | None:
    """MLflow's present JSON of the object that a row changes; None if there is none."""
    if row.kind == "registered_model":
        return registry.model(find_current_name(row))
    if row.kind == "model_version":
        return registry.version(find_current_name(row), row.version)
    model = registry.logged_model(row.object_name)
    return model and {**model["info"], **model.get("data", {})}


def is_newer(row: Registration, content: Json) -> bool:
    """Whether this is another object of the same name, created after the row."""
    made = int(content.get("creation_timestamp") or content.get("creation_timestamp_ms") or 0)
    return made > int(row.at.timestamp() * 1000) + CLOCKS_DIFFER


def was_renamed(row: Registration, registry: Registry) -> bool | None:
    if registry.model(row.new_name) is not None and registry.model(row.object_name) is None:
        return True
    old = registry.model(row.object_name)
    return None if old is None or is_newer(row, old) else False


def has_tags(row: Registration, content: Json) -> bool:
    present = tags(content)
    return all(
        name not in present if value is None else shorten(present.get(name)) == value
        for name, value in row.tags.items()
    )


def has_alias(row: Registration, content: Json) -> bool:
    aliases: dict[str | None, str] = {
        item.get("alias"): str(item.get("version")) for item in content.get("aliases", [])
    }
    return bool(aliases.get(row.detail.get("alias")) == row.version)


def has_no_alias(row: Registration, content: Json) -> bool:
    return row.detail.get("alias") not in {item.get("alias") for item in content.get("aliases", [])}


def has_stage(row: Registration, content: Json) -> bool:
    present, asked = str(content.get("current_stage", "")), str(row.detail.get("stage", ""))
    return present.lower() == asked.lower()


def has_description(row: Registration, content: Json) -> bool:
    asked = str(row.detail.get("description", ""))
    return shorten(content.get("description", "")) == asked


def has_status(row: Registration, content: Json) -> bool:
    asked = str(row.detail.get("status"))
    return str(content.get("status")) in (asked, STATUSES.get(asked))


def has_params(row: Registration, content: Json) -> bool:
    present = {item.get("key"): shorten(item.get("value")) for item in content.get("params", [])}
    return all(present.get(name) == value for name, value in row.detail.get("params", {}).items())


EFFECTS = {
    "set-tag": has_tags,
    "set-tags": has_tags,
    "delete-tag": has_tags,
    "set-alias": has_alias,
    "delete-alias": has_no_alias,
    "transition-stage": has_stage,
    "update": has_description,
    "finalize": has_status,
    "log-params": has_params,
}


def restore_owner(row: Registration) -> None:
    """Record the owner as the view would have done, unless a later row changed the object's life."""
    caller = find_caller(row)
    if caller is None or row.operation not in (*LIFE, "logged-models.create"):
        return
    names = {row.object_name, row.new_name} - {""}
    if later_rows(row).filter(operation__in=LIFE, object_name__in=names).exclude(reason=RECONCILED).exists():
        return
    ref = ObjectRef(kind=row.kind, name=row.object_name)
    match row.operation:
        case "registered-models.rename":
            owner_actions.rename_model(caller, row.object_name, row.new_name)
        case "registered-models.delete":
            owner_actions.delete_owner(caller, ref)
        case _ if not is_owner_recorded(row):
            owner_actions.set_owner(caller, ref)


def find_caller(row: Registration) -> Caller | None:
    """The caller: a key or a browser; None for the portal itself."""
    if row.key:
        return Caller.by_key(row.key)
    if row.user and row.actor == Registration.BROWSER:
        return Caller.by_session(row.user, organisation=row.organisation)
    return None


def is_owner_recorded(row: Registration) -> bool:
    """Whether the view had recorded the owner, who may have handed the object over since."""
    owner = Owner.objects.of(row.namespace, row.kind, row.object_name)
    return owner.filter(key=row.key, user__isnull=False, is_reserved=False).exists()
