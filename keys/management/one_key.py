"""What the commands about one key share: finding it by its id, and saying what became of it."""

import json
from collections.abc import Callable
from typing import Any

from django.core.management.base import CommandError, CommandParser

from keys import actions
from keys.api.serializers import serialize_key
from keys.credentials import tokens
from keys.models import ApiKey


def add_key(parser: CommandParser) -> None:
    parser.add_argument("key_id", metavar="KEY_ID", help="key_…, as list_keys shows it")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def add_reason(parser: CommandParser) -> None:
    parser.add_argument("--reason", default="", help="why, for those who read the key's history")


def run_key_action(options: dict[str, Any], act: Callable[[ApiKey], tuple[ApiKey, str]]) -> str:
    """Do it to the key that the options name; what the command prints.

    `act` gives the key as it is then, and in words what was done. Raises CommandError.
    """
    try:
        key, done = act(key_of(options["key_id"]))
    except actions.ActionError as error:
        raise CommandError(f"{options['key_id']}: {error}") from None
    if options["json"]:
        return json.dumps(serialize_key(key))
    return f"Key {key.public_id} “{key.name}” of {key.owner.username} {done}."


def key_of(public_id: str) -> ApiKey:
    try:
        return ApiKey.objects.with_owner().get(public_id=public_id)
    except ApiKey.DoesNotExist:
        if tokens.KEY_LIKE_PATTERN.search(public_id):
            raise CommandError("that is a key's secret; give its id, key_…, as list_keys shows it") from None
        raise CommandError(f"there is no key “{public_id}”; manage.py list_keys shows them all") from None
