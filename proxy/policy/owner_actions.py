"""What is written about owners when something was created, renamed, shared, deleted or handed over."""

from django.db import IntegrityError, transaction

from keys.actions.actor import COMMAND, Actor
from keys.actions.admin_log import log
from keys.credentials.caller import Caller
from keys.models import User
from proxy.models import Owner
from proxy.policy.ownership import SHARED_TAG, check_claims, remembered, remembered_as
from proxy.policy.permissions import Permit
from proxy.request.messages import Json, values
from proxy.routes.objects import ObjectRef


def claim(*, caller: Caller, permit: Permit) -> None:
    """Write down, before MLflow is called, whose the ids are that the client chose.

    The first one wins, also of two at once: the other gets a Refusal (403).
    """
    environment, claims = caller.environment, permit.things.claims
    Owner.objects.bulk_create(
        [
            Owner(
                environment=environment,
                kind=thing.kind,
                name=thing.name,
                user=caller.user,
                key=caller.key,
            )
            for thing in claims
        ],
        ignore_conflicts=True,
    )
    check_claims(caller, claims)


def settle(*, caller: Caller, permit: Permit, answer: Json) -> None:
    """Write down what a successful call means for owners; `answer` is MLflow's JSON.

    Other processes hear of it from PostgreSQL; this one must not serve the next call from what it remembers.
    """
    with transaction.atomic():
        write_down(caller, permit, answer)
    names = [thing.name for thing in permit.things.targets]
    names += [name for name in (permit.content.get("name"), permit.content.get("new_name")) if name]
    for kind in {thing.kind for thing in permit.things.targets} | {"registered_model"}:
        for name in names:
            remembered.drop(remembered_as(caller.environment, ObjectRef(kind=kind, name=name)))


def write_down(caller: Caller, permit: Permit, answer: Json) -> None:
    operation, content = permit.match.operation, permit.content
    created = operation.created
    if created and created.kind != "model_version":
        for name in values(answer, created.field):
            own(
                caller,
                ObjectRef(kind=created.kind, name=str(name)),
                is_shared=is_shared(created.kind, content),
            )
    match operation.name:
        case "registered-models.rename":
            rename(caller, content)
        case "registered-models.delete":
            forget(caller, ObjectRef(kind="registered_model", name=content["name"]))
        case "experiments.set-tag" if content.get("key") == SHARED_TAG:
            share(caller, content["experiment_id"], content.get("value") == "true")
        case "experiments.delete-tag" if content.get("key") == SHARED_TAG:
            share(caller, content["experiment_id"], False)


def own(caller: Caller, thing: ObjectRef, *, is_shared: bool = False) -> None:
    """A new object is its creator's, whatever had that name before and is gone."""
    Owner.objects.update_or_create(
        environment=caller.environment,
        kind=thing.kind,
        name=thing.name,
        defaults={
            "user": caller.user,
            "key": caller.key,
            "is_shared": is_shared,
            "is_reserved": False,
        },
    )


def is_shared(kind: str, content: Json) -> bool:
    return kind == "experiment" and any(
        tag.get("key") == SHARED_TAG and tag.get("value") == "true" for tag in content.get("tags") or []
    )


def rename(caller: Caller, content: Json) -> None:
    """The new name is whose the old one was; the old one stays reserved for the same user."""
    environment, old, new = caller.environment, content["name"], content["new_name"]
    before = Owner.objects.of(environment, "registered_model", old).first()
    if before is None or before.user is None or old == new:
        return
    Owner.objects.update_or_create(
        environment=environment,
        kind="registered_model",
        name=new,
        defaults={"user": before.user, "key": before.key, "is_reserved": False},
    )
    before.is_reserved = True
    before.save(update_fields=["is_reserved"])


def forget(caller: Caller, thing: ObjectRef) -> None:
    Owner.objects.of(caller.environment, thing.kind, thing.name).delete()


def share(caller: Caller, experiment_id: str, is_shared: bool) -> None:
    mark_shared(environment=caller.environment, experiment_id=experiment_id, is_shared=is_shared)


@transaction.atomic
def mark_shared(*, environment: str, experiment_id: str, is_shared: bool, actor: Actor = COMMAND) -> Owner:
    """Say whether anyone may create runs in an experiment, whoever owns it; nobody, if nothing is known.

    The administrators' log says so too, if a user did it.
    """
    owner, _ = Owner.objects.update_or_create(
        environment=environment, kind="experiment", name=experiment_id, defaults={"is_shared": is_shared}
    )
    log(owner, "Shared." if is_shared else "No longer shared.", actor=actor)
    return owner


@transaction.atomic
def hand_over(*, giver: User, taker: User, actor: Actor = COMMAND) -> int:
    """Make everything of `giver`'s `taker`'s; returns how many objects. The tags at MLflow still say who
    created them."""
    if giver == taker:
        raise IntegrityError("the giver and the taker are the same user")
    count = Owner.objects.filter(user=giver).update(user=taker)
    log(giver, f"Handed over {amount(count)} to {taker.username}.", actor=actor)
    return count


def amount(count: int) -> str:
    return f"{count:,} object{'' if count == 1 else 's'}"
