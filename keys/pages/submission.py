"""Forms that act: errors of the action are shown in the form, and a form sent twice makes one secret."""

import secrets
from collections.abc import Callable
from typing import Any, cast

from django import forms
from django.db import transaction
from django.http import HttpRequest

from keys import actions
from keys.credentials import tokens
from keys.formatting.sentences import to_sentence
from keys.models import ApiKey, User

REMEMBERED_FORMS = 100
SESSION_NAME = "issued_forms"


def new_form_id() -> str:
    """Identifies one rendered form, so that sending it twice makes one secret."""
    return secrets.token_urlsafe(16)


def submit_form(form: forms.Form, act: Callable[[], Any]) -> bool:
    """Call `act` if the form is valid. Returns whether it succeeded; if it did not, the form has the error."""
    if not form.is_bound or not form.is_valid():
        return False
    try:
        act()
    except actions.ActionError as error:
        form.add_error(None, to_sentence(error))
        return False
    return True


class Submission:
    """The key that a form issues or rotates, with its new secret; without the secret if the form was sent before (then
    `is_new` is false), or if the user may not see it.

    The session remembers which forms were used. It is read and written while the user's row is locked: the
    second of two clicks waits for the first. The secret stays a Token, whose `repr` hides it from exception
    pages.
    """

    def __init__(self, request: HttpRequest) -> None:
        self.request = request
        self.key: ApiKey | None = None
        self.token: tokens.Token | None = None
        self.is_new = False

    @transaction.atomic
    def run(self, form: forms.Form, act: Callable[[], tuple[ApiKey, str | None]]) -> None:
        User.objects.select_for_update().get(pk=cast(User, self.request.user).pk)
        session = type(self.request.session)(self.request.session.session_key)
        used: dict[str, int] = session.get(SESSION_NAME, {})
        form_id = form.cleaned_data["form_id"]
        if form_id in used:
            self.key = ApiKey.objects.with_owner().get(pk=used[form_id])
            return
        self.key, secret = act()
        self.token, self.is_new = tokens.parse(secret) if secret else None, True
        session[SESSION_NAME] = dict([*used.items(), (form_id, self.key.pk)][-REMEMBERED_FORMS:])
        session.save()
