"""Fields of a request that say who did something: set to the caller's own name, or refused. Pure.

MLflow without users of its own stores what the client sends in them (mlflow/server/handlers.py). `FIELDS` lists every
field of a write whose name says that it identifies a person; a test compares it with MLflow's messages.
"""

import json
from dataclasses import dataclass
from enum import Enum
from typing import Any

from keys.credentials.caller import Caller
from keys.refusals import forbidden
from proxy.request.messages import Json, unreadable, values
from proxy.routes.operations import Match

USER_TAG = "mlflow.user"
# Only MLflow's AI gateway, which the portal does not serve, knows its callers (mlflow/server/gateway_api.py).
GATEWAY_KEYS = frozenset({"mlflow.auth.userId", "mlflow.auth.username"})
NOBODY = "default"  # what MLflow's client and pages send where the server has no users
MACHINES = frozenset({"LLM_JUDGE", "2", "CODE", "3"})  # source types of assessments that name no person


class Rule(Enum):
    """SET: the caller's name replaces the value. OWN: any other name than the caller's is refused, because the client
    expects back the name that it sent. HARMLESS: it names nobody."""

    SET = "set"
    OWN = "own name only"
    HARMLESS = "harmless"


@dataclass(frozen=True, kw_only=True)
class IdentityField:
    """A field of an operation's request, in the notation of `proxy.routes.served`."""

    operation: str
    field: str
    rule: Rule
    why: str


def fields_of(operation: str, rule: Rule, why: str, *fields: str) -> tuple[IdentityField, ...]:
    return tuple(IdentityField(operation=operation, field=field, rule=rule, why=why) for field in fields)


CREATOR = "who created or changed it"
ASSESSOR = "who assessed it, unless the source is a program or an LLM judge"
REVIEWERS = "whose work it is; only that user's keys can do it"
TRACE_ASSESSMENT = "trace.trace_info.assessments[]"

FIELDS: tuple[IdentityField, ...] = (
    *fields_of("runs.create", Rule.SET, CREATOR, "user_id"),
    *fields_of("datasets.create", Rule.SET, CREATOR, "created_by"),
    *fields_of("datasets.upsert-records", Rule.SET, CREATOR, "updated_by"),
    *fields_of("issues.create", Rule.SET, CREATOR, "created_by"),
    *fields_of("issues.update", Rule.SET, CREATOR, "last_updated_by"),
    *fields_of("review-queues.create", Rule.SET, CREATOR, "created_by"),
    *fields_of("review-queues.create", Rule.OWN, REVIEWERS, "users[]"),
    *fields_of("review-queues.get-or-create-user", Rule.SET, CREATOR, "created_by"),
    *fields_of("review-queues.get-or-create-user", Rule.OWN, REVIEWERS, "user"),
    *fields_of("review-queues.set-item-status", Rule.SET, "who reviewed it", "completed_by"),
    *fields_of("review-queues.update", Rule.OWN, REVIEWERS, "users[]", "new_owner"),
    *fields_of("review-queues.update", Rule.HARMLESS, "whether `users` counts", "update_users"),
    *fields_of("assessments.create", Rule.SET, ASSESSOR, "assessment.source.source_id"),
    *fields_of("assessments.update", Rule.SET, ASSESSOR, "assessment.source.source_id"),
    *fields_of("traces.start", Rule.SET, ASSESSOR, f"{TRACE_ASSESSMENT}.source.source_id"),
)
# Where traces carry tags beside their tags: MLflow's client sends mlflow.user there.
METADATA = {
    "traces.start": "trace.trace_info.trace_metadata{}",
    "traces.start-v2": "request_metadata[].key",
    "traces.end-v2": "request_metadata[].key",
}


def refuse_others(caller: Caller, match: Match, content: Json) -> None:
    """Raise Refusal (403) if a field that takes only the caller's own name holds another one. A key for any owner
    may name others, because it may also do their work."""
    user_name = caller.user.username
    for each in FIELDS:
        if each.operation != match.operation.name or each.rule is not Rule.OWN or caller.any_owner:
            continue
        for name in values(content, each.field):
            if str(name).strip() not in (user_name, NOBODY, ""):
                raise forbidden(
                    "other_user",
                    f"“{each.field}” names the user “{str(name)[:100]}”, and this key belongs to {user_name}. A key "
                    "may assign reviews only to its own user. Send that name, or leave the field out.",
                )


def set_names(match: Match, content: Json, *, user_name: str) -> Json:
    """The request with the caller's name in each field that is set; `content` itself if nothing changes."""
    for each in FIELDS:
        if each.operation == match.operation.name and each.rule is Rule.SET:
            content = replace(content, each.field, user_name)
    if match.operation.name == "datasets.upsert-records":
        content = name_records(content, user_name)
    return content


def replace(content: Json, field: str, user_name: str) -> Json:
    """The content with the name in `field` (`a.b`, `a[].b`) where it is present; assessments by `set_source`."""
    head, _, rest = field.partition(".")
    name = head.rstrip("[]")
    inner = content.get(name)
    if inner is None:
        return content
    changed: Any
    if head.endswith("[]"):
        changed = [replace(item, rest, user_name) for item in inner]
    elif rest == "source_id":
        changed = set_source(inner, user_name)
    else:
        changed = replace(inner, rest, user_name) if rest else user_name
    return content if changed == inner else {**content, name: changed}


def set_source(source: Json, user_name: str) -> Json:
    """An assessment's source: a person's is the caller, also where the client names none."""
    if str(source.get("source_type", "")) in MACHINES:
        return source
    return {**source, "source_id": user_name}


def name_records(content: Json, user_name: str) -> Json:
    """A dataset's records, JSON in a string: MLflow takes who wrote one from its tag mlflow.user.

    Read with the parser that MLflow uses here, which also takes NaN.
    """
    try:
        records = json.loads(content.get("records") or "[]")
    except (ValueError, RecursionError) as error:
        raise unreadable(f"“records” is not JSON ({error})") from None
    if not isinstance(records, list):
        raise unreadable("“records” must be a list in JSON")
    is_changed = False
    for record in records:
        tags = record.get("tags") if isinstance(record, dict) else None
        if isinstance(tags, dict) and USER_TAG in tags and tags[USER_TAG] != user_name:
            tags[USER_TAG] = user_name
            is_changed = True
    return {**content, "records": json.dumps(records)} if is_changed else content
