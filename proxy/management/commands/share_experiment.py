"""Share an experiment, or end the sharing."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from keys.formatting.invisible import escape
from keys.management.one_organisation import add_organisation, namespace_of
from keys.models import ApiKey
from proxy.api.owners import SharedSerializer, ShareSerializer
from proxy.policy import owner_actions


class Command(BaseCommand):
    help = "Share an experiment, so that anyone may create runs in it. --undo: only its owner may."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("experiment_id", metavar="EXPERIMENT_ID", help="the number in its URL")
        parser.add_argument("--environment", choices=ApiKey.Environment.values, default="live")
        add_organisation(parser)
        parser.add_argument("--undo", action="store_true", help="end the sharing")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        asked = {name: options[name] for name in ("experiment_id", "environment")}
        sent = ShareSerializer(data={**asked, "is_shared": not options["undo"]})
        if not sent.is_valid():
            raise CommandError("EXPERIMENT_ID: an experiment's id is a number")
        asked = dict(sent.validated_data)
        asked.pop("organisation")
        namespace = namespace_of(asked.pop("environment"), options["organisation"])
        owner = owner_actions.mark_shared(namespace=namespace, **asked)
        if options["json"]:
            self.stdout.write(json.dumps(SharedSerializer(owner).data))
            return
        who = "anyone" if owner.is_shared else "its owner alone"
        self.stdout.write(escape(f"In the experiment {owner.name} {who} may create runs."))
