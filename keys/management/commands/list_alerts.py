"""List alerts."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from keys.api.alerts import AlertSerializer
from keys.formatting.tables import add_limit, limit_rows, show
from keys.lists.command_options import filter_rows
from keys.lists.filters import AlertFilters
from keys.management.one_key import key_of
from keys.management.one_organisation import organisation_of
from keys.models import Alert

COLUMNS = ("at", "id", "kind", "key_id", "key", "user", "mailed_at", "posted_at", "settled_at")


class Command(BaseCommand):
    help = "List alerts, newest first, with who was notified of each and when."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--kind", choices=Alert.Kind.values)
        parser.add_argument("--state", choices=("open", "settled"))
        parser.add_argument("--key", metavar="KEY_ID", help="only alerts about this key")
        parser.add_argument(
            "--organisation",
            metavar="SLUG",
            help="only alerts about this organisation, its keys or its files",
        )
        add_limit(parser)
        parser.add_argument("--json", action="store_true", help="print a JSON list, all columns")

    def handle(self, *args: Any, **options: Any) -> None:
        asked = {"kind": options["kind"], "state": options["state"]}
        asked["key"] = options["key"] and key_of(options["key"]).public_id
        asked["organisation"] = options["organisation"] and organisation_of(options["organisation"]).slug
        alerts = filter_rows(AlertFilters, Alert.objects.with_people().order_by("-pk"), asked)
        rows = (
            dict(AlertSerializer(alert).data) for alert in limit_rows(alerts.iterator(1000), options["limit"])
        )
        show(self, COLUMNS, rows, as_json=options["json"], empty="No such alerts.")
