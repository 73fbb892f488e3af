"""Who made it: the tags that the portal sets at creation, and keeps others from changing. Pure.

MLflow's registry records no user at all, and a run's is whatever the client says.
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
    """Whether the operation makes something that carries its maker's name, in tags of {key, value}."""
    created = match.operation.created
    return created is not None and created.kind in STAMPED


def stamp(match: Match, content: Json, *, user_id: str, key_id: str, user_name: str) -> Json:
    """The request with the maker's tags in place of any that the client sent under their names.

    They replace, because MLflow refuses a tag key that stands twice; on runs the client's user goes too.
    """
    stamps = {USER_TAG: user_id, KEY_TAG: key_id}
    rest = {name: value for name, value in content.items() if name != "tags"}
    if match.operation.name == "runs.create":
        stamps["mlflow.user"] = rest["user_id"] = user_name
    kept: list[Any] = [tag for tag in content.get("tags", []) if tag.get("key") not in stamps]
    # First of all: should MLflow's parser stumble over something behind them, they are read already.
    return {"tags": [{"key": key, "value": value} for key, value in stamps.items()] + kept, **rest}


def refuse_reserved(match: Match, content: Json) -> None:
    """Raise Refusal (403) if an operation touches the tags that are the portal's. A creation may bring the
    maker's, because the stamps replace them."""
    for key in tag_keys(match, content):
        if key == QUARANTINE_TAG:
            raise forbidden(
                "reserved_tag",
                f"The tag {key} says that an administrator put this under quarantine; no key sets or deletes it.",
            )
        if key in RESERVED and not is_stamped(match):
            raise forbidden(
                "reserved_tag",
                f"The tag {key} says who made this; the portal sets it at creation and nobody changes it.",
            )


def tag_keys(match: Match, content: Json) -> Iterator[str]:
    """Every tag key that the request names."""
    for field in match.operation.tags:
        if field.startswith("{"):
            yield match.arguments[field.strip("{}")]
        else:
            yield from (str(value) for value in values(content, field))
