"""Whose an object is, and so who may write it.

Reads are shared; what a user created through the portal only that user's keys write. Look-ups are remembered
as keys are (`keys.credentials.cache`): a change of ownership is announced by PostgreSQL.
"""

import logging
from collections.abc import Mapping, Sequence

from django.conf import settings

from keys.credentials import cache
from keys.credentials.caller import Caller
from keys.database import database_required
from keys.refusals import Refusal, forbidden, invalid
from proxy.models import Owner
from proxy.request import artifact_paths
from proxy.request.messages import CANONICAL_INTEGER, Json, values
from proxy.routes.objects import ObjectRef, RequestObjects
from proxy.routes.operations import Match, ObjectField

logger = logging.getLogger(__name__)

SHARED_TAG = "hokusai.shared"
MOST_OBJECTS = 5000
DEFAULT_EXPERIMENT = "0"  # MLflow's own, in which anyone may create runs

remembered: cache.Known[Owner] = cache.Known(size=100_000)


def forget(kind: str, name: str) -> None:
    if kind == "owner":
        remembered.drop(name)


cache.caches.append(remembered)
cache.hearers.append(forget)


def remembered_as(environment: str, thing: ObjectRef) -> str:
    """The name under which PostgreSQL announces a change of the object's owner, too."""
    return f"{environment} {thing.kind} {thing.name}"


def owner_of(environment: str, thing: ObjectRef) -> Owner | None:
    """The row of the object's owner, None if it is nobody's. Raises Refusal (503) if PostgreSQL is away and
    the object was not seen lately."""

    def fetch() -> Owner | None:
        return Owner.objects.of(environment, thing.kind, thing.name).first()

    with database_required(f"The portal cannot look up the owner of {thing} just now. Try again soon."):
        return remembered.get(remembered_as(environment, thing), fetch)


def owners_of(environment: str, things: Sequence[ObjectRef]) -> dict[ObjectRef, Owner]:
    """The rows of those that have one, in one query for each kind. Raises Refusal (503)."""
    found: dict[ObjectRef, Owner] = {}
    with database_required("The portal cannot look up the owners just now. Try again soon."):
        for kind in {thing.kind for thing in things}:
            names = [thing.name for thing in things if thing.kind == kind]
            rows = Owner.objects.filter(environment=environment, kind=kind, name__in=names).select_related(
                "user"
            )
            found |= {ObjectRef(kind=kind, name=row.name): row for row in rows}
    return found


def things(
    match: Match, content: Json, headers: Mapping[str, str], claims: tuple[str, ...] = ()
) -> RequestObjects:
    """What the request acts on. `claims` are ids found in a body that is not JSON.

    Raises Refusal (400) if it names nothing where it has to, or an id that could be read in two ways.
    """
    operation = match.operation
    targets = found(operation.targets, match, content, headers)
    parents = found(operation.parents, match, content, headers)
    claimed = found(operation.claims, match, content, headers)
    claimed += tuple(ObjectRef(kind="trace", name=trace_id) for trace_id in claims)
    if operation.name == "traces.delete" and not targets:
        # Without ids MLflow deletes everybody's traces of the experiment up to a time.
        targets = found((ObjectField(kind="experiment", field="experiment_id"),), match, content, headers)
    if len(targets) + len(parents) > MOST_OBJECTS:
        raise invalid("too_many_objects", f"One call names at most {MOST_OBJECTS:,} objects. Send several.")
    missing = (
        (operation.targets and not (targets or operation.claims))
        or (operation.parents and not parents)
        or (any(place.field != "otlp" for place in operation.claims) and not claimed)
    )
    if missing:
        wanted = (operation.claims or operation.targets or operation.parents)[0]
        if operation.name != "datasets.create":
            raise invalid(
                "no_object",
                f"{operation.name} has to name the {wanted.kind} that it is about (“{wanted.field}”).",
            )
    return RequestObjects(targets=targets, parents=parents, claims=claimed)


def found(
    places: tuple[ObjectField, ...], match: Match, content: Json, headers: Mapping[str, str]
) -> tuple[ObjectRef, ...]:
    things: dict[ObjectRef, None] = {}
    for place in places:
        if place.field.startswith("{"):
            names = [match.arguments[place.field.strip("{}")]]
        elif place.field.startswith("@"):
            names = [headers[place.field[1:]]] if headers.get(place.field[1:]) else []
        else:
            names = [name for name in values(content, place.field) if name != ""]
        for name in names:
            things[thing(place, name)] = None
    return tuple(things)


def thing(place: ObjectField, name: object) -> ObjectRef:
    if not isinstance(name, str) or "\0" in name:
        raise invalid("bad_name", f"“{place.field}” has to be text without NUL characters.")
    if place.kind == "artifact":
        kind, inner = artifact_paths.holder(name)
        return ObjectRef(kind=kind, name=inner)
    if place.kind == "experiment" and not CANONICAL_INTEGER.fullmatch(name):
        raise invalid("bad_experiment_id", f"“{place.field}” has to be an experiment's id, such as 12.")
    return ObjectRef(kind=place.kind, name=name)


def check(caller: Caller, things: RequestObjects) -> None:
    """Raise Refusal (403) for the first object that the caller's key may not write."""
    if settings.OWNERSHIP == "off":
        return
    try:
        for thing in things.targets:
            check_target(caller, thing)
        for thing in things.parents:
            check_parent(caller, thing)
        check_claims(caller, things.claims)
    except Refusal as refusal:
        if settings.OWNERSHIP != "log" or refusal.reason != "not_owner":
            raise
        logger.warning("ownership_not_enforced", extra={"key_id": caller.key_id, "refusal": refusal.message})


def check_target(caller: Caller, thing: ObjectRef) -> None:
    if caller.any_owner:
        return
    owner = owner_of(caller.environment, thing)
    if owner is None or owner.is_reserved or owner.user_id != caller.user.pk:
        raise not_owner(thing, None if owner and owner.is_reserved else owner)


def check_parent(caller: Caller, thing: ObjectRef) -> None:
    """New runs, models and traces: in one's own experiment, in a shared one, and in MLflow's Default."""
    if caller.any_owner or thing.name == DEFAULT_EXPERIMENT:
        return
    owner = owner_of(caller.environment, thing)
    if owner is None or not (owner.is_shared or owner.user_id == caller.user.pk):
        raise not_owner(
            thing,
            owner,
            f" To share it, its owner sets its tag {SHARED_TAG} to true; or create an experiment of your own.",
        )


def check_claims(caller: Caller, claims: Sequence[ObjectRef]) -> None:
    """Ids that the client chose: its own, or nobody's yet (`proxy.policy.permissions` asks MLflow)."""
    if caller.any_owner or settings.OWNERSHIP == "off":
        return
    for thing, owner in owners_of(caller.environment, claims).items():
        if owner.user_id != caller.user.pk:
            raise not_owner(thing, owner)


def check_name(caller: Caller, name: str) -> None:
    """A registered model's new name: not one that another user's model had until it was renamed."""
    if settings.OWNERSHIP != "enforce" or caller.any_owner:
        return
    thing = ObjectRef(kind="registered_model", name=name)
    owner = owner_of(caller.environment, thing)
    if owner is not None and owner.is_reserved and owner.user_id != caller.user.pk:
        raise forbidden(
            "name_reserved",
            f"The name “{name}” belonged to another user's model until it was renamed, and stays reserved for "
            "that user. Choose another name.",
        )


def new_names(match: Match, content: Json) -> list[str]:
    place = {"registered-models.create": "name", "registered-models.rename": "new_name"}.get(
        match.operation.name
    )
    return [name for name in values(content, place) if name] if place else []


def not_owner(thing: ObjectRef, owner: Owner | None, hint: str = "") -> Refusal:
    if owner is None or owner.user is None:
        whose = "belongs to nobody (it was made before or around this portal, or is not there)"
        what = (
            "See whether the id is right. Only a key with the right “any owner” may write what is nobody's."
        )
    else:
        whose = f"belongs to {owner.user.username}"
        what = (
            "You can read it, but only its owner writes it; ask for it to be handed over, or make your own."
        )
    text = str(thing)
    return forbidden("not_owner", f"{text[0].upper()}{text[1:]} {whose}. {hint.strip() or what}")


def began_by(caller: Caller, things: RequestObjects) -> bool:
    """Whether all of it was made by this very key before it expired."""
    if caller.key is None:
        return False
    expired = caller.key.expires_at
    for thing in things.targets:
        owner = owner_of(caller.environment, thing)
        if (
            owner is None
            or owner.is_reserved
            or owner.key_id != caller.key.pk
            or (expired and owner.created_at >= expired)
        ):
            return False
    return bool(things.targets)
