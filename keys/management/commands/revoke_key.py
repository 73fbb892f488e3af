"""Revoke an API key."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from keys import actions, tokens
from keys.management.commands.issue_key import description
from keys.models import ApiKey


class Command(BaseCommand):
    help = "Revoke an API key for good."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("key_id", metavar="KEY_ID", help="key_…, as list_keys shows it")
        parser.add_argument("--reason", default="", help="why, for those who read the key's history")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        key = key_of(options["key_id"])
        was_revoked = key.revoked_at
        key = actions.revoke(key=key, reason=options["reason"])
        if options["json"]:
            self.stdout.write(json.dumps(description(key)))
            return
        done = "was revoked already" if was_revoked else "is revoked"
        self.stdout.write(f"Key {key.public_id} “{key.name}” of {key.owner.username} {done}.")


def key_of(public_id: str) -> ApiKey:
    try:
        return ApiKey.objects.with_owner().get(public_id=public_id)
    except ApiKey.DoesNotExist:
        if tokens.KEY_LIKE_PATTERN.search(public_id):
            raise CommandError("that is a key's secret; give its id, key_…, as list_keys shows it") from None
        raise CommandError(f"there is no key “{public_id}”; manage.py list_keys shows them all") from None
