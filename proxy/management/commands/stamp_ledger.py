"""Have the time-stamp authority confirm the ledger's head now."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from keys.formatting.moments import format_exact_time
from proxy.ledger import stamps
from proxy.ledger.authority import AuthorityError
from proxy.models import LedgerStamp


class Command(BaseCommand):
    help = (
        "Have the authority of TIMESTAMP_URL time-stamp the ledger's head, unless it has a time-stamp. The portal does "
        "it by itself every TIMESTAMP_HOURS."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--json",
            action="store_true",
            help="print the latest time-stamp as one line of JSON, to store elsewhere (>> heads.jsonl)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.TIMESTAMP_URL:
            raise CommandError("TIMESTAMP_URL is not set")
        try:
            stamps.stamp_head()
        except AuthorityError as error:
            raise CommandError(f"{settings.TIMESTAMP_URL} gave no valid time-stamp: {error}") from None
        last = LedgerStamp.objects.last()
        if last is None:
            raise CommandError("the ledger is empty; there is no head to stamp yet")
        if options["json"]:
            self.stdout.write(stamps.as_json(last))
            return
        since = format_exact_time(last.stamped_at)
        self.stdout.write(
            f"The chain up to row {last.sequence} has had a time-stamp of {last.authority} since {since}."
        )
