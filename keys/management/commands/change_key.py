"""Change the rights, expiry, name or purpose of an API key."""

import json
from argparse import BooleanOptionalAction
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from keys import actions
from keys.api.serializers import ChangeSerializer, serialize_key
from keys.formatting import sizes
from keys.formatting.invisible import escape
from keys.management.one_key import key_of
from keys.rights.scopes import Preset

SINGULAR = {
    "scopes": "scope",
    "networks": "network",
    "patterns": "pattern",
}  # options that are repeated, one value each


class Command(BaseCommand):
    help = "Change an API key. Options that are left out change nothing. Takes effect within a second."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("key_id", metavar="KEY_ID", help="key_…, as list_keys shows it")
        parser.add_argument("--name")
        parser.add_argument("--purpose")
        parser.add_argument("--preset", choices=[preset.value for preset in Preset])
        parser.add_argument(
            "--scope", action="append", dest="scopes", metavar="SCOPE", help="only these scopes; repeatable"
        )
        parser.add_argument(
            "--network", action="append", dest="networks", metavar="CIDR", help="only these; repeatable"
        )
        parser.add_argument("--anywhere", action="store_true", help="allow every network")
        parser.add_argument(
            "--pattern", action="append", dest="patterns", metavar="GLOB", help="only these; repeatable"
        )
        parser.add_argument("--any-name", action="store_true", help="allow every model name")
        owner = parser.add_mutually_exclusive_group()
        owner.add_argument(
            "--any-owner",
            action="store_const",
            const=True,
            dest="any_owner",
            help="may write objects that belong to others, or to nobody",
        )
        owner.add_argument(
            "--own-only",
            action="store_const",
            const=False,
            dest="any_owner",
            help="may write only its owner's objects",
        )
        parser.add_argument(
            "--only-own",
            action=BooleanOptionalAction,
            help="may write only what its user created, not what others of the organisation did",
        )
        parser.add_argument("--expires-in", metavar="TIME", help="such as 12h, 90d or 4w from now; or never")
        parser.add_argument("--requests-per-minute", metavar="N", help="a number, or default")
        parser.add_argument("--monthly-requests", metavar="N", help="a number, or none")
        parser.add_argument(
            "--monthly-bytes", metavar="SIZE", help="such as 10G, or none: DEFAULT_MONTHLY_BYTES"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        key = key_of(options["key_id"])
        sent = ChangeSerializer(data=requested_changes(options))
        if not sent.is_valid():
            raise CommandError(describe_error(sent.errors))
        if not sent.validated_data:
            raise CommandError("give at least one option to change; change_key --help lists them")
        try:
            key = actions.change(key=key, **sent.validated_data)
        except actions.ActionError as error:
            raise CommandError(f"{options['key_id']}: {error}") from None
        if options["json"]:
            self.stdout.write(json.dumps(serialize_key(key)))
            return
        self.stdout.write(escape(f"Key {key.public_id} “{key.name}” of {key.owner.username} is changed."))


def requested_changes(options: dict[str, Any]) -> dict[str, Any]:
    """The changes in the API's format."""
    names = ("name", "purpose", "preset", "scopes", "networks", "patterns", "any_owner", "only_own")
    changes = {name: options[name] for name in names if options[name] is not None}
    if options["anywhere"]:
        changes["networks"] = []
    if options["any_name"]:
        changes["patterns"] = []
    if options["expires_in"] == "never":
        changes["expires_at"] = None
    elif options["expires_in"]:
        changes["expires_in"] = options["expires_in"]
    for name, none in (
        ("requests_per_minute", "default"),
        ("monthly_requests", "none"),
        ("monthly_bytes", "none"),
    ):
        if (text := options[name]) is not None:
            changes[name] = None if text == none else parse_size(text) if name == "monthly_bytes" else text
    return changes


def describe_error(errors: Any) -> str:
    """The first error, with its option. Errors about single values of a list are in a dict by position."""
    name, messages = next(iter(errors.items()))
    if isinstance(messages, dict):
        messages = next(iter(messages.values()))
    return f"--{SINGULAR.get(name, name).replace('_', '-')}: {messages[0]}"


def parse_size(text: str) -> int:
    try:
        return sizes.parse_size(text)
    except ValueError as error:
        raise CommandError(f"--monthly-bytes: {error}") from None
