"""Publish a registered model to other organisations, list publications, or withdraw one."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from keys.actions.errors import ActionError
from keys.formatting.invisible import escape
from keys.management.one_organisation import organisation_of
from keys.models import ApiKey, Namespace, Organisation
from proxy.ledger import publication_rules, publishing
from proxy.models import Publication
from proxy.request.messages import Json


class Command(BaseCommand):
    help = (
        "Publish a registered model, or one version of it, to another organisation or to all. --withdraw ends it. "
        "Without NAME, list the organisation's publications with who reads them, or with --rule set which versions may "
        "be published."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", nargs="?", metavar="NAME", help="the registered model's name")
        parser.add_argument("--organisation", metavar="SLUG", required=True, help="the publisher")
        parser.add_argument("--environment", choices=ApiKey.Environment.values, default="live")
        parser.add_argument("--model-version", default="", metavar="N", help="one version (default: all)")
        parser.add_argument("--to", metavar="SLUG", default="", help="the organisation that may read it")
        parser.add_argument("--to-all", action="store_true", help="every organisation may read it")
        parser.add_argument(
            "--dry-run", action="store_true", help="only show what readers would see of the model"
        )
        parser.add_argument("--withdraw", action="store_true", help="end the publication")
        parser.add_argument(
            "--readable", action="store_true", help="list what others publish for the organisation instead"
        )
        parser.add_argument(
            "--rule",
            choices=Organisation.PublicationRule.values,
            help="for versions that are rated dangerous or were not examined: warn, or refuse to publish them",
        )
        parser.add_argument("--json", action="store_true", help="print JSON, one object a line")

    def handle(self, *args: Any, **options: Any) -> None:
        organisation = organisation_of(options["organisation"])
        environment, name = options["environment"], options["name"]
        if options["rule"]:
            if name:
                raise CommandError("--rule is for the whole organisation: leave out NAME")
            self.set_rule(organisation, options)
            return
        if not name:
            rows = Publication.objects.with_readers().filter(environment=environment)
            is_other = options["readable"]
            rows = rows.readable_by(organisation) if is_other else rows.filter(organisation=organisation)
            for row in rows:
                content = publishing.describe_for_reader(row) if is_other else publishing.describe(row)
                self.print_one(content, describe_line(row, is_other=is_other), options["json"])
            return
        try:
            self.act(options, organisation=organisation, environment=environment, name=name)
        except ActionError as error:
            raise CommandError(escape(str(error))) from None

    def set_rule(self, organisation: Organisation, options: dict[str, Any]) -> None:
        try:
            found = publication_rules.set_rule(organisation=organisation, rule=options["rule"])
        except ActionError as error:
            raise CommandError(escape(str(error))) from None
        content: Json = {"organisation": found.slug, "publication_rule": found.publication_rule}
        self.print_one(content, f"The rule of {found.slug} is {found.publication_rule} now.", options["json"])

    def act(self, options: dict[str, Any], **asked: Any) -> None:
        if bool(options["to"]) == options["to_all"]:
            raise CommandError("give either --to SLUG or --to-all")
        asked |= {"version": options["model_version"], "reader": options["to"]}
        if options["withdraw"]:
            found = Publication.objects.with_readers().in_force().filter(**asked).first()
            if found is None:
                raise CommandError("there is no such publication; list them without NAME")
            row = publishing.withdraw(publication=found)
            self.print_one(publishing.describe(row), describe_line(row), options["json"])
            return
        if options["dry_run"]:
            namespace = Namespace.of(asked["environment"], asked["organisation"])
            visible = publishing.preview(namespace, asked["name"], asked["version"])
            self.print_one(visible.as_json(), "\n".join(describe_visible(visible)), options["json"])
            return
        row, visible = publishing.publish(**asked)
        content = {**publishing.describe(row), "visible": visible.as_json()}
        lines = [describe_line(row), publishing.VISIBLE, *describe_visible(visible)]
        self.print_one(content, "\n".join(lines), options["json"])

    def print_one(self, content: Json, text: str, is_json: bool) -> None:
        self.stdout.write(json.dumps(content) if is_json else escape(text))


def describe_line(row: Publication, *, is_other: bool = False) -> str:
    what = f"{row.name} {row.version or '(every version)'}"
    if is_other:
        return f"{row.organisation}  {what}  since {row.published_at:%Y-%m-%d}"
    state = (
        f"withdrawn {row.withdrawn_at:%Y-%m-%d}" if row.withdrawn_at else f"since {row.published_at:%Y-%m-%d}"
    )
    readers = ", ".join(f"{each.organisation} ({each.loads} loads)" for each in row.readers.all())
    return f"{what} to {row.reader or 'all organisations'}  {state}  read by {readers or 'nobody'}"


def describe_visible(visible: publishing.Visible) -> list[str]:
    """A line for the model, and one for each version."""
    lines = [f"{visible.name}: {visible.description or 'no description'}; tags: {visible.tags or 'none'}"]
    for each in visible.versions:
        lines.append(
            f"version {each.version}: run {each.run_id or 'none'}; {each.description or 'no description'}; "
            f"tags: {each.tags or 'none'}; files: {each.files or 'none that others can load'}"
            f"{f'; warning: {each.warning}' if each.warning else ''}"
        )
    return lines
