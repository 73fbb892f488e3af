"""List an organisation's trusts, and try a token or its claims with them."""

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from keys.actions import ActionError
from keys.actions.actor import COMMAND
from keys.formatting.invisible import escape
from keys.lists.command_options import filter_rows
from keys.lists.filters import TrustFilters
from keys.management.one_organisation import organisation_of
from keys.models import ApiKey, Trust, TrustQuerySet
from keys.organisations.trust_api import serialize_trials, serialize_trust, trusts_of
from keys.organisations.trust_rules import parse_conditions, read_key_set
from keys.organisations.trust_trial import try_token
from keys.organisations.trusts import change_trust


class Command(BaseCommand):
    help = (
        "List the trusts of an organisation, or of all; with --try, say for a token or its claims on standard input "
        "which of them would accept it; with --change, change whose tokens one accepts."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "slug",
            metavar="SLUG",
            nargs="?",
            help="the organisation's slug; without it, the trusts of all organisations are listed",
        )
        parser.add_argument("--state", choices=ApiKey.State.values, help="list only trusts in this state")
        parser.add_argument(
            "--try", action="store_true", help="read a token, or its claims as JSON, from standard input"
        )
        parser.add_argument(
            "--change", metavar="ID", help="the trust (key_…) to change; the options below are its new values"
        )
        parser.add_argument(
            "--issuer",
            metavar="URL",
            help="the claim iss of the tokens; without --change: list only its trusts",
        )
        parser.add_argument("--audience", metavar="TEXT", help="the claim aud of the tokens")
        parser.add_argument(
            "--claim", action="append", metavar="NAME=GLOB", help="all conditions; repeatable"
        )
        parser.add_argument("--jwks", metavar="FILE", help="the issuer's key set")
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        organisation = organisation_of(options["slug"]) if options["slug"] else None
        if organisation is None and (options["change"] or options["try"]):
            raise CommandError("name the organisation (SLUG)")
        try:
            if organisation and options["change"]:
                rows = [self.change(trusts_of(organisation), options)]
            elif organisation and options["try"]:
                self.show_trials(try_token(organisation, sys.stdin.read(20_000)), options["json"])
                return
            else:
                rows = list(matching_trusts(options))
        except ActionError as error:
            raise CommandError(escape(str(error))) from None
        self.show_trusts(rows, options)

    def show_trusts(self, rows: list[Trust], options: dict[str, Any]) -> None:
        if options["json"]:
            self.stdout.write(json.dumps([serialize_trust(each) for each in rows]))
            return
        for each in rows:
            conditions = ", ".join(each.describe_conditions())
            key = each.key
            text = f"{key.public_id}  {key.name}  {key.state}  {each.issuer}  {each.audience}  {conditions}"
            if not options["slug"]:
                text = f"{key.organisation.slug}  {text}"
            self.stdout.write(escape(text))

    def change(self, trusts: Any, options: dict[str, Any]) -> Trust:
        trust: Trust | None = trusts.filter(key__public_id=options["change"]).first()
        if trust is None:
            raise CommandError("there is no such trust in this organisation")
        changes = {name: options[name] for name in ("issuer", "audience") if options[name]}
        if options["claim"]:
            changes["conditions"] = parse_conditions(options["claim"])
        if options["jwks"]:
            changes["key_set"] = read_key_set(options["jwks"])
        return change_trust(trust=trust, actor=COMMAND, **changes)

    def show_trials(self, trials: Any, as_json: bool) -> None:
        if as_json:
            self.stdout.write(json.dumps(serialize_trials(trials)))
            return
        for trial in trials:
            self.stdout.write(
                escape(f"{trial.trust.key.name}: {'would pass' if trial.passes else 'would be refused'}")
            )
            for check in trial.checks:
                mark = {True: "right", False: "WRONG", None: "not checked"}[check.passes]
                self.stdout.write(escape(f"  {check.name}: {mark}. {check.text}"))


def matching_trusts(options: dict[str, Any]) -> TrustQuerySet:
    """Newest first. Raises CommandError."""
    asked = {"organisation": options["slug"], "state": options["state"], "issuer": options["issuer"]}
    trusts: TrustQuerySet = filter_rows(TrustFilters, Trust.objects.with_key(), asked)
    return trusts.order_by("-pk")
