"""List the open requests of key holders, approve one, or decline one with a reason."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from keys.actions import ActionError, requests
from keys.actions.actor import COMMAND
from keys.alerts.key_messages import notify_holder, write_message
from keys.api.requests import serialize_request
from keys.formatting.invisible import escape
from keys.formatting.tables import show
from keys.models import KeyRequest

COLUMNS = ("id", "user", "kind", "key_id", "name", "scopes", "days", "created_at", "note")


class Command(BaseCommand):
    help = "List the open requests of key holders, approve one, or decline one with a reason."

    def add_arguments(self, parser: CommandParser) -> None:
        decision = parser.add_mutually_exclusive_group()
        decision.add_argument("--approve", metavar="ID", help="do what this one (kreq_…) requests")
        decision.add_argument("--decline", metavar="ID", help="decline this one; takes --reason")
        parser.add_argument("--reason", default="", help="why it is declined; the holder reads it")
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            if options["approve"]:
                self.approve(find_request(options["approve"]), as_json=options["json"])
            elif options["decline"]:
                self.decline(find_request(options["decline"]), options)
            else:
                rows = map(serialize_request, KeyRequest.objects.open().with_people())
                show(self, COLUMNS, rows, as_json=options["json"], empty="No open requests.")
        except ActionError as error:
            raise CommandError(str(error)) from None

    def approve(self, row: KeyRequest, *, as_json: bool) -> None:
        """Print the link with which the holder collects a new key, if that was requested."""
        row, made = requests.approve(request=row)
        told: dict[str, Any] = {}
        if made:
            message = write_message(*made, actor=COMMAND)
            told = message.serialize()
        else:
            told = {"is_mailed": notify_holder(row)}
        if as_json:
            self.stdout.write(escape(json.dumps({**serialize_request(row), **told})))
            return
        if made:
            self.stdout.write(escape(told["link"]))
        self.stderr.write(escape(f"Approved: {row.words} of {row.user.username}."))

    def decline(self, row: KeyRequest, options: dict[str, Any]) -> None:
        row = requests.decline(request=row, reason=options["reason"])
        notify_holder(row)
        shown = (
            json.dumps(serialize_request(row))
            if options["json"]
            else f"Declined: {row.words} of {row.user.username}."
        )
        self.stdout.write(escape(shown))


def find_request(public_id: str) -> KeyRequest:
    row = KeyRequest.objects.with_people().filter(public_id=public_id).first()
    if row is None:
        raise CommandError(f"there is no request “{public_id}”; manage.py key_requests lists the open ones")
    return row
