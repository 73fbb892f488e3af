"""`manage.py reencrypt_second_factors`: the part of a rotation of KEY_PEPPERS that concerns second factors."""

import json
from typing import Any

from allauth.mfa.models import Authenticator
from cryptography.fernet import InvalidToken
from django.core.management import BaseCommand, CommandError
from django.core.management.base import CommandParser
from django.db import transaction

from portal.sign_in.adapters import cipher

ENCRYPTED = ("secret", "seed")  # of an authenticator app, of recovery codes; passkeys have public keys only


class Command(BaseCommand):
    help = "Encrypt the secrets of authenticator apps and recovery codes under the newest of KEY_PEPPERS."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, **options: Any) -> None:
        try:
            count = reencrypt()
        except InvalidToken:
            raise CommandError(
                "A second factor was encrypted under a pepper that is not in KEY_PEPPERS. Nothing was changed."
            ) from None
        self.stdout.write(
            json.dumps({"reencrypted": count})
            if options["json"]
            else f"{count} second factors are encrypted under the newest pepper."
        )


@transaction.atomic
def reencrypt() -> int:
    """Encrypt all of them again. Raises InvalidToken if one needs a pepper that is not configured."""
    newest, count = cipher(), 0
    for factor in Authenticator.objects.select_for_update():
        names = [name for name in ENCRYPTED if factor.data.get(name)]
        for name in names:
            factor.data[name] = newest.rotate(factor.data[name].encode()).decode()
        if names:
            factor.save(update_fields=["data"])
            count += 1
    return count
