"""Print rules that find this portal's keys in files, for secret scanners or as a git hook."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from keys.management.scanner_rules import TEMPLATES, rule_for


class Command(BaseCommand):
    help = "Print a rule, a plugin or a hook that finds API keys in files."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("form", choices=list(TEMPLATES), metavar="SCANNER", help=", ".join(TEMPLATES))

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(rule_for(options["form"]), ending="")
