"""End the old secret of a rotation, or list who still uses it."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from keys import actions
from keys.api.serializers import serialize_old_secret_use
from keys.formatting.invisible import escape
from keys.formatting.tables import show
from keys.lists.old_secret import read_old_secret_use
from keys.management.one_key import add_key, key_of, run_key_action
from keys.models import ApiKey

COLUMNS = ("address", "client", "calls", "last_at")


class Command(BaseCommand):
    help = "End the old secret of a rotated API key before its overlap has passed. The new secret goes on."

    def add_arguments(self, parser: CommandParser) -> None:
        add_key(parser)
        parser.add_argument(
            "--show",
            action="store_true",
            help="end nothing: list who has used the old secret since the rotation",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["show"]:
            self.show_use(key_of(options["key_id"]), as_json=options["json"])
            return

        def act(key: ApiKey) -> tuple[ApiKey, str]:
            return actions.end_old_secret(key=key), "accepts only its new secret now"

        self.stdout.write(escape(run_key_action(options, act)))

    def show_use(self, key: ApiKey, *, as_json: bool) -> None:
        use = serialize_old_secret_use(key, read_old_secret_use(key))
        if as_json:
            self.stdout.write(json.dumps(use))
            return
        show(self, COLUMNS, use["callers"], as_json=False, empty="Nobody has used it since the rotation.")
