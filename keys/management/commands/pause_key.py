"""Pause an API key."""

from typing import Any

from django.core.management.base import CommandParser

from keys import actions
from keys.management.one_key import OneKeyCommand, add_reason
from keys.models import ApiKey


class Command(OneKeyCommand):
    help = "Stop an API key until it is resumed."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        add_reason(parser)

    def act(self, key: ApiKey, options: dict[str, Any]) -> tuple[ApiKey, str]:
        was_paused = key.paused_at
        key = actions.pause(key=key, reason=options["reason"])
        return key, "was paused already" if was_paused else "is paused"
