"""Events in the history of a key."""

from typing import Any

from keys.actions.actor import Actor
from keys.models import ApiKey, KeyEvent


def record_event(key: ApiKey, kind: str, *, actor: Actor, **detail: Any) -> None:
    """Add an event to the key's history. `detail` is stored as JSON."""
    if actor.key:
        detail["via"] = actor.key.public_id
    KeyEvent.objects.create(key=key, kind=kind, actor=actor.user, address=actor.address, detail=detail)
