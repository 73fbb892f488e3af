"""How the commands find an organisation."""

from django.core.management.base import CommandError, CommandParser

from keys.models import Namespace, Organisation
from keys.models.organisations import SHARED


def organisation_of(slug: str) -> Organisation:
    """The organisation of this slug. Raises CommandError."""
    try:
        return Organisation.objects.get(slug=slug)
    except Organisation.DoesNotExist:
        raise CommandError(
            f"there is no organisation “{slug}”; manage.py organisation list shows them all"
        ) from None


def add_organisation(parser: CommandParser) -> None:
    parser.add_argument(
        "--organisation",
        metavar="SLUG",
        default=SHARED,
        help="whose object it is (default: shared, that of users without an organisation)",
    )


def namespace_of(environment: str, slug: str) -> Namespace:
    return Namespace.of(environment, organisation_of(slug))
