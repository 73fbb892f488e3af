"""How the commands find a user."""

from django.core.management.base import CommandError

from keys.models import User

NAME_OR_ID = "name or id (usr_…), as list_users shows it"


def user_of(text: str) -> User:
    """The user of this name or id. Raises CommandError."""
    if user := find_user(text):
        return user
    raise CommandError(f"there is no user “{text}”; manage.py list_users shows them all")


def find_user(text: str) -> User | None:
    try:
        return User.objects.named(text)
    except User.DoesNotExist:
        return None
