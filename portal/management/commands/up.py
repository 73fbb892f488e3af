"""`manage.py up`: runs PostgreSQL, MLflow and the portal on this machine until Ctrl-C."""

import argparse
import json
import os
import sys
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from portal.one_machine import console, first_run
from portal.one_machine.run import Run
from portal.one_machine.supervisor import StartError, StopRequested

CHILD_TASKS: dict[str, Callable[[], dict[str, str]]] = {
    "prepare": first_run.prepare_database,
    "key": first_run.retry_key,
}


class Command(BaseCommand):
    help = "Starts PostgreSQL, MLflow and the portal on this machine; Ctrl-C or SIGTERM stops all of it."
    # The settings name no database yet; the child process that migrates runs the checks.
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--stop-with-parent", action="store_true", help="stop as soon as the starting process is gone"
        )
        parser.add_argument("--child-task", choices=CHILD_TASKS, help=argparse.SUPPRESS)

    def handle(self, *args: object, **options: Any) -> None:
        if options["child_task"]:
            self.stdout.write(json.dumps(CHILD_TASKS[options["child_task"]]()))
            return
        run = Run(settings.DATA_DIR)
        run.stop_on_signals()
        if options["stop_with_parent"]:
            parent = os.getppid()
            run.stop_with(lambda: os.getppid() == parent)
        try:
            run.run()
        except StartError as error:
            self.stderr.write(f"error: {error}")
            sys.exit(1)
        except StopRequested:
            pass
        console.write(f"stopped ({run.reason})" if run.reason else "stopped")
