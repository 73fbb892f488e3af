"""Who owns an object at MLflow, and therefore may write it.

Everyone may read; only keys of the user who created an object through the portal may write it. Owners are kept in
memory as keys are (`keys.credentials.cache`), because PostgreSQL announces each change of an owner.
"""

import hashlib
import logging
from collections.abc import Mapping, Sequence

from django.conf import settings

from keys.credentials import cache
from keys.credentials.caller import Caller
from keys.database import database_required
from keys.models import Namespace
from keys.refusals import Refusal, forbidden, invalid
from proxy.models import Owner
from proxy.request import artifact_paths
from proxy.request.messages import CANONICAL_INTEGER, Json, values
from proxy.routes.objects import DEFAULT_EXPERIMENT, ObjectRef, RequestObjects
from proxy.routes.operations import Match, ObjectField

logger = logging.getLogger(__name__)

SHARED_TAG = "hokusai.shared"
MOST_OBJECTS = 5000
# Where a call names assessments whose ids the client may have chosen, by operation.
ASSESSMENT_FIELDS = {"traces.start": "trace.trace_info.assessments[]", "assessments.create": "assessment"}

known_owners: cache.RowCache[Owner] = cache.RowCache(size=100_000)


def drop_changed(kind: str, name: str) -> None:
    if kind == "owner":
        known_owners.drop(name)


cache.caches.append(known_owners)
cache.change_listeners.append(drop_changed)


def cache_name(namespace: Namespace, ref: ObjectRef) -> str:
    """The object's name in the cache, under which PostgreSQL also announces a change of its owner."""
    return f"{namespace} {ref.kind} {ref.name}"


def owner_of(namespace: Namespace, ref: ObjectRef) -> Owner | None:
    """The row of the object's owner, None if nobody owns it. Raises Refusal (429) if PostgreSQL is unavailable and
    the owner is not in memory."""

    def fetch() -> Owner | None:
        return Owner.objects.of(namespace, ref.kind, ref.name).first()

    with database_required(
        f"The portal cannot look up the owner of {ref} just now. Try again in a few seconds."
    ):
        return known_owners.get(cache_name(namespace, ref), fetch)


def owners_of(namespace: Namespace, refs: Sequence[ObjectRef]) -> dict[ObjectRef, Owner]:
    """The rows of the objects that have an owner, in one query for each kind. Raises Refusal (429)."""
    owners: dict[ObjectRef, Owner] = {}
    with database_required("The portal cannot look up owners just now. Try again in a few seconds."):
        for kind in {ref.kind for ref in refs}:
            names = [ref.name for ref in refs if ref.kind == kind]
            rows = Owner.objects.within(namespace).filter(kind=kind, name__in=names).select_related("user")
            owners |= {ObjectRef(kind=kind, name=row.name): row for row in rows}
    return owners


def read_objects(
    match: Match, content: Json, headers: Mapping[str, str], trace_ids: tuple[str, ...] = ()
) -> RequestObjects:
    """The objects that a request acts on. `trace_ids` are claimed in a body that is not JSON.

    Raises Refusal (400) if the request does not name an object that it must name, or names an id that can be read
    in two ways.
    """
    operation = match.operation
    targets = objects_in(operation.targets, match, content, headers)
    parents = objects_in(operation.parents, match, content, headers)
    claims = objects_in(operation.claims, match, content, headers)
    claims += tuple(ObjectRef(kind="trace", name=trace_id) for trace_id in trace_ids)
    references = objects_in(operation.references, match, content, headers)
    if operation.name == "traces.delete" and not targets:
        # Without ids MLflow deletes all users' traces of the experiment up to a time.
        fields = (ObjectField(kind="experiment", field="experiment_id"),)
        targets = objects_in(fields, match, content, headers)
    if len(targets) + len(parents) + len(references) > MOST_OBJECTS:
        raise invalid(
            "too_many_objects",
            f"The call names more than {MOST_OBJECTS:,} objects. Split it into several calls.",
        )
    is_incomplete = (
        (operation.targets and not (targets or operation.claims))
        or (operation.parents and not parents)
        or (any(field.field != "otlp" for field in operation.claims) and not claims)
    )
    if is_incomplete and operation.name != "datasets.create":
        wanted = (operation.claims or operation.targets or operation.parents)[0]
        if operation.parents and not parents:
            wanted = operation.parents[0]
        raise invalid("no_object", f"{operation.name} names no {wanted.kind}. {how_to_name(wanted)}")
    return RequestObjects(targets=targets, parents=parents, claims=claims, references=references)


def how_to_name(wanted: ObjectField) -> str:
    if not wanted.field.startswith("@"):
        return f"Set “{wanted.field}”."
    header = wanted.field[1:]
    return f"Send the {wanted.kind}'s id in the header {header} (OTEL_EXPORTER_OTLP_HEADERS={header}=ID)."


def objects_in(
    fields: tuple[ObjectField, ...], match: Match, content: Json, headers: Mapping[str, str]
) -> tuple[ObjectRef, ...]:
    """The objects that these fields name, each once, in order."""
    refs: dict[ObjectRef, None] = {}
    for field in fields:
        if field.field.startswith("{"):
            names = [match.arguments[field.field.strip("{}")]]
        elif field.field.startswith("@"):
            names = [headers[field.field[1:]]] if headers.get(field.field[1:]) else []
        else:
            names = [name for name in values(content, field.field) if name != ""]
        for name in names:
            refs[object_ref(field, name)] = None
    return tuple(refs)


def object_ref(field: ObjectField, name: object) -> ObjectRef:
    if not isinstance(name, str) or "\0" in name:
        raise invalid(
            "bad_name", f"“{field.field}” is not text, or contains NUL characters. Send plain text."
        )
    if field.kind == "artifact":
        kind, inner = artifact_paths.holder(name)
        return ObjectRef(kind=kind, name=inner)
    if field.kind == "experiment" and not CANONICAL_INTEGER.fullmatch(name):
        raise invalid(
            "bad_experiment_id",
            f"“{field.field}” is not an experiment's id. Send the plain number, such as 12.",
        )
    return ObjectRef(kind=field.kind, name=name)


def check(caller: Caller, objects: RequestObjects) -> None:
    """Raise Refusal (403) for the first object that the caller's key may not write."""
    if settings.OWNERSHIP == "off":
        return
    try:
        for target in objects.targets:
            check_target(caller, target)
        for parent in objects.parents:
            check_parent(caller, parent)
        check_claims(caller, objects.claims)
    except Refusal as refusal:
        if settings.OWNERSHIP != "log" or refusal.reason != "not_owner":
            raise
        logger.warning("ownership_not_enforced", extra={"key_id": caller.key_id, "refusal": refusal.message})


def check_target(caller: Caller, target: ObjectRef) -> None:
    if caller.any_owner:
        return
    owner = owner_of(caller.namespace, target)
    if owner is None or owner.is_reserved or not may_write(caller, owner):
        raise not_owner(target, None if owner and owner.is_reserved else owner)


def may_write(caller: Caller, owner: Owner) -> bool:
    """Whether the caller may write an object of this owner in the caller's own organisation. There, everybody may write
    what anybody has created, unless the key is for its user's own objects; in `shared`, whose users do not know each
    other, only the owner may."""
    if owner.user_id is None or owner.organisation_id != caller.organisation.pk:
        return False
    is_team = not caller.organisation.is_shared and not caller.only_own
    return is_team or owner.user_id == caller.user.pk


def check_parent(caller: Caller, parent: ObjectRef) -> None:
    """New runs, models and traces: in the user's own experiments, in shared ones, and in MLflow's Default."""
    if caller.any_owner or parent.name == DEFAULT_EXPERIMENT:
        return
    owner = owner_of(caller.namespace, parent)
    if owner is None or not (owner.is_shared or may_write(caller, owner)):
        raise not_owner(
            parent,
            owner,
            f"To share it, its owner sets its tag {SHARED_TAG} to true; or create an experiment of your own.",
        )


def check_claims(caller: Caller, claims: Sequence[ObjectRef]) -> None:
    """Ids that the client chose must be its own, or nobody's (`proxy.policy.upstream_checks` asks MLflow). MLflow has
    one list of trace ids for all organisations."""
    if not claims:
        return
    for claim, owner in claimed(caller.environment, claims).items():
        if owner.organisation_id != caller.organisation.pk:
            raise unknown_trace(claim)
        if not (caller.any_owner or settings.OWNERSHIP == "off" or may_write(caller, owner)):
            raise not_owner(claim, owner)


def claimed(environment: str, claims: Sequence[ObjectRef]) -> dict[ObjectRef, Owner]:
    """The rows of the claimed ids, of whatever organisation, in one query. Raises Refusal (429)."""
    with database_required("The portal cannot look up owners just now. Try again in a few seconds."):
        rows = Owner.objects.filter(
            environment=environment, kind="trace", name__in=[claim.name for claim in claims]
        ).select_related("user")
        return {ObjectRef(kind="trace", name=row.name): row for row in rows}


def unknown_trace(claim: ObjectRef) -> Refusal:
    """For the id of another organisation's trace: as MLflow responds to an id that it does not know."""
    return Refusal(
        status=404,
        error_code="RESOURCE_DOES_NOT_EXIST",
        reason="unknown_object",
        message=f"Trace with ID '{claim.name}' not found.",
    )


def check_name(caller: Caller, name: str) -> None:
    """Raise Refusal (403) for a new model name that another user's model had until it was renamed."""
    if settings.OWNERSHIP != "enforce" or caller.any_owner:
        return
    owner = owner_of(caller.namespace, ObjectRef(kind="registered_model", name=name))
    if owner is not None and owner.is_reserved and not may_write(caller, owner):
        raise forbidden(
            "name_reserved",
            f"The name “{name}” belonged to another user's model until that was renamed, and stays reserved for "
            "that user. Choose another name.",
        )


def new_names(match: Match, content: Json) -> list[str]:
    """The names that a registered model would get."""
    field = {"registered-models.create": "name", "registered-models.rename": "new_name"}.get(
        match.operation.name
    )
    return [name for name in values(content, field) if name] if field else []


def not_owner(ref: ObjectRef, owner: Owner | None, hint: str = "") -> Refusal:
    if owner is None or owner.user is None:
        state = "belongs to nobody (it was created before or without this portal, or does not exist)"
        advice = (
            "Check the id. Only a key with the right “any owner” may write an object that belongs to nobody."
        )
    else:
        state = f"belongs to {owner.user.username}"
        advice = "You may read it, but only its owner may write it. Ask for a transfer, or create your own."
    name = str(ref)
    return forbidden("not_owner", f"{name[0].upper()}{name[1:]} {state}. {hint or advice}")


def is_created_by_key(caller: Caller, objects: RequestObjects) -> bool:
    """Whether this very key created every target before it expired, or as part of such a run; False without targets."""
    if caller.key is None:
        return False
    expired = caller.key.expires_at
    for target in objects.targets:
        owner = owner_of(caller.namespace, target)
        if (
            owner is None
            or owner.is_reserved
            or owner.key_id != caller.key.pk
            or (expired and owner.created_at >= expired and target.kind != "logged_model")
        ):
            return False
    return bool(objects.targets)


def bind_assessments(caller: Caller, match: Match, content: Json) -> Json:
    """The content of a call in which each assessment that the client names has an id of its own trace; `content` if
    nothing changes.

    MLflow's client from 3.18 chooses the ids, so that a repeated call updates the same assessments. The portal keeps an
    id only if the organisation has an assessment of this id. It replaces any other id by one derived from the trace and
    the id, so that a repeated call gets the same one. Raises Refusal (403) for the id of another user's assessment.
    """
    name, is_free = match.operation.name, settings.OWNERSHIP != "enforce" or caller.any_owner
    if name not in ASSESSMENT_FIELDS or (settings.ISOLATION == "off" and (is_free or name != "traces.start")):
        return content
    field = ASSESSMENT_FIELDS[name]
    sent = [str(each) for each in values(content, f"{field}.assessment_id") if each]
    if not sent:
        return content
    owned = owners_of(caller.namespace, [ObjectRef(kind="assessment", name=each) for each in sent])
    for ref, owner in owned.items():
        if not is_free and not may_write(caller, owner):
            raise not_owner(ref, owner)
    known = {ref.name for ref in owned}
    if name == "assessments.create":
        return {**content, "assessment": bind(content["assessment"], match.arguments["trace_id"], known)}
    trace_id = str(next(values(content, "trace.trace_info.trace_id"), ""))
    info = content["trace"]["trace_info"]
    assessments = [bind(each, trace_id, known) for each in info["assessments"]]
    return {**content, "trace": {**content["trace"], "trace_info": {**info, "assessments": assessments}}}


def bind(assessment: Json, trace_id: str, known: set[str]) -> Json:
    name = str(assessment.get("assessment_id") or "")
    if not name or name in known:
        return assessment
    digest = hashlib.sha256(f"{trace_id} {name}".encode(errors="replace")).hexdigest()
    return {**assessment, "assessment_id": f"a-{digest[:32]}"}
