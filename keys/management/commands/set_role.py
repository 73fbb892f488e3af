"""Give a user a role."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from keys import actions
from keys.actions.accounts import describe_role
from keys.api.serializers import UserSerializer
from keys.formatting.invisible import escape
from keys.management.one_user import NAME_OR_ID, user_of
from keys.rights.permissions import DESCRIPTIONS
from keys.rights.roles import Role


class Command(BaseCommand):
    help = "Give a user a role: it replaces the former role and single permissions."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user", metavar="USER", help=NAME_OR_ID)
        parser.add_argument("role", choices=[role.value for role in Role], help="the role")
        parser.add_argument(
            "--permission",
            action="append",
            default=[],
            choices=list(DESCRIPTIONS),
            metavar="NAME",
            help="a single permission, for custom and in addition to auditor and key_admin; repeat it for more",
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        user = user_of(options["user"])
        try:
            user = actions.set_role(user=user, role=Role(options["role"]), permissions=options["permission"])
        except actions.ActionError as error:
            raise CommandError(f"{user.username}: {error}") from None
        if options["json"]:
            self.stdout.write(json.dumps(dict(UserSerializer(user).data)))
            return
        self.stdout.write(escape(f"The role of {user.username} is {describe_role(user)}."))
