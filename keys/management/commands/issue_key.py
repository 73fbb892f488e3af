"""Issue an API key and print its secret, which is shown only once."""

import datetime
import json
import re
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.utils import timezone

from keys import actions
from keys.actions import collecting, invitations
from keys.actions.actor import COMMAND
from keys.alerts.key_messages import write_message
from keys.api.prepared_serializers import serialize_prepared_key
from keys.api.serializers import serialize_key
from keys.formatting import durations, sizes
from keys.formatting.invisible import escape
from keys.management.one_organisation import organisation_of
from keys.management.one_user import find_user
from keys.models import ApiKey, PreparedKey, User
from keys.rights.scopes import DEFAULT_PRESET, Preset, Scope


class Command(BaseCommand):
    help = (
        "Issue an API key and print it, or prepare one that its holder collects. It is shown only once. A user that "
        "does not exist is created."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--user", required=True, help="name or id (usr_…) of the key's owner")
        parser.add_argument(
            "--organisation",
            metavar="SLUG",
            help="the organisation to which the key belongs for ever (default: the user's only one, or shared)",
        )
        parser.add_argument(
            "--also",
            action="append",
            default=[],
            metavar="SLUG",
            help="another organisation in which the key of a member of staff may act; repeatable",
        )
        add_rights(parser)
        parser.add_argument(
            "--canary", action="store_true", help="a decoy: it grants no access, and its use raises an alert"
        )
        parser.add_argument(
            "--collect",
            action="store_true",
            help="print a link instead: the holder opens it, signs in and collects the key within a week",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["preset"] and options["scope"]:
            raise CommandError("give --preset or --scope, not both")
        if options["collect"]:
            self.prepare(options)
            return
        try:
            key, secret, is_new = issue(options)
        except actions.ActionError as error:
            raise CommandError(str(error)) from None
        if options["json"]:
            self.stdout.write(json.dumps({**description(key), "key": secret}))
            return
        self.stdout.write(secret)
        for warning in key.missing_reads:
            self.stderr.write(escape(f"Warning: {warning}"))
        self.stderr.write(
            escape(
                f"Key {key.public_id} “{key.name}” of {key.owner.username} "
                f"({(key.expires_at and f'expires {key.expires_at:%Y-%m-%d %H:%M} UTC') or 'does not expire'}). "
                "It is shown only now; store it where you keep secrets."
                + (f" The user {key.owner.username} did not exist and was created." if is_new else "")
            )
        )

    def prepare(self, options: dict[str, Any]) -> None:
        """Prepare the key, and print the link with which its holder collects it."""
        try:
            prepared, secret, is_new = prepare(options)
        except actions.ActionError as error:
            raise CommandError(str(error)) from None
        message = write_message(prepared, secret, actor=COMMAND)
        if options["json"]:
            shown = {**serialize_prepared_key(prepared), **message.serialize()}
            self.stdout.write(json.dumps(shown))
            return
        self.stdout.write(escape(message.link))
        self.stderr.write(
            escape(
                f"{prepared.owner.username} collects the key “{prepared.name}” with this link until "
                f"{message.expires_at:%Y-%m-%d %H:%M} UTC. "
                + ("It was also mailed." if message.is_mailed else "Send it; it is shown only now.")
                + (f" The user {prepared.owner.username} did not exist and was created." if is_new else "")
            )
        )


def add_rights(parser: CommandParser) -> None:
    """The options of a key that a trust has as well."""
    parser.add_argument("--name", required=True, help="the key's name, such as 'nightly training'")
    parser.add_argument("--purpose", default="", help="who uses it, where and for what")
    parser.add_argument("--environment", choices=ApiKey.Environment.values, default="live")
    parser.add_argument(
        "--preset",
        choices=[preset.value for preset in Preset],
        help="the key's rights (default: contributor)",
    )
    parser.add_argument(
        "--scope",
        action="append",
        metavar="SCOPE",
        help=f"a scope, instead of a preset; repeatable: {', '.join(Scope)}",
    )
    parser.add_argument(
        "--network", action="append", default=[], metavar="CIDR", help="refuse other networks; repeatable"
    )
    parser.add_argument(
        "--pattern",
        action="append",
        default=[],
        metavar="GLOB",
        help="refuse writes to other model names",
    )
    parser.add_argument(
        "--any-owner", action="store_true", help="may write objects that belong to others, or to nobody"
    )
    parser.add_argument(
        "--only-own",
        action="store_true",
        help="may write only what its user created, not what others of the organisation did",
    )
    parser.add_argument(
        "--requests-per-minute",
        type=int,
        metavar="N",
        help="calls per minute; artifact transfers count separately (default: DEFAULT_REQUESTS_PER_MINUTE)",
    )
    parser.add_argument(
        "--monthly-requests", type=int, metavar="N", help="calls per calendar month (default: no limit)"
    )
    parser.add_argument(
        "--monthly-bytes",
        metavar="SIZE",
        help="bytes per calendar month, such as 500M or 10G (default: DEFAULT_MONTHLY_BYTES)",
    )
    parser.add_argument("--expires-in", metavar="TIME", help="such as 12h, 90d or 4w (default: never)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


@transaction.atomic
def issue(options: dict[str, Any]) -> tuple[ApiKey, str, bool]:
    """The key, its secret, and whether its user was created with it. If one fails, neither is created."""
    user, is_new = find_or_add_owner(options["user"])
    key, secret = actions.issue(owner=user, also_organisations=options["also"], **requested_key(options))
    return key, secret, is_new


@transaction.atomic
def prepare(options: dict[str, Any]) -> tuple[PreparedKey, str, bool]:
    """The same for a key that its holder collects, with the secret of the link."""
    user, is_new = find_or_add_owner(options["user"])
    prepared, secret = collecting.prepare(owner=user, **requested_key(options))
    return prepared, secret, is_new


def requested_key(options: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `actions.issue` but for the owner."""
    return {
        "name": validate_name(options["name"]),
        "purpose": validate_purpose(options["purpose"]),
        "environment": options["environment"],
        "scopes": options["scope"] or Preset(options["preset"] or DEFAULT_PRESET).scopes,
        "networks": options["network"],
        "patterns": options["pattern"],
        "organisation": organisation_of(options["organisation"]) if options["organisation"] else None,
        "any_owner": options["any_owner"],
        "only_own": options["only_own"],
        "requests_per_minute": options["requests_per_minute"],
        "monthly_requests": options["monthly_requests"],
        "monthly_bytes": parse_size(options["monthly_bytes"]),
        "expires_at": parse_expiry(options["expires_in"]),
        "is_canary": options["canary"],
    }


def find_or_add_owner(text: str) -> tuple[User, bool]:
    """The user of this name or id, and whether they were created. A new user has no password."""
    if not re.fullmatch(r"[\w.@+-]{1,150}", text):
        raise CommandError("--user: a user's name has up to 150 letters, digits and @ . + - _")
    user = find_user(text)
    if user is None:
        try:
            return invitations.add_user(name=text), True
        except actions.ActionError as error:
            raise CommandError(f"--user: {error}") from None
    if not user.is_active:
        raise CommandError(f"--user: the account “{text}” is deactivated; reactivate it in /admin/ first")
    return user, False


def validate_name(name: str) -> str:
    name = name.strip()
    if not 1 <= len(name) <= 100:
        raise CommandError("--name: give the key a name of 1 to 100 characters")
    return name


def validate_purpose(purpose: str) -> str:
    purpose = purpose.strip()
    if len(purpose) > 500:
        raise CommandError("--purpose: at most 500 characters")
    return purpose


def parse_expiry(text: str | None) -> datetime.datetime | None:
    if text is None:
        return None
    try:
        return timezone.now() + durations.parse_duration(text)
    except ValueError as error:
        raise CommandError(f"--expires-in: {error}") from None


def parse_size(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return sizes.parse_size(text)
    except ValueError as error:
        raise CommandError(f"--monthly-bytes: {error}") from None


def description(key: ApiKey) -> dict[str, Any]:
    """A key in the API's format, which the commands print as JSON, without its secret."""
    return serialize_key(key)
