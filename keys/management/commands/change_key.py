"""Change what an API key may do, its expiry, name or purpose."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from keys import actions
from keys.api.serializers import ChangeSerializer, described
from keys.formatting import sizes
from keys.management.one_key import key_of
from keys.rights.scopes import Preset

SINGULAR = {"scopes": "scope", "networks": "network", "patterns": "pattern"}  # given once for each


class Command(BaseCommand):
    help = "Change an API key. Only what is given is changed, and holds everywhere within a second."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("key_id", metavar="KEY_ID", help="key_…, as list_keys shows it")
        parser.add_argument("--name")
        parser.add_argument("--purpose")
        parser.add_argument("--preset", choices=[preset.value for preset in Preset])
        parser.add_argument(
            "--scope", action="append", dest="scopes", metavar="SCOPE", help="these and no others"
        )
        parser.add_argument(
            "--network", action="append", dest="networks", metavar="CIDR", help="these and no others"
        )
        parser.add_argument("--anywhere", action="store_true", help="from every network")
        parser.add_argument(
            "--pattern", action="append", dest="patterns", metavar="GLOB", help="these and no others"
        )
        parser.add_argument("--any-name", action="store_true", help="models of every name")
        owner = parser.add_mutually_exclusive_group()
        owner.add_argument("--any-owner", action="store_const", const=True, dest="any_owner")
        owner.add_argument("--own-only", action="store_const", const=False, dest="any_owner")
        parser.add_argument("--expires-in", metavar="TIME", help="such as 12h, 90d or 4w from now; or never")
        parser.add_argument("--requests-per-minute", metavar="N", help="or default")
        parser.add_argument("--monthly-requests", metavar="N", help="or none")
        parser.add_argument("--monthly-bytes", metavar="SIZE", help="such as 10G, or none")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        key = key_of(options["key_id"])
        sent = ChangeSerializer(data=asked(options))
        if not sent.is_valid():
            raise CommandError(problem(sent.errors))
        if not sent.validated_data:
            raise CommandError("give what is to be changed; change_key --help lists it")
        try:
            key = actions.change(key=key, **sent.validated_data)
        except actions.ActionError as error:
            raise CommandError(f"{options['key_id']}: {error}") from None
        if options["json"]:
            self.stdout.write(json.dumps(described(key)))
            return
        self.stdout.write(f"Key {key.public_id} “{key.name}” of {key.owner.username} is changed.")


def asked(options: dict[str, Any]) -> dict[str, Any]:
    """The changes as the API takes them."""
    names = ("name", "purpose", "preset", "scopes", "networks", "patterns", "any_owner")
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
            changes[name] = None if text == none else size(text) if name == "monthly_bytes" else text
    return changes


def problem(errors: Any) -> str:
    """The first one, with the option that it is about. A list's errors are by the number of the value, if of one."""
    name, found = next(iter(errors.items()))
    if isinstance(found, dict):
        found = next(iter(found.values()))
    return f"--{SINGULAR.get(name, name).replace('_', '-')}: {found[0]}"


def size(text: str) -> int:
    try:
        return sizes.parse_size(text)
    except ValueError as error:
        raise CommandError(f"--monthly-bytes: {error}") from None
