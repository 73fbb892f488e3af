"""List the events of API keys."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from keys.api.serializers import ActivitySerializer
from keys.formatting.csv_export import read
from keys.formatting.tables import add_forms, add_limit, add_span, limit_rows, print_file, show, span
from keys.lists.columns import EVENT_COLUMNS
from keys.lists.command_options import filter_rows
from keys.lists.filters import EventFilters
from keys.management.one_key import key_of
from keys.management.one_organisation import organisation_of
from keys.management.one_user import NAME_OR_ID, user_of
from keys.models import KeyEvent, KeyEventQuerySet

COLUMNS = ("at", "kind", "key_id", "key", "user", "by", "address")


class Command(BaseCommand):
    help = "List the actions on keys, newest first, with actor, time and address."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--key", metavar="KEY_ID", help="only events of this key")
        parser.add_argument("--organisation", metavar="SLUG", help="only events of keys of this organisation")
        parser.add_argument("--kind", choices=KeyEvent.Kind.values)
        parser.add_argument("--actor", metavar="USER", help=f"only actions of this user: {NAME_OR_ID}")
        add_span(parser)
        add_limit(parser)
        add_forms(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        events = matching_events(options)
        if options["csv"] or options["jsonl"]:
            exported = limit_rows(read(EVENT_COLUMNS, events), options["limit"])  # as the page exports it
            print_file(self, list(EVENT_COLUMNS), exported, options)
            return
        rows = (
            dict(ActivitySerializer(event).data)
            for event in limit_rows(events.iterator(1000), options["limit"])
        )
        show(self, COLUMNS, rows, as_json=options["json"], empty="No such events.")


def matching_events(options: dict[str, Any]) -> KeyEventQuerySet:
    """Newest first."""
    asked = {
        "key": options["key"] and key_of(options["key"]).public_id,
        "organisation": options["organisation"] and organisation_of(options["organisation"]).slug,
        "kind": options["kind"],
        "actor": options["actor"] and user_of(options["actor"]).username,
        **{name: at.isoformat() for name, at in span(options).items()},
    }
    events: KeyEventQuerySet = filter_rows(
        EventFilters, KeyEvent.objects.with_people().order_by("-pk"), asked
    )
    return events
