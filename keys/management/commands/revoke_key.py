"""Revoke an API key."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from keys import actions
from keys.formatting.invisible import escape
from keys.management.one_key import add_key, add_reason, run_key_action
from keys.models import ApiKey


class Command(BaseCommand):
    help = "Revoke an API key permanently."

    def add_arguments(self, parser: CommandParser) -> None:
        add_key(parser)
        add_reason(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        def act(key: ApiKey) -> tuple[ApiKey, str]:
            was_revoked = key.revoked_at
            key = actions.revoke(key=key, reason=options["reason"])
            return key, "was already revoked" if was_revoked else "is revoked"

        self.stdout.write(escape(run_key_action(options, act)))
