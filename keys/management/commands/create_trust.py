"""Add a trust: a key without a secret, which signed tokens of an issuer act as."""

import json
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from keys.actions import ActionError
from keys.actions.actor import COMMAND
from keys.formatting.invisible import escape
from keys.management.commands import issue_key
from keys.organisations.trust_api import serialize_trust
from keys.organisations.trust_rules import parse_conditions, read_key_set
from keys.organisations.trusts import create_trust


class Command(BaseCommand):
    help = (
        "Add a trust: signed tokens of this issuer, for this audience and with these claims, act as a key of the "
        "organisation. There is no secret to store."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "slug", metavar="SLUG", help="the organisation to which the trust belongs for ever"
        )
        parser.add_argument("--issuer", required=True, metavar="URL", help="the claim iss of the tokens")
        parser.add_argument("--audience", required=True, metavar="TEXT", help="the claim aud of the tokens")
        parser.add_argument(
            "--claim",
            action="append",
            required=True,
            metavar="NAME=GLOB",
            help="a claim and what it must match, with * and ?; repeatable: each claim must match one of its globs",
        )
        parser.add_argument(
            "--jwks", metavar="FILE", help="the issuer's key set, if the portal cannot reach the issuer"
        )
        parser.add_argument(
            "--private-issuer", action="store_true", help="fetch the key set from a private address too"
        )
        parser.add_argument(
            "--ca", metavar="FILE", help="PEM certificates with which the issuer's server is verified"
        )
        parser.add_argument(
            "--user",
            help="name or id (usr_…) of the key's owner (default: a service user named after the trust)",
        )
        issue_key.add_rights(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        if options["preset"] and options["scope"]:
            raise CommandError("give --preset or --scope, not both")
        options.update(organisation=options["slug"], canary=False)
        rights = issue_key.requested_key(options)
        del rights["is_canary"]
        try:
            with transaction.atomic():
                trust = create_trust(
                    **rights,
                    issuer=options["issuer"],
                    audience=options["audience"],
                    conditions=parse_conditions(options["claim"]),
                    key_set=read_key_set(options["jwks"]) if options["jwks"] else None,
                    is_private=options["private_issuer"],
                    ca=read_file(options["ca"]),
                    owner=issue_key.find_or_add_owner(options["user"])[0] if options["user"] else None,
                    actor=COMMAND,
                )
        except ActionError as error:
            raise CommandError(escape(str(error))) from None
        if options["json"]:
            self.stdout.write(json.dumps(serialize_trust(trust)))
            return
        self.stdout.write(
            escape(
                f"Trust {trust.key.public_id} “{trust.key.name}” of {trust.key.organisation}: tokens of "
                f"{trust.issuer} for the audience {trust.audience}. Use one as MLFLOW_TRACKING_TOKEN."
            )
        )


def read_file(name: str | None) -> str:
    """Raises CommandError."""
    if not name:
        return ""
    try:
        return Path(name).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{name}: {error}") from None
