"""Hand over all objects of a user to another."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from keys.actions import ActionError
from keys.formatting.invisible import escape
from keys.management.one_organisation import organisation_of
from keys.management.one_user import user_of
from keys.management.progress import progress_on
from keys.models import Organisation, User
from proxy.models import Owner
from proxy.policy import owner_actions


class Command(BaseCommand):
    help = "Hand over all experiments, runs, models, … of one user to another. --dry-run only counts them."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("giver", metavar="FROM", help="name or id (usr_…); may be deactivated")
        parser.add_argument("taker", metavar="TO", help="name or id (usr_…)")
        parser.add_argument(
            "--organisation", metavar="SLUG", help="only what is in this organisation, to one of its members"
        )
        parser.add_argument("--dry-run", action="store_true", help="only count")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        giver, taker = user_of(options["giver"]), user_of(options["taker"])
        if giver == taker:
            raise CommandError("FROM and TO are the same user")
        if not taker.is_active:
            raise CommandError(f"the account “{taker.username}” is deactivated")
        slug = options["organisation"]
        organisation = organisation_of(slug) if slug else None
        if options["dry_run"]:
            owned = Owner.objects.filter(user=giver)
            count = (owned.filter(organisation=organisation) if organisation else owned).count()
        else:
            count = self.hand_over(giver, taker, organisation)
        if options["json"]:
            self.stdout.write(json.dumps({"objects": count, "done": not options["dry_run"]}))
            return
        verb = "would belong" if options["dry_run"] else "now belong"
        self.stdout.write(escape(f"{count} objects of {giver.username} {verb} to {taker.username}."))

    def hand_over(self, giver: User, taker: User, organisation: Organisation | None) -> int:
        shown = progress_on(self.stderr, "objects handed over")
        try:
            return owner_actions.hand_over(
                giver=giver, taker=taker, organisation=organisation, on_progress=shown
            )
        except ActionError as error:
            raise CommandError(escape(str(error))) from None
