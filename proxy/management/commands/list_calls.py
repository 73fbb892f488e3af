"""List calls, latest first."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from proxy.lists import command_options, exports
from proxy.lists.filters import CallFilters
from proxy.lists.read_replica import reading_if_possible
from proxy.models.calls import Call

COLUMNS = (
    "at",
    "status",
    "operation",
    "user",
    "key",
    "object_name",
    "address",
    "duration_ms",
    "reason",
    "request_id",
)


class Command(BaseCommand):
    help = "List calls from the usage log, latest first."

    def add_arguments(self, parser: CommandParser) -> None:
        command_options.add(
            parser,
            user="name or id (usr_…)",
            key="id (key_…), as list_keys shows it",
            organisation="its slug",
            operation="such as runs.create",
            status="first digit: 2, 3, 4 or 5",
            reason="the reason for the refusal, such as scope",
            refused="true: only calls that the portal itself refused",
            object="id or name of a run, experiment, model, …",
            address="the caller's IP address",
            request_id="req_…, from an error message",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        calls = command_options.filter_rows(CallFilters, Call.objects.all(), options)
        rows = exports.calls(calls)
        fields = exports.CALL_FIELDS
        with reading_if_possible(self.stderr.write):
            command_options.show(self, rows, options, fields=fields, columns=COLUMNS, empty="No such calls.")
