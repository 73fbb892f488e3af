"""The pages that act on a key, and their forms as a browser fills them in."""

import re

from django.test import Client

from keys import actions
from keys.models import ApiKey, KeyEvent
from tests.keys.people import page_of

PAGES = ["rights", "pause", "resume", "rotate", "revoke"]


def ready_for(page: str, key: ApiKey) -> None:
    if page == "resume":
        actions.pause(key=key)


def handed_out(client: Client, key: ApiKey, page: str) -> dict:
    """The fields of the form as a browser would send them back, hidden ones included."""
    form = client.get(page_of(key, page)).context["form"]
    answers: dict = {}
    for bound in form:
        value = bound.value()
        if bound.name == "expires_at":
            value = value and f"{value:%Y-%m-%dT%H:%M}"
        if value in (None, False):
            value = []
        answers[bound.html_name] = "on" if value is True else value
        if bound.field.show_hidden_initial:
            hidden = str(form[bound.name].as_hidden(only_initial=True))
            answers[bound.html_initial_name] = re.findall(r'value="([^"]*)"', hidden)
    return answers


def sent(client: Client, key: ApiKey, page: str, **changes):
    answers = {**handed_out(client, key, page), **changes}
    if page == "revoke":
        answers["confirmation"] = key.name
    return client.post(page_of(key, page), answers, REMOTE_ADDR="192.0.2.7")


def last_event(key: ApiKey) -> KeyEvent:
    return key.events.first()
