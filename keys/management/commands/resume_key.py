"""Resume a paused API key."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from keys import actions
from keys.formatting.invisible import escape
from keys.management.one_key import add_key, run_key_action
from keys.models import ApiKey


class Command(BaseCommand):
    help = "Resume a paused API key."

    def add_arguments(self, parser: CommandParser) -> None:
        add_key(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        def act(key: ApiKey) -> tuple[ApiKey, str]:
            was_paused = key.paused_at
            key = actions.resume(key=key)
            return key, "is resumed" if was_paused else "was not paused"

        self.stdout.write(escape(run_key_action(options, act)))
