"""Let a paused API key work again."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from keys import actions
from keys.management.commands.issue_key import description
from keys.management.commands.revoke_key import key_of


class Command(BaseCommand):
    help = "Let a paused API key work again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("key_id", metavar="KEY_ID", help="key_…, as list_keys shows it")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        key = key_of(options["key_id"])
        was_paused = key.paused_at
        try:
            key = actions.resume(key=key)
        except actions.ActionError as error:
            raise CommandError(f"{options['key_id']}: {error}") from None
        if options["json"]:
            self.stdout.write(json.dumps(description(key)))
            return
        done = "is resumed" if was_paused else "was not paused"
        self.stdout.write(f"Key {key.public_id} “{key.name}” of {key.owner.username} {done}.")
