"""Print sums of calls and bytes."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from proxy.api.usage import UsageQuerySerializer
from proxy.lists import command_options
from proxy.lists.filters import UsageFilters
from proxy.lists.read_replica import reading_if_possible
from proxy.lists.usage import MODEL, sum_usage
from proxy.models.calls import Call
from proxy.models.totals import CallTotal

SUMS = ("calls", "bytes_in", "bytes_out", "duration_ms")


class Command(BaseCommand):
    help = (
        "Sum calls and bytes by key, user, organisation, operation, status, day, month, hour or model "
        "(default: the last 30 days)."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--by", default="user", help="separated by commas (default: user)")
        command_options.add(
            parser,
            user="name or id (usr_…)",
            key="id (key_…)",
            organisation="its slug",
            operation="such as runs.create",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        sent = UsageQuerySerializer(data={"by": options["by"], **command_options.span(options)})
        if not sent.is_valid():
            name, errors = next(iter(sent.errors.items()))
            raise CommandError(f"--{name}: {errors[0]}")
        asked = sent.validated_data
        bounds = {**options, "since": None, "until": None}
        model = Call if MODEL in asked["by"] else CallTotal
        with reading_if_possible(self.stderr.write):
            sums = sum_usage(
                **asked,
                rows=model.objects.all(),
                narrow=lambda rows: command_options.filter_rows(UsageFilters, rows, bounds),
            )
        rows = [{name: format_value(value) for name, value in row.items()} for row in sums]
        columns = (*(rows[0] if rows else SUMS),)
        command_options.show(
            self, rows, options, fields=list(columns), columns=columns, empty="No calls in that time."
        )


def format_value(value: Any) -> Any:
    """A value for output; sums of milliseconds are rounded to drop floating-point noise."""
    return round(value, 1) if isinstance(value, float) else value
