"""`manage.py remove_second_factors`: for who lost phone and recovery codes, when no superuser can help."""

from typing import Any

from allauth.mfa.models import Authenticator
from django.core.management.base import BaseCommand, CommandError, CommandParser

from keys.models import User


class Command(BaseCommand):
    help = (
        "Remove a user's authenticator app, passkeys and recovery codes: the password alone signs in again."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--user", required=True, help="the user's name")

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.filter(username=options["user"]).first()
        if user is None:
            raise CommandError(f"There is no user “{options['user']}”.")
        removed, _ = Authenticator.objects.filter(user=user).delete()
        words = "second factors are removed" if removed else "account has no second factor"
        self.stdout.write(f"{user.username}'s {words}.")
