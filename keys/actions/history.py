"""The record of an action: an event in the key's history, or an entry in Django's log of what administrators did."""

from typing import Any

from django.contrib.admin.models import CHANGE, LogEntry
from django.db.models import Model, QuerySet

from keys.actions.actor import Actor, Via
from keys.models import ApiKey, KeyEvent, User

BY_COMMAND = "By command line."  # the end of a command's entry


def log(row: Model, text: str, *, actor: Actor) -> None:
    """Add an entry to the history on the row's page.

    Django's log requires a user. A command has none: its entry names the user whom it is about, and its text ends in
    BY_COMMAND, so that `who_did` names the command line. A command's change of anything else has no entry.
    """
    key = f", with {actor.key.public_id}" if actor.key else ""
    words = f"{text} From {actor.address or 'an unknown address'}{key}."
    user = actor.user
    if user is None and actor.via is Via.COMMAND and isinstance(row, User):
        user, words = row, f"{text} {BY_COMMAND}"
    if user is not None:
        LogEntry.objects.log_actions(user.pk, [row], CHANGE, change_message=words, single_object=True)


def who_did(entry: LogEntry) -> str:
    """The name of the user who did it, or "command line"."""
    return "command line" if entry.change_message.endswith(BY_COMMAND) else entry.user.get_username()


def done_by_users(entries: "QuerySet[LogEntry]") -> "QuerySet[LogEntry]":
    """The entries without those of commands, for searches by the name of who did it."""
    return entries.exclude(change_message__endswith=BY_COMMAND)


def record_event(key: ApiKey, kind: str, *, actor: Actor, **detail: Any) -> None:
    """Add an event to the key's history. `detail` is stored as JSON."""
    if actor.key:
        detail["via"] = actor.key.public_id
    KeyEvent.objects.create(key=key, kind=kind, actor=actor.user, address=actor.address, detail=detail)
