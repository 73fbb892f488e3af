"""Remove a user's second factors, for users who lost their phone and recovery codes when no superuser can help."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from keys import actions
from keys.actions.actor import COMMAND
from keys.actions.history import log
from keys.formatting.invisible import escape
from keys.management.one_user import NAME_OR_ID, user_of


class Command(BaseCommand):
    help = "Remove a user's authenticator app, passkeys and recovery codes: they sign in with the password alone."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--user", required=True, help=NAME_OR_ID)
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        user = user_of(options["user"])
        removed = actions.remove_second_factors(user=user)
        if removed:
            log(user, "Second factors removed.", actor=COMMAND)
        if options["json"]:
            shown = {"user": user.username, "user_id": user.public_id, "removed": removed}
            self.stdout.write(json.dumps(shown))
            return
        words = "second factors are removed" if removed else "account has no second factor"
        self.stdout.write(escape(f"{user.username}'s {words}."))
