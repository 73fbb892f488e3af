"""List registrations, latest first."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from proxy.api.registrations import keeps_state
from proxy.lists import command_options, exports
from proxy.lists.filters import RegistrationFilters
from proxy.lists.read_replica import reading_if_possible
from proxy.models import Registration, tag_rules

COLUMNS = (
    "at",
    "outcome",
    "operation",
    "object_name",
    "version",
    "user",
    "key",
    "tag_rules",
    "address",
    "request_id",
)


class Command(BaseCommand):
    help = "List registrations from the ledger, latest first."

    def add_arguments(self, parser: CommandParser) -> None:
        command_options.add(
            parser,
            user="name or id (usr_…)",
            key="id (key_…), as list_keys shows it",
            model="its name; a logged model's id",
            operation="such as model-versions.create",
            outcome=", ".join(Registration.Outcome.values),
            organisation="its slug",
            environment="live or test",
            rules=f"the current state of a version's tags: {', '.join(tag_rules.STATES)}; or {tag_rules.QUARANTINED}",
            request_id="req_…, from an error message",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        rows = command_options.filter_rows(RegistrationFilters, Registration.objects.all(), options)
        fields, columns = exports.REGISTRATION_FIELDS, COLUMNS
        rows = exports.registrations(rows, keep=keeps_state(options["rules"]))
        with reading_if_possible(self.stderr.write):
            command_options.show(
                self, rows, options, fields=fields, columns=columns, empty="No such registrations."
            )
