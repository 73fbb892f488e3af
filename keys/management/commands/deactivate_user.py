"""Deactivate a user and pause all their keys, or reactivate a user."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from keys import actions
from keys.actions.actor import COMMAND
from keys.actions.history import log
from keys.api.serializers import serialize_key
from keys.formatting.invisible import escape
from keys.management.one_user import NAME_OR_ID, user_of


class Command(BaseCommand):
    help = "Deactivate a user and pause all their keys. --undo reactivates the user; the keys stay paused."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user", metavar="USER", help=NAME_OR_ID)
        parser.add_argument("--reason", default="", help="the reason, stored in the keys' history")
        parser.add_argument("--undo", action="store_true", help="reactivate the user")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        user = user_of(options["user"])
        try:
            if options["undo"]:
                keys = actions.reactivate(user=user)
                log(user, "Reactivated.", actor=COMMAND)
            else:
                keys = actions.deactivate(user=user, reason=options["reason"])
                log(user, f"Deactivated; {len(keys)} keys are paused.", actor=COMMAND)
        except actions.ActionError as error:
            raise CommandError(f"{user.username}: {error}") from None
        if options["json"]:
            shown = {
                "user": user.username,
                "is_active": options["undo"],
                "paused": [serialize_key(key) for key in keys],
            }
            self.stdout.write(json.dumps(shown))
            return
        done = "may sign in again; still paused" if options["undo"] else "is deactivated; paused"
        names = ", ".join(f"{key.public_id} “{key.name}”" for key in keys) or "no key"
        self.stdout.write(escape(f"{user.username} {done}: {names}."))
