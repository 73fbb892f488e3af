"""Say why a request became no call: it had no valid key, or a wrong address."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from keys.formatting.invisible import escape
from portal.api.uncalled_requests import serialize_uncalled
from proxy.models import UncalledRequest


class Command(BaseCommand):
    help = "Say why the portal refused a request that is not in the usage log, up to an hour after it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("request_id", metavar="REQUEST_ID", help="req_…, from the error")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        refused = UncalledRequest.find(options["request_id"][:40].replace("\0", ""))
        if refused is None:
            raise CommandError(
                "no request of the last hour with this id was refused before it became a call; "
                "list_calls --request-id searches the usage log"
            )
        shown = serialize_uncalled(refused)
        if options["json"]:
            self.stdout.write(json.dumps(shown))
            return
        sent = f"{refused.at:%Y-%m-%d %H:%M:%S} UTC: {refused.method} {refused.path}"
        self.stdout.write(escape(f"{sent}, {refused.status} {refused.reason}"))
        for words in (refused.message, shown["happened"], shown["remedy"]):
            if words:
                self.stdout.write(escape(words))
