"""List API keys, without their secrets."""

import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from keys.api.serializers import serialize_key
from keys.formatting import durations
from keys.formatting.tables import show
from keys.lists.command_options import filter_rows
from keys.lists.filters import KeyFilters
from keys.management.one_organisation import organisation_of
from keys.management.one_user import NAME_OR_ID, user_of
from keys.models import ApiKey, ApiKeyQuerySet
from keys.models.api_keys import EXPIRES_SOON, UNUSED

COLUMNS = ("id", "user", "name", "masked", "state", "created_at", "expires_at", "last_used_at")
FILTERS = ("user", "organisation", "state", "environment", "expiring", "expiring_soon", "unused", "find")


class Command(BaseCommand):
    help = "List API keys: masked, with owner, state, dates and last use."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--user", help=f"only the keys of this user: {NAME_OR_ID}")
        parser.add_argument("--organisation", metavar="SLUG", help="only the keys of this organisation")
        parser.add_argument("--state", choices=ApiKey.State.values, help="only keys in this state")
        parser.add_argument("--environment", choices=ApiKey.Environment.values)
        parser.add_argument(
            "--expiring",
            metavar="TIME",
            help="only working keys that expire within this time, such as 30d",
        )
        parser.add_argument(
            "--expiring-soon",
            action="store_true",
            help=f"only working keys that expire within {EXPIRES_SOON.days} days, as on the dashboard",
        )
        parser.add_argument(
            "--unused",
            metavar="TIME",
            nargs="?",
            const=f"{UNUSED.days}d",
            help=f"only working keys not used for this long (default: {UNUSED.days}d)",
        )
        parser.add_argument(
            "--find", metavar="TEXT", help="only keys whose name, owner, id, start or end matches"
        )
        parser.add_argument("--json", action="store_true", help="print a JSON list")

    def handle(self, *args: Any, **options: Any) -> None:
        empty = "No such keys."
        if not any(options[name] for name in FILTERS):
            empty = "No keys yet. Issue one: manage.py issue_key --user NAME --name LABEL"
        show(self, COLUMNS, map(serialize_key, matching_keys(options)), as_json=options["json"], empty=empty)


def matching_keys(options: dict[str, Any]) -> ApiKeyQuerySet:
    now = timezone.now()
    asked = {
        "user": options["user"] and user_of(options["user"]).public_id,
        "organisation": options["organisation"] and organisation_of(options["organisation"]).slug,
        "state": options["state"],
        "environment": options["environment"],
        "expires_before": options["expiring"] and (now + parse_duration(options, "expiring")).isoformat(),
        "expiring_soon": "true" if options["expiring_soon"] else "",
        "unused_since": options["unused"] and (now - parse_duration(options, "unused")).isoformat(),
        "q": options["find"],
    }
    keys: ApiKeyQuerySet = filter_rows(KeyFilters, ApiKey.objects.with_owner(), asked)
    return keys


def parse_duration(options: dict[str, Any], name: str) -> datetime.timedelta:
    try:
        return durations.parse_duration(options[name])
    except ValueError as error:
        raise CommandError(f"--{name}: {error}") from None
