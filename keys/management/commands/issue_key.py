"""Issue an API key and print it, once."""

import datetime
import json
import re
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.utils import timezone

from keys import actions
from keys.actions import invitations
from keys.api.serializers import described
from keys.formatting import durations, sizes
from keys.management.one_user import find_user
from keys.models import ApiKey, User
from keys.rights.scopes import DEFAULT_PRESET, Preset, Scope


class Command(BaseCommand):
    help = "Issue an API key (and make its user if there is none of that name) and print it once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--user", required=True, help="name or id (usr_…) of who will own the key")
        parser.add_argument(
            "--name", required=True, help="what the key is called, such as 'nightly training'"
        )
        parser.add_argument("--purpose", default="", help="who uses it, where and for what")
        parser.add_argument("--environment", choices=ApiKey.Environment.values, default="live")
        parser.add_argument(
            "--preset",
            choices=[preset.value for preset in Preset],
            help="what it may do (default: contributor)",
        )
        parser.add_argument(
            "--scope",
            action="append",
            metavar="SCOPE",
            help=f"one scope, instead of a preset: {', '.join(Scope)}",
        )
        parser.add_argument(
            "--network", action="append", default=[], metavar="CIDR", help="works only from there"
        )
        parser.add_argument(
            "--pattern", action="append", default=[], metavar="GLOB", help="writes only models of such names"
        )
        parser.add_argument(
            "--any-owner", action="store_true", help="may write what belongs to others, or to nobody"
        )
        parser.add_argument(
            "--requests-per-minute",
            type=int,
            metavar="N",
            help="calls a minute, artifact transfers apart (default: DEFAULT_REQUESTS_PER_MINUTE)",
        )
        parser.add_argument(
            "--monthly-requests", type=int, metavar="N", help="calls a calendar month (default: no limit)"
        )
        parser.add_argument(
            "--monthly-bytes", metavar="SIZE", help="bytes a calendar month, such as 500M or 10G (1G is 2^30)"
        )
        parser.add_argument(
            "--expires-in", metavar="TIME", help="such as 12h, 90d or 4w; default: it does not"
        )
        parser.add_argument(
            "--canary", action="store_true", help="opens nothing; lay it out, and its use is told"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["preset"] and options["scope"]:
            raise CommandError("give --preset or --scope, not both")
        try:
            key, secret, is_new = issued(options)
        except actions.ActionError as error:
            raise CommandError(str(error)) from None
        if options["json"]:
            self.stdout.write(json.dumps({**description(key), "key": secret}))
            return
        self.stdout.write(secret)
        self.stderr.write(
            f"Key {key.public_id} “{key.name}” of {key.owner.username} "
            f"({(key.expires_at and f'expires {key.expires_at:%Y-%m-%d %H:%M} UTC') or 'does not expire'}). "
            "It is shown only now; keep it where secrets are kept."
            + (f" There was no user {key.owner.username} before: one was made with it." if is_new else "")
        )


@transaction.atomic
def issued(options: dict[str, Any]) -> tuple[ApiKey, str, bool]:
    """The key, its secret, and whether its user was made with it: both are made, or neither."""
    user, is_new = owner(options["user"])
    key, secret = actions.issue(
        owner=user,
        name=checked_name(options["name"]),
        purpose=checked_purpose(options["purpose"]),
        environment=options["environment"],
        scopes=options["scope"] or Preset(options["preset"] or DEFAULT_PRESET).scopes,
        networks=options["network"],
        patterns=options["pattern"],
        any_owner=options["any_owner"],
        requests_per_minute=options["requests_per_minute"],
        monthly_requests=options["monthly_requests"],
        monthly_bytes=size(options["monthly_bytes"]),
        expires_at=expiry(options["expires_in"]),
        is_canary=options["canary"],
    )
    return key, secret, is_new


def owner(text: str) -> tuple[User, bool]:
    """The user of this name or id, made without a password if there is none of that name, and whether it was."""
    if not re.fullmatch(r"[\w.@+-]{1,150}", text):
        raise CommandError("--user: up to 150 letters, digits and @ . + - _ make a user's name")
    user = find_user(text)
    if user is None:
        try:
            return invitations.add_user(name=text), True
        except actions.ActionError as error:
            raise CommandError(f"--user: {error}") from None
    if not user.is_active:
        raise CommandError(f"--user: the account “{text}” is deactivated; activate it in /admin/ first")
    return user, False


def checked_name(name: str) -> str:
    name = name.strip()
    if not 1 <= len(name) <= 100:
        raise CommandError("--name: give the key a name of 1 to 100 characters")
    return name


def checked_purpose(purpose: str) -> str:
    purpose = purpose.strip()
    if len(purpose) > 500:
        raise CommandError("--purpose: at most 500 characters")
    return purpose


def expiry(text: str | None) -> datetime.datetime | None:
    if text is None:
        return None
    try:
        return timezone.now() + durations.parse_duration(text)
    except ValueError as error:
        raise CommandError(f"--expires-in: {error}") from None


def size(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return sizes.parse_size(text)
    except ValueError as error:
        raise CommandError(f"--monthly-bytes: {error}") from None


def description(key: ApiKey) -> dict[str, Any]:
    """A key as the commands print it in JSON, and the API shows it; no secret."""
    return described(key)
