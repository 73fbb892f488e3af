"""List keys that wait to be collected by their holders, or withdraw one."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from keys.actions import ActionError, collecting
from keys.api.prepared_serializers import serialize_prepared_key
from keys.formatting.invisible import escape
from keys.formatting.tables import show
from keys.models import PreparedKey

COLUMNS = ("id", "user", "name", "created_at", "created_by", "collect_by")


class Command(BaseCommand):
    help = "List keys that wait to be collected by their holders, or withdraw one. issue_key --collect prepares them."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--withdraw", metavar="ID", help="withdraw this one (prep_…): it is not collected"
        )
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["withdraw"]:
            self.stdout.write(escape(withdraw(options["withdraw"], as_json=options["json"])))
            return
        rows = map(serialize_prepared_key, PreparedKey.objects.waiting().with_people())
        show(self, COLUMNS, rows, as_json=options["json"], empty="No key waits to be collected.")


def withdraw(public_id: str, *, as_json: bool) -> str:
    """Withdraw the prepared key. Returns the command's output."""
    prepared = PreparedKey.objects.with_people().filter(public_id=public_id).first()
    if prepared is None:
        raise CommandError(
            f"there is no prepared key “{public_id}”; manage.py prepared_keys lists those that wait"
        )
    try:
        prepared = collecting.withdraw(prepared=prepared)
    except ActionError as error:
        raise CommandError(f"{public_id}: {error}") from None
    if as_json:
        return json.dumps(serialize_prepared_key(prepared))
    return f"The key “{prepared.name}” of {prepared.owner.username} can no longer be collected."
