"""What became of the ledger's rows that were never completed: MLflow is asked.

A pending row was written before MLflow was called. Whether the call got there is seen from what MLflow has:
a creation by its name, its maker's stamps and its time, anything else by the state that it asked for.
"""

import datetime
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from django.utils import timezone

from keys.credentials.caller import Caller
from proxy.ledger import writer
from proxy.ledger.writer import shortened
from proxy.models import Owner, Registration, RegistrationQuerySet
from proxy.policy import owner_actions
from proxy.policy.attribution import KEY_TAG, USER_TAG
from proxy.request.messages import Json
from proxy.routes.objects import ObjectRef
from proxy.upstream.client import CONNECT_TIMEOUT, IDLE_TIMEOUT
from proxy.upstream.registry import Registry, tags

Outcome = Registration.Outcome
IN_FLIGHT = CONNECT_TIMEOUT + IDLE_TIMEOUT + 5  # seconds for which a call may still be on its way
CLOCKS_DIFFER = 60_000  # milliseconds by which MLflow's clock may lag behind ours
RECONCILED = "reconciled"
# LoggedModelStatus (mlflow/protos/service.proto), which a request may also give as a number.
STATUSES = {"1": "LOGGED_MODEL_PENDING", "2": "LOGGED_MODEL_READY", "3": "LOGGED_MODEL_UPLOAD_FAILED"}
LIFE = ("registered-models.create", "registered-models.rename", "registered-models.delete")


@dataclass(kw_only=True)
class Settled:
    """A pending row and what came of it; `facts` are MLflow's words about what was made."""

    row: Registration
    outcome: str
    facts: dict[str, Any] = field(default_factory=dict)


def settle(environment: str, registry: Registry, *, every: bool = False, **where: Any) -> list[Settled]:
    """Complete the pending rows of an environment (`where` narrows them), the young ones too if `every`.

    The newest first: of two equal requests the later one is the likelier maker of what came last. Raises
    RegistryError; what was settled until then stays.
    """
    rows = Registration.objects.pending().filter(environment=environment, **where).with_people()
    if not every:
        rows = rows.filter(at__lt=timezone.now() - datetime.timedelta(seconds=IN_FLIGHT))
    settled = []
    for row in rows.order_by("-id"):
        found = judge(row, registry)
        if writer.close(row, outcome=found.outcome, reason=RECONCILED, **found.facts):
            settled.append(found)
    settled.reverse()
    for found in settled:
        if found.outcome == Outcome.DONE:
            restore_owner(found.row)
    return settled


def judge(row: Registration, registry: Registry) -> Settled:
    if row.operation.endswith(".create"):
        made = created(row, registry)
        if made is not None:
            return Settled(row=row, outcome=Outcome.DONE, facts=made)
        return Settled(row=row, outcome=Outcome.UNKNOWN if was_deleted_since(row) else Outcome.NOT_DONE)
    holds = state_holds(row, registry)
    if holds is None or (not holds and was_written_since(row)):
        return Settled(row=row, outcome=Outcome.UNKNOWN)
    return Settled(row=row, outcome=Outcome.DONE if holds else Outcome.NOT_DONE)


def created(row: Registration, registry: Registry) -> dict[str, Any] | None:
    """What MLflow made of a request to create, as the ledger's columns; None if nothing is there that this
    request made and no other row claims."""
    facts = []
    for thing in candidates(row, registry):
        found = writer.facts_of(row, {answer_field(row): thing})
        if found is None or not is_made_by(row, thing, found["created_ms"]) or is_claimed(row, found):
            continue
        facts.append(found)
    return min(facts, key=lambda found: int(found["created_ms"]), default=None)


def answer_field(row: Registration) -> str:
    return "model" if row.kind == "logged_model" else row.kind


def candidates(row: Registration, registry: Registry) -> Iterator[Json]:
    name = current_name(row)
    if row.kind == "registered_model":
        model = registry.model(name)
        yield from [model] if model else []
    elif row.kind == "model_version":
        yield from registry.versions(name)
    elif row.kind == "logged_model":
        yield from registry.logged_models(str(row.detail.get("experiment_id", "")))


def is_made_by(row: Registration, thing: Json, created_ms: int) -> bool:
    """Whether the stamps are the row's user's and key's (or browser's), which nobody else can set, and the time
    is not before it."""
    stamps, names = tags(thing.get("info", thing)), (USER_TAG, KEY_TAG)
    began = int(row.at.timestamp() * 1000)
    is_stamped = all(name in row.tags and stamps.get(name) == row.tags[name] for name in names)
    return is_stamped and created_ms >= began - CLOCKS_DIFFER


def is_claimed(row: Registration, facts: dict[str, Any]) -> bool:
    """Whether another row made this: the client's next attempt, say."""
    same = Registration.objects.effective().filter(
        environment=row.environment, operation=row.operation, created_ms=facts["created_ms"]
    )
    if row.kind == "logged_model":
        return same.filter(object_name=facts["object_name"]).exists()
    return same.filter(object_name=row.object_name, version=facts.get("version", "")).exists()


def current_name(row: Registration) -> str:
    """The name by now of the registered model that a row names."""
    name, since = row.object_name, row.pk
    while row.kind != "logged_model" and (
        rename := later(row, since).filter(operation="registered-models.rename", object_name=name).first()
    ):
        name, since = rename.new_name, rename.pk
    return name


def later(row: Registration, since: int | None = None) -> RegistrationQuerySet:
    """What changed the registry after a row, oldest first."""
    return (
        Registration.objects.effective()
        .filter(environment=row.environment, id__gt=row.pk if since is None else since)
        .order_by("id")
    )


def was_deleted_since(row: Registration) -> bool:
    """Whether what a row may have made could have been deleted through the portal since."""
    if row.kind == "registered_model":
        # Had it been made, the next of that name could not have been before it was deleted.
        following = later(row).filter(operation__in=LIFE, object_name=row.object_name).first()
        return following is not None and not following.operation.endswith(".create")
    names = {row.object_name, current_name(row)} - {""}
    if row.kind == "logged_model":
        return (
            later(row).filter(operation="logged-models.delete").exclude(object_name__in=claimed(row)).exists()
        )
    deletions = later(row).filter(object_name__in=names)
    whole, single = "registered-models.delete", "model-versions.delete"
    return (
        deletions.filter(operation=whole).exists()
        or deletions.filter(operation=single).exclude(version__in=claimed(row)).exists()
    )


def claimed(row: Registration) -> set[str]:
    """What other rows made by the same operation: logged models' ids, or versions of the model as it was."""
    made = Registration.objects.effective().filter(environment=row.environment)
    if row.kind == "logged_model":
        return set(made.filter(operation=row.operation, id__gt=row.pk).values_list("object_name", flat=True))
    made = made.filter(object_name=row.object_name)
    former = made.filter(operation="registered-models.delete", id__lt=row.pk).order_by("id").last()
    made = made.filter(operation=row.operation, id__gt=former.pk if former else 0)
    return set(made.values_list("version", flat=True))


def was_written_since(row: Registration) -> bool:
    """Whether a later write may have hidden what a row did."""
    names = {row.object_name, current_name(row)}
    return later(row).filter(object_name__in=names, version__in=("", row.version)).exists()


def state_holds(row: Registration, registry: Registry) -> bool | None:
    """Whether MLflow has what a row asked for; None if that cannot be told."""
    if row.operation == "registered-models.rename":
        return was_renamed(row, registry)
    thing = present(row, registry)
    if row.operation.endswith(".delete"):
        return True if thing is None else (None if was_made_since(row, thing) else False)
    if thing is None or was_made_since(row, thing):
        return None
    return HOLDS[row.operation.partition(".")[2]](row, thing)


def present(row: Registration, registry: Registry) -> Json | None:
    """What a row acts on, as it is."""
    if row.kind == "registered_model":
        return registry.model(current_name(row))
    if row.kind == "model_version":
        return registry.version(current_name(row), row.version)
    model = registry.logged_model(row.object_name)
    return model and {**model["info"], **model.get("data", {})}


def was_made_since(row: Registration, thing: Json) -> bool:
    """Whether this is another thing of that name, made after the row."""
    made = int(thing.get("creation_timestamp") or thing.get("creation_timestamp_ms") or 0)
    return made > int(row.at.timestamp() * 1000) + CLOCKS_DIFFER


def was_renamed(row: Registration, registry: Registry) -> bool | None:
    if registry.model(row.new_name) is not None and registry.model(row.object_name) is None:
        return True
    old = registry.model(row.object_name)
    return None if old is None or was_made_since(row, old) else False


def has_tags(row: Registration, thing: Json) -> bool:
    present = tags(thing)
    return all(
        name not in present if value is None else shortened(present.get(name)) == value
        for name, value in row.tags.items()
    )


def has_alias(row: Registration, thing: Json) -> bool:
    aliases: dict[str | None, str] = {
        item.get("alias"): str(item.get("version")) for item in thing.get("aliases", [])
    }
    return bool(aliases.get(row.detail.get("alias")) == row.version)


def has_no_alias(row: Registration, thing: Json) -> bool:
    return row.detail.get("alias") not in {item.get("alias") for item in thing.get("aliases", [])}


def has_stage(row: Registration, thing: Json) -> bool:
    present, asked = str(thing.get("current_stage", "")), str(row.detail.get("stage", ""))
    return present.lower() == asked.lower()


def has_description(row: Registration, thing: Json) -> bool:
    asked = str(row.detail.get("description", ""))
    return shortened(thing.get("description", "")) == asked


def has_status(row: Registration, thing: Json) -> bool:
    asked = str(row.detail.get("status"))
    return str(thing.get("status")) in (asked, STATUSES.get(asked))


def has_params(row: Registration, thing: Json) -> bool:
    present = {item.get("key"): shortened(item.get("value")) for item in thing.get("params", [])}
    return all(present.get(name) == value for name, value in row.detail.get("params", {}).items())


HOLDS = {
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
    """What the view would have written about owners, had it got there; not if a later row has said more."""
    caller = caller_of(row)
    if caller is None or row.operation not in (*LIFE, "logged-models.create"):
        return
    names = {row.object_name, row.new_name} - {""}
    if later(row).filter(operation__in=LIFE, object_name__in=names).exclude(reason=RECONCILED).exists():
        return
    thing = ObjectRef(kind=row.kind, name=row.object_name)
    match row.operation:
        case "registered-models.rename":
            owner_actions.rename_model(caller, row.object_name, row.new_name)
        case "registered-models.delete":
            owner_actions.delete_owner(caller, thing)
        case _ if not made_known(row):
            owner_actions.set_owner(caller, thing)


def caller_of(row: Registration) -> Caller | None:
    """Who asked for it: a key, or a browser; None for a command of the portal's own."""
    if row.key:
        return Caller.by_key(row.key)
    return Caller.by_session(row.user) if row.user and row.actor == Registration.BROWSER else None


def made_known(row: Registration) -> bool:
    """Whether the view had written the owner down, who may have handed it over since."""
    owner = Owner.objects.of(row.environment, row.kind, row.object_name)
    return owner.filter(key=row.key, user__isnull=False, is_reserved=False).exists()
