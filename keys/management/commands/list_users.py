"""List users."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from keys.api.serializers import UserSerializer
from keys.formatting.tables import show
from keys.lists.command_options import filter_rows
from keys.lists.filters import UserFilters
from keys.models import User
from keys.rights.roles import Role

COLUMNS = ("id", "name", "is_active", "role", "created_at", "last_sign_in_at")


class Command(BaseCommand):
    help = "List users, with their state, their role, and their last sign-in."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--find", metavar="TEXT", help="only users whose name, id or e-mail address contains this"
        )
        parser.add_argument("--role", choices=[role.value for role in Role], help="only users with this role")
        parser.add_argument("--json", action="store_true", help="print a JSON list")

    def handle(self, *args: Any, **options: Any) -> None:
        users = User.objects.with_roles().order_by("username")
        users = filter_rows(UserFilters, users, {"q": options["find"], "role": options["role"]})
        rows = (dict(UserSerializer(user).data) for user in users)
        show(self, COLUMNS, rows, as_json=options["json"], empty="No such users.")
