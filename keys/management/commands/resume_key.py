"""Let a paused API key work again."""

from typing import Any

from keys import actions
from keys.management.one_key import OneKeyCommand
from keys.models import ApiKey


class Command(OneKeyCommand):
    help = "Let a paused API key work again."

    def act(self, key: ApiKey, options: dict[str, Any]) -> tuple[ApiKey, str]:
        was_paused = key.paused_at
        key = actions.resume(key=key)
        return key, "is resumed" if was_paused else "was not paused"
