"""The tags that name who created an object: set by the portal at creation, and protected afterwards. Pure.

MLflow's registry records no user, and a run's user is what the client claims.
"""

from collections.abc import Iterator
from typing import Any

from keys.refusals import forbidden
from proxy.request.messages import Json, values
from proxy.routes.operations import Match

USER_TAG, KEY_TAG = "hokusai.user_id", "hokusai.key_id"
QUARANTINE_TAG = "hokusai.quarantine"  # set by `manage.py quarantine`
RESERVED = frozenset({USER_TAG, KEY_TAG, QUARANTINE_TAG})
STAMPED = frozenset({"experiment", "run", "logged_model", "registered_model", "model_version"})


def is_stamped(match: Match) -> bool:
    """Whether the operation creates an object that carries the attribution tags, in tags of {key, value}."""
    created = match.operation.created
    return created is not None and created.kind in STAMPED


def stamp(match: Match, content: Json, *, user_id: str, key_id: str, user_name: str) -> Json:
    """The request with the attribution tags in place of tags that the client sent under their names.

    They replace the client's tags because MLflow refuses a request with two tags of one key; on runs they also
    replace the client's user.
    """
    stamps = {USER_TAG: user_id, KEY_TAG: key_id}
    rest = {name: value for name, value in content.items() if name != "tags"}
    if match.operation.name == "runs.create":
        stamps["mlflow.user"] = rest["user_id"] = user_name
    kept: list[Any] = [tag for tag in content.get("tags", []) if tag.get("key") not in stamps]
    # The tags come first: if MLflow's parser stops at a later field, it has read them already.
    return {"tags": [{"key": key, "value": value} for key, value in stamps.items()] + kept, **rest}


def refuse_reserved(match: Match, content: Json) -> None:
    """Raise Refusal (403) if an operation changes the portal's own tags. A creation may bring the attribution tags,
    because the portal's replace them."""
    for key in tag_keys(match, content):
        if key == QUARANTINE_TAG:
            raise forbidden(
                "reserved_tag",
                f"The tag {key} states that an administrator quarantined this object. No key may set or delete it; "
                "leave it out, or ask your administrator.",
            )
        if key in RESERVED and not is_stamped(match):
            raise forbidden(
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
