"""Django's own log of what administrators did, for what the pages and the API do to users and owners."""

from django.contrib.admin.models import CHANGE, LogEntry
from django.db.models import Model

from keys.actions.actor import Actor


def log(row: Model, text: str, *, actor: Actor) -> None:
    """Add an entry to the history on the row's page. What nobody signed in for, such as a command, has none."""
    if actor.user is None:
        return
    key = f", with {actor.key.public_id}" if actor.key else ""
    words = f"{text} From {actor.address or 'an unknown address'}{key}."
    LogEntry.objects.log_actions(actor.user.pk, [row], CHANGE, change_message=words, single_object=True)
