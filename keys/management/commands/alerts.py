"""Run the queued tasks until stopped: deliver alerts, check all keys every ten minutes, scan versions. Or test or
settle alerts."""

import asyncio
import dataclasses
import json
import logging
import sys
import time
from typing import Any

import psycopg
from django.core.management.base import BaseCommand, CommandError, CommandParser
from procrastinate import PsycopgConnector
from procrastinate.contrib.django import app
from procrastinate.exceptions import ConnectorException

from keys import alerts
from keys.actions.actor import COMMAND
from keys.alerts.outbox import retry_stalled_jobs
from keys.alerts.settling import settle
from keys.alerts.trial import send_test_alert
from keys.api.alerts import find_alert
from keys.database import session_parameters
from keys.formatting.invisible import escape

logger = logging.getLogger(__name__)

RETRY_SECONDS = 5.0  # between attempts to reach PostgreSQL
AT_ONCE = 4  # tasks; two of them may be scans, `proxy.provenance.scan.queue`
STOP_SECONDS = 10.0  # after which a stopping process asks its tasks to end


class Command(BaseCommand):
    help = (
        "Deliver alerts by mail and webhook, with retries, and scan registered versions, until stopped. Run one or "
        "more beside the portal."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        instead = parser.add_mutually_exclusive_group()
        instead.add_argument("--look", action="store_true", help="check all keys once and exit")
        instead.add_argument(
            "--test", action="store_true", help="send a test alert to ALERT_EMAILS and the webhook, and exit"
        )
        instead.add_argument(
            "--settle", metavar="ALERT_ID", help="mark an alert (alert_…) as settled, and exit"
        )
        parser.add_argument(
            "--json", action="store_true", help="with --look, --test or --settle: print one JSON object"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["test"]:
            self.send_test(as_json=options["json"])
            return
        if options["settle"]:
            self.settle(options["settle"], as_json=options["json"])
            return
        if options["look"]:
            new = alerts.check_keys()
            self.stdout.write(json.dumps({"alerts": new}) if options["json"] else f"{new} new alerts")
            return
        if options["json"]:
            raise CommandError(
                "--json needs --look, --test or --settle: the delivery of alerts prints nothing"
            )
        while True:
            try:
                asyncio.run(work())
            except (ConnectorException, psycopg.Error, OSError) as error:
                logger.warning("outbox_waits", extra={"error": type(error).__name__})
                time.sleep(RETRY_SECONDS)
            else:
                return

    def send_test(self, *, as_json: bool) -> None:
        """Exit status 1 if a channel that is set up failed, or none is set up."""
        results = send_test_alert(actor=COMMAND)
        if as_json:
            self.stdout.write(json.dumps({"results": [dataclasses.asdict(result) for result in results]}))
        else:
            for result in results:
                self.stdout.write(escape(f"{result.channel}: {result.result}. {result.text}"))
        found = {result.result for result in results}
        if "failed" in found or "sent" not in found:
            sys.exit(1)

    def settle(self, public_id: str, *, as_json: bool) -> None:
        alert = find_alert(public_id)
        if alert is None:
            raise CommandError(f"no such alert: {escape(public_id)}; list_alerts shows their ids")
        is_first = settle(alert=alert, actor=COMMAND)
        if as_json:
            self.stdout.write(json.dumps({"id": f"alert_{alert.pk}", "settled": is_first}))
        else:
            self.stdout.write("Settled." if is_first else "Somebody settled it before.")


async def work() -> None:
    """Run the tasks of all queues until a signal arrives. Raises ConnectorException if PostgreSQL goes away."""
    connector = PsycopgConnector(kwargs=session_parameters(), min_size=1, max_size=4)
    with app.replace_connector(connector) as running:
        async with running.open_async():
            await retry_stalled_jobs(running.job_manager)
            await running.run_worker_async(
                name="alerts",
                concurrency=AT_ONCE,
                delete_jobs="successful",
                fetch_job_polling_interval=2.0,
                shutdown_graceful_timeout=STOP_SECONDS,
            )
