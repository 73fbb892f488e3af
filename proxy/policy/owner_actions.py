"""Records owners: when an object is created, renamed, shared, deleted or handed over."""

from collections.abc import Callable, Sequence

from django.db import IntegrityError, transaction
from django.utils import timezone

from keys.actions.actor import COMMAND, Actor
from keys.actions.errors import ActionError
from keys.actions.grants import check_owner
from keys.actions.history import log
from keys.credentials.caller import Caller
from keys.models import ApiKey, Membership, Namespace, Organisation, User
from keys.organisations import maintainers
from proxy.models import Owner, Publication, PublishedFiles
from proxy.policy.decisions import Decision
from proxy.policy.ownership import SHARED_TAG, cache_name, check_claims, known_owners
from proxy.request.messages import Json, values
from proxy.routes.objects import ObjectRef
from proxy.routes.operations import Operation

BATCH = 2000  # objects that a hand-over changes at once, after which it reports its progress
# Operations, other than creations, that change who owns or shares an object.
CHANGING_OWNERS = frozenset(
    {
        *("registered-models.rename", "registered-models.delete", "model-versions.delete"),
        *("experiments.set-tag", "experiments.delete-tag"),
    }
)


def changes_owners(operation: Operation) -> bool:
    return not operation.is_read and (operation.created is not None or operation.name in CHANGING_OWNERS)


def claim_ids(*, caller: Caller, claims: Sequence[ObjectRef]) -> None:
    """Record, before MLflow is called, the caller as owner of the ids that it chose.

    Of two callers at once the first one wins; the other gets a Refusal (403).
    """
    Owner.objects.bulk_create(
        [
            Owner(
                **caller.namespace.columns,
                kind=claim.kind,
                name=claim.name,
                user=caller.user,
                key=caller.key,
            )
            for claim in claims
        ],
        ignore_conflicts=True,
    )
    check_claims(caller, claims)


def record_changes(*, caller: Caller, decision: Decision, response: Json) -> None:
    """Record what a successful call changes for owners; `response` is MLflow's JSON.

    PostgreSQL announces the changes to other processes; this one drops what it remembers at once, so that its next
    call does not see an outdated owner.
    """
    created = decision.operation.created
    if created and created.kind == "assessment" and not any(values(response, created.field)):
        return  # a trace without assessments
    with transaction.atomic():
        write_changes(caller, decision, response)
    targets, content = decision.objects.targets, decision.content
    names = [target.name for target in targets]
    names += [name for name in (content.get("name"), content.get("new_name")) if name]
    for kind in {target.kind for target in targets} | {"registered_model"}:
        for name in names:
            known_owners.drop(cache_name(caller.namespace, ObjectRef(kind=kind, name=name)))


def write_changes(caller: Caller, decision: Decision, response: Json) -> None:
    operation, content = decision.operation, decision.content
    created = operation.created
    if created and created.kind != "model_version":
        for name in values(response, created.field):
            ref = ObjectRef(kind=created.kind, name=str(name))
            set_owner(caller, ref, is_shared=is_shared_at_creation(created.kind, content))
    match operation.name:
        case "registered-models.rename":
            rename_model(caller, content["name"], content["new_name"])
        case "registered-models.create":  # the name of a model whose deletion the portal has not seen
            end_publications(caller, content["name"])
        case "registered-models.delete":
            delete_owner(caller, ObjectRef(kind="registered_model", name=content["name"]))
        case "model-versions.delete":
            end_publications(caller, content["name"], str(content["version"]).strip().lstrip("0"))
        case "experiments.set-tag" if content.get("key") == SHARED_TAG:
            is_shared = content.get("value") == "true"
            mark_shared(
                namespace=caller.namespace, experiment_id=content["experiment_id"], is_shared=is_shared
            )
        case "experiments.delete-tag" if content.get("key") == SHARED_TAG:
            mark_shared(namespace=caller.namespace, experiment_id=content["experiment_id"], is_shared=False)


def set_owner(caller: Caller, ref: ObjectRef, *, is_shared: bool = False) -> None:
    """Make the caller the owner of a new object, even if a deleted object had its name before."""
    Owner.objects.update_or_create(
        **caller.namespace.columns,
        kind=ref.kind,
        name=ref.name,
        defaults={
            "user": caller.user,
            "key": caller.key,
            "is_shared": is_shared,
            "is_reserved": False,
        },
    )


def is_shared_at_creation(kind: str, content: Json) -> bool:
    return kind == "experiment" and any(
        tag.get("key") == SHARED_TAG and tag.get("value") == "true" for tag in content.get("tags") or []
    )


def rename_model(caller: Caller, old: str, new: str) -> None:
    """Give the new name the owner of the old one; the old one stays reserved for the same user."""
    namespace = caller.namespace
    if old != new:
        end_publications(caller, old)
    owner = Owner.objects.of(namespace, "registered_model", old).first()
    if owner is None or owner.user is None or old == new:
        return
    Owner.objects.update_or_create(
        **namespace.columns,
        kind="registered_model",
        name=new,
        defaults={"user": owner.user, "key": owner.key, "is_reserved": False},
    )
    owner.is_reserved = True
    owner.save(update_fields=["is_reserved"])


def delete_owner(caller: Caller, ref: ObjectRef) -> None:
    Owner.objects.of(caller.namespace, ref.kind, ref.name).delete()
    if ref.kind == "registered_model":
        end_publications(caller, ref.name)


def end_publications(caller: Caller, name: str, version: str = "") -> None:
    """End the publications of a model, or of one of its versions, which no longer exists under its name: the next one
    of this name is another one. The ledger has the call that did it."""
    rows = Publication.objects.within(caller.namespace).filter(withdrawn_at=None, name=name)
    files = PublishedFiles.objects.filter(**caller.namespace.columns, name=name)
    if version:
        rows, files = rows.filter(version=version), files.filter(version=version)
    rows.update(withdrawn_at=timezone.now(), withdrawn_by=caller.user)
    files.delete()


@transaction.atomic
def assign_unowned(*, key: ApiKey, refs: Sequence[ObjectRef]) -> int:
    """Make the key's user the owner of objects that belong to nobody, such as those from before the portal; returns
    their number without those that the user owns already. Raises ActionError for another user's object."""
    count = 0
    for ref in refs:
        owner, is_new = Owner.objects.select_for_update().get_or_create(
            **key.namespace.columns,
            kind=ref.kind,
            name=ref.name,
            defaults={"user": key.owner, "key": key},
        )
        if owner.user_id not in (None, key.owner_id):
            raise ActionError(f"the {ref} belongs to another user, {owner.user}")
        if owner.user_id is None:
            owner.user, owner.key, is_new = key.owner, key, True
            owner.save(update_fields=["user", "key"])
        count += is_new
    return count


@transaction.atomic
def mark_shared(
    *, namespace: Namespace, experiment_id: str, is_shared: bool, actor: Actor = COMMAND
) -> Owner:
    """Set whether anyone may create runs in an experiment. An experiment without a known owner gets none by this.

    The admin log records it if a user did it. Raises NotAllowed for a superuser's experiment if the actor is none.
    """
    known = Owner.objects.of(namespace, "experiment", experiment_id).first()
    if known and known.user_id:
        check_owner(known.user_id, actor)
    owner, _ = Owner.objects.update_or_create(
        **namespace.columns, kind="experiment", name=experiment_id, defaults={"is_shared": is_shared}
    )
    log(owner, "Shared." if is_shared else "No longer shared.", actor=actor)
    return owner


@transaction.atomic
def hand_over(
    *,
    giver: User,
    taker: User,
    organisation: Organisation | None = None,
    actor: Actor = COMMAND,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Make `taker` the owner of all objects of `giver`, or of those in an organisation; returns their number. The tags
    at MLflow still name the creator. `on_progress` gets how many of how many are done. Raises NotAllowed for objects of
    a superuser if the actor is none, and in an organisation for an actor who is no maintainer of it; ActionError for
    a taker who is no active member of it."""
    check_owner(giver.pk, actor)
    if organisation is not None:
        maintainers.require_role(actor, organisation, Membership.Role.MAINTAINER)
        if not organisation.memberships.filter(user=taker, user__is_active=True).exists():
            raise ActionError(f"{taker.username} is not an active member of {organisation}")
    if giver == taker:
        raise IntegrityError("the giver and the taker are the same user")
    owned = Owner.objects.filter(user=giver)
    if organisation is not None:
        owned = owned.filter(organisation=organisation)
    ids, count = list(owned.order_by("pk").values_list("pk", flat=True)), 0
    for first in range(0, len(ids), BATCH):
        count += owned.filter(pk__in=ids[first : first + BATCH]).update(user=taker)
        on_progress(min(first + BATCH, len(ids)), len(ids))
    of = f" of {giver.username}" if organisation else ""
    log(organisation or giver, f"Handed over {format_count(count)}{of} to {taker.username}.", actor=actor)
    return count


def format_count(count: int) -> str:
    return f"{count:,} object{'' if count == 1 else 's'}"
