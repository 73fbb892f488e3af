"""List what happened to API keys."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from keys.api.serializers import ActivitySerializer
from keys.management.one_key import key_of
from keys.models import KeyEvent
from keys.tables import add_limit, limited, show

COLUMNS = ("at", "kind", "key_id", "key", "user", "actor", "address")


class Command(BaseCommand):
    help = "List what was done to keys, newest first: who, when, from where."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--key", metavar="KEY_ID", help="only of this key")
        parser.add_argument("--kind", choices=KeyEvent.Kind.values)
        add_limit(parser)
        parser.add_argument("--json", action="store_true", help="print a JSON list, all columns")

    def handle(self, *args: Any, **options: Any) -> None:
        events = KeyEvent.objects.select_related("key__owner", "actor").order_by("-pk")
        if options["key"]:
            events = events.filter(key=key_of(options["key"]))
        if options["kind"]:
            events = events.filter(kind=options["kind"])
        rows = (
            dict(ActivitySerializer(event).data) for event in limited(events.iterator(1000), options["limit"])
        )
        show(self, COLUMNS, rows, as_json=options["json"], empty="Nothing happened yet.")
