"""Django's own log of what administrators did, for what the pages and the API do to users and owners."""

from django.contrib.admin.models import CHANGE, LogEntry
from django.db.models import Model

from keys.models import ApiKey, User


def log(
    thing: Model, text: str, *, actor: User, address: str | None = None, via: ApiKey | None = None
) -> None:
    """The thing's page shows it as its history. `via`: the key with which it was done."""
    key = f", with {via.public_id}" if via else ""
    words = f"{text} From {address or 'an unknown address'}{key}."
    LogEntry.objects.log_actions(actor.pk, [thing], CHANGE, change_message=words, single_object=True)
