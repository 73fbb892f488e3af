"""List API keys, never their secrets."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from keys.api.serializers import described
from keys.management.one_user import NAME_OR_ID, user_of
from keys.models import ApiKey
from keys.tables import show

COLUMNS = ("id", "user", "name", "masked", "state", "created_at", "expires_at", "last_used_at")


class Command(BaseCommand):
    help = "List API keys: masked, with owner, state, dates and last use."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--user", help=f"only the keys of this user: {NAME_OR_ID}")
        parser.add_argument("--state", choices=ApiKey.State.values, help="only keys in this state")
        parser.add_argument("--find", metavar="TEXT", help="only keys whose name, owner, id or ends match")
        parser.add_argument("--json", action="store_true", help="print a JSON list")

    def handle(self, *args: Any, **options: Any) -> None:
        keys = ApiKey.objects.with_owner()
        if options["user"]:
            keys = keys.filter(owner=user_of(options["user"]))
        if options["state"]:
            keys = keys.in_state(options["state"])
        if options["find"]:
            keys = keys.matching(options["find"])
        empty = "No such keys."
        if not (options["user"] or options["state"] or options["find"]):
            empty = "No keys yet. Issue one: manage.py issue_key --user NAME --name LABEL"
        show(self, COLUMNS, map(described, keys), as_json=options["json"], empty=empty)
