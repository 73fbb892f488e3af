"""The tags that name who created an object: set by the portal at creation, and protected afterwards. Pure.

MLflow's registry records no user, and a run's user is what the client claims. Tools that copy objects copy these tags
too, so a creation or a batch passes without them; a call that concerns such a tag alone is refused.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from keys.formatting import strict_json
from keys.refusals import Refusal, forbidden
from proxy.policy.identity import GATEWAY_KEYS, METADATA
from proxy.policy.identity import USER_TAG as MLFLOW_USER_TAG
from proxy.request.messages import Json, values
from proxy.routes.operations import Match

USER_TAG, KEY_TAG = "hokusai.user_id", "hokusai.key_id"
QUARANTINE_TAG = "hokusai.quarantine"  # set by `manage.py quarantine`
RESERVED = frozenset({USER_TAG, KEY_TAG, QUARANTINE_TAG})
ATTRIBUTION = frozenset({USER_TAG, KEY_TAG, MLFLOW_USER_TAG})
STAMPED = frozenset({"experiment", "run", "logged_model", "registered_model", "model_version"})
# Operations on an existing object that carry several tags, and the fields with anything else that they write.
BATCHES: dict[str, tuple[str, ...]] = {
    "runs.log-batch": ("metrics", "params"),
    "logged-models.set-tags": (),
    "runs.log-inputs": ("datasets", "models"),
    "datasets.set-tags": (),
    "traces.end-v2": ("status",),
}

# New values of tags by key; None leaves the tag out.
NewValues = Mapping[str, str | None]


def is_stamped(match: Match) -> bool:
    """Whether the operation creates an object that carries the attribution tags, in tags of {key, value}."""
    created = match.operation.created
    return created is not None and created.kind in STAMPED


def attribute(match: Match, content: Json, *, user_id: str, key_id: str, user_name: str) -> Json:
    """The request with the portal's attribution in place of the client's: creations get the attribution tags, and
    whatever else carries such tags loses them. `content` itself if nothing changes."""
    if is_stamped(match):
        return stamp(match, content, user_id=user_id, key_id=key_id, user_name=user_name)
    operation = match.operation
    kept_name = None if operation.name in BATCHES else user_name
    new: dict[str, str | None] = {**dict.fromkeys(ATTRIBUTION), MLFLOW_USER_TAG: kept_name}
    for field in operation.tags:
        if field != "key" and not field.startswith("{"):
            content = replace_tags(content, field, new)
    if metadata := METADATA.get(operation.name):
        content = replace_tags(content, metadata, {**new, **dict.fromkeys(GATEWAY_KEYS)})
    return content


def stamp(match: Match, content: Json, *, user_id: str, key_id: str, user_name: str) -> Json:
    """The request with the attribution tags in place of tags that the client sent under their names.

    They replace the client's tags because MLflow refuses a request with two tags of one key; on runs they also
    replace the client's user.
    """
    stamps = {USER_TAG: user_id, KEY_TAG: key_id}
    rest = {name: value for name, value in content.items() if name != "tags"}
    tags: list[Any] = content.get("tags", [])
    is_run = match.operation.name == "runs.create"
    if is_run or any(tag.get("key") == MLFLOW_USER_TAG for tag in tags):
        stamps[MLFLOW_USER_TAG] = user_name
    if is_run:
        rest["user_id"] = user_name
    kept = [tag for tag in tags if tag.get("key") not in stamps]
    # The tags come first: if MLflow's parser stops at a later field, it has read them already.
    return {"tags": [{"key": key, "value": value} for key, value in stamps.items()] + kept, **rest}


def replace_tags(content: Json, field: str, new: NewValues) -> Json:
    """The content with the new values in the tags of `field`: a list of {key, value} (`a.tags[].key`), a map
    (`a.tags{}`) or a map in a JSON string. `content` itself if nothing changes."""
    head, _, rest = field.partition(".")
    name = head.rstrip("[]{}")
    inner = content.get(name)
    if not inner:
        return content
    changed: Any
    if head.endswith("{}"):
        changed = replace_in_map(inner, new)
    elif not head.endswith("[]"):
        changed = replace_tags(inner, rest, new)
    elif rest == "key":
        changed = [replace_value(tag, new) for tag in inner if new.get(tag.get("key"), "") is not None]
    else:
        changed = [replace_tags(item, rest, new) for item in inner]
    return content if changed == inner else {**content, name: changed}


def replace_value(tag: Json, new: NewValues) -> Json:
    return {**tag, "value": new[tag["key"]]} if tag.get("key") in new else tag


def replace_in_map(tags: Any, new: NewValues) -> Any:
    if not isinstance(tags, str):
        return {key: new.get(key, value) for key, value in tags.items() if new.get(key, "") is not None}
    content = strict_json.loads(tags)  # `tag_keys` has read it before
    changed = replace_in_map(content, new) if isinstance(content, dict) else content
    return tags if changed == content else json.dumps(changed)


def refuse_reserved(match: Match, content: Json) -> None:
    """Raise Refusal (403) if an operation changes one of the portal's own tags and nothing else, or quarantine."""
    keys = list(tag_keys(match, content))
    if QUARANTINE_TAG in keys:
        raise forbidden(
            "reserved_tag",
            f"The tag {QUARANTINE_TAG} states that an administrator quarantined this object. No key may set or "
            "delete it; leave it out, or ask your administrator.",
        )
    if not keys or match.operation.created or match.operation.claims:
        return
    others = BATCHES.get(match.operation.name, ())
    if ATTRIBUTION.issuperset(keys) and not any(content.get(field) for field in others):
        raise reserved_tag(keys[0])


def reserved_tag(key: str) -> Refusal:
    return forbidden(
        "reserved_tag",
        f"The tag {key} states who created this object. The portal sets it at creation, and nobody may "
        "change it; leave it out.",
    )


def tag_keys(match: Match, content: Json) -> Iterator[str]:
    """Every tag key that the request names."""
    for field in match.operation.tags:
        if field.startswith("{"):
            yield match.arguments[field.strip("{}")]
        else:
            yield from (str(value) for value in values(content, field))
