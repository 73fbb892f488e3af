"""`manage.py link_identity`: link an identity of the provider to a user before their first sign-in."""

import json

from allauth.socialaccount.models import SocialAccount
from django.core.management import BaseCommand, CommandError
from django.core.management.base import CommandParser
from django.db import IntegrityError, transaction

from keys.formatting.invisible import escape
from keys.management.one_user import NAME_OR_ID, user_of
from portal.sign_in.providers import PROVIDER_ID, find_provider


class Command(BaseCommand):
    help = "Link an identity of the OpenID Connect provider (OIDC_ISSUER) to a user, by its subject."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--user", required=True, help=NAME_OR_ID)
        parser.add_argument("--subject", required=True, help="the provider's `sub`")
        parser.add_argument(
            "--provider",
            default=PROVIDER_ID,
            metavar="ID",
            help="of OIDC_PROVIDERS (default: that of OIDC_ISSUER)",
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *, user: str, subject: str, provider: str, **options: object) -> None:
        account = user_of(user)
        if provider != PROVIDER_ID and find_provider(provider) is None:
            raise CommandError(f"OIDC_PROVIDERS has no provider “{provider}”.")
        try:
            with transaction.atomic():
                SocialAccount.objects.create(user=account, provider=provider, uid=subject)
        except IntegrityError:
            raise CommandError("This identity is already linked.") from None
        if options["json"]:
            shown = {"user": account.username, "user_id": account.public_id, "subject": subject}
            self.stdout.write(json.dumps(shown))
            return
        self.stdout.write(escape(f"{subject} signs in as {account.username}."))
