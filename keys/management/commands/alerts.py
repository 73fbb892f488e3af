"""Deliver the alerts in the outbox and check all keys every ten minutes, until stopped."""

import asyncio
import json
import logging
import time
from typing import Any

import psycopg
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection
from procrastinate import PsycopgConnector
from procrastinate.contrib.django import app
from procrastinate.exceptions import ConnectorException

from keys import alerts
from keys.alerts.outbox import retry_stalled_jobs
from keys.alerts.queue import QUEUE

logger = logging.getLogger(__name__)

RETRY_SECONDS = 5.0  # between attempts to reach PostgreSQL


class Command(BaseCommand):
    help = (
        "Deliver alerts by mail and webhook, with retries, until stopped. Run one or more beside the portal."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--look", action="store_true", help="check all keys once and exit")
        parser.add_argument("--json", action="store_true", help="with --look: print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["look"]:
            new = alerts.check_keys()
            self.stdout.write(json.dumps({"alerts": new}) if options["json"] else f"{new} new alerts")
            return
        if options["json"]:
            raise CommandError("--json needs --look: the delivery of alerts prints nothing")
        while True:
            try:
                asyncio.run(work())
            except (ConnectorException, psycopg.Error, OSError) as error:
                logger.warning("outbox_waits", extra={"error": type(error).__name__})
                time.sleep(RETRY_SECONDS)
            else:
                return


async def work() -> None:
    """Deliver alerts until a signal arrives. Raises ConnectorException if PostgreSQL becomes unavailable."""
    parameters = connection.get_connection_params()
    for django_only in ("pool", "cursor_factory", "context", "prepare_threshold"):
        parameters.pop(django_only, None)
    connector = PsycopgConnector(kwargs=parameters, min_size=1, max_size=4)
    with app.replace_connector(connector) as running:
        async with running.open_async():
            await retry_stalled_jobs(running.job_manager)
            await running.run_worker_async(
                queues=[QUEUE], name="alerts", delete_jobs="successful", fetch_job_polling_interval=2.0
            )
