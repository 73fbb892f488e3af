"""Revoke an API key."""

from typing import Any

from django.core.management.base import CommandParser

from keys import actions
from keys.management.one_key import OneKeyCommand, add_reason
from keys.models import ApiKey


class Command(OneKeyCommand):
    help = "Revoke an API key for good."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        add_reason(parser)

    def act(self, key: ApiKey, options: dict[str, Any]) -> tuple[ApiKey, str]:
        was_revoked = key.revoked_at
        key = actions.revoke(key=key, reason=options["reason"])
        return key, "was revoked already" if was_revoked else "is revoked"
