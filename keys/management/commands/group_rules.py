"""List, add and remove group rules."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from keys.actions import ActionError
from keys.directory.rules import add_rule, remove_rule
from keys.formatting.tables import show
from keys.management.one_organisation import organisation_of
from keys.models import GroupRule
from keys.models.directories import RULE_ROLES
from keys.organisations.group_rule_api import find_rule, serialize_rule

COLUMNS = ("id", "group", "role", "organisation", "directory", "created_at")


class Command(BaseCommand):
    help = (
        "List group rules, add one or remove one. A rule grants the users in a group of a directory, or of a sign-in's "
        "groups claim, a role: in an organisation, or without --organisation in staff."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        roles = ", ".join(dict(RULE_ROLES))
        parser.add_argument("--add", metavar="GROUP", help="add a rule for this group, by its name or its id")
        parser.add_argument("--role", help=f"the role that it grants: {roles}")
        parser.add_argument(
            "--organisation",
            metavar="SLUG",
            help="list only rules for it; with --add, where the rule grants the role (default: in staff)",
        )
        parser.add_argument(
            "--directory",
            metavar="SLUG",
            help="list only rules of its directory; with --add, whose directory and providers name the group "
            "(default: those for all)",
        )
        parser.add_argument("--remove", metavar="ID", help="remove this rule (rule_…), and what it granted")
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        rows = GroupRule.objects.with_organisations().order_by("group", "pk")
        try:
            if options["add"]:
                rows = rows.filter(pk=add(options).pk)
            elif options["remove"]:
                rule = find_rule(options["remove"])
                if rule is None:
                    raise CommandError(
                        f"there is no rule “{options['remove']}”; manage.py group_rules lists them"
                    )
                remove_rule(rule=rule)
            else:
                for name in ("organisation", "directory"):
                    if options[name]:
                        rows = rows.filter(**{name: organisation_of(options[name])})
        except ActionError as error:
            raise CommandError(str(error)) from None
        show(
            self, COLUMNS, map(serialize_rule, rows), as_json=options["json"], empty="There is no group rule."
        )


def add(options: dict[str, Any]) -> GroupRule:
    places: dict[str, Any] = {
        name: organisation_of(options[name]) if options[name] else None
        for name in ("organisation", "directory")
    }
    return add_rule(group=options["add"], role=options["role"] or "", **places)
