"""Create the usage log's partitions for the coming days and drop expired ones, as a running portal does every hour."""

import datetime
import json
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser
from django.db import connection

from proxy.usage import partitions


class Command(BaseCommand):
    help = "Create the usage log's partitions for the coming days, and drop those past USAGE_RETENTION_DAYS."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        connection.ensure_connection()
        made, dropped = partitions.maintain(
            connection.connection,
            today=datetime.datetime.now(datetime.UTC).date(),
            keep_days=settings.USAGE_RETENTION_DAYS,
        )
        if options["json"]:
            shown = {"days_ahead": partitions.DAYS_AHEAD, "made": made, "dropped": dropped}
            self.stdout.write(json.dumps(shown))
            return
        self.stdout.write(
            f"The usage log has partitions up to {partitions.DAYS_AHEAD} days ahead: "
            f"{made} made, {dropped} dropped."
        )
