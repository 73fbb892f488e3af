"""Forms that act on a key. The admin only gives them other widgets."""

import datetime
from collections.abc import Sequence
from typing import Any

from django import forms
from django.utils import timezone
from django.utils.translation import gettext

from keys.actions.overlaps import OVERLAPS
from keys.models import ApiKey
from keys.pages.submission import new_form_id
from keys.templatetags.moments import format_relative, format_time

NEVER = "never"
MACHINE_TEXT = {"autocomplete": "off", "autocapitalize": "off", "spellcheck": "false"}
OVERLAP_CHOICES = [(overlap.name, overlap.label) for overlap in OVERLAPS.values()]


class ConfirmForm(forms.Form):
    """Nothing to fill in."""


class CollectForm(forms.Form):
    """Nothing to fill in; a form that is sent twice makes one key."""

    form_id = forms.CharField(max_length=40, widget=forms.HiddenInput, initial=new_form_id)


class RotateForm(forms.Form):
    overlap = forms.ChoiceField(
        label="The old secret ends",
        choices=OVERLAP_CHOICES,
        initial="24h",
        widget=forms.Select(attrs={"autofocus": True}),
        help_text="Until then both secrets work, and the key's page shows who still uses the old one.",
    )
    expires_in = forms.ChoiceField(label="The key expires", required=False)
    form_id = forms.CharField(max_length=40, widget=forms.HiddenInput, initial=new_form_id)

    def __init__(
        self, *arguments: Any, key: ApiKey, lives: Sequence[tuple[str, str]] = (), **options: Any
    ) -> None:
        """`lives`: the choices of another expiry: days from now, or "never". Without any, the expiry stays."""
        super().__init__(*arguments, **options)
        self.offer_expiry(key, lives)
        if key.leak:
            self.offer_now(gettext("The key was found in the open, so its old secret never works again."))
        elif key.is_secret_unseen:
            self.offer_now(gettext("Nobody has seen the current secret, so it ends at once."))
        elif key.previous_ends_at and key.previous_ends_at > timezone.now():
            self.offer_now(
                gettext(
                    "An earlier rotation's old secret still works. Rotating again ends it and the current secret."
                )
            )

    def offer_expiry(self, key: ApiKey, lives: Sequence[tuple[str, str]]) -> None:
        if not lives or key.expires_at is None:
            del self.fields["expires_in"]
            return
        field = self.fields["expires_in"]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101  for the type checker
        on = {"time": format_time(key.expires_at), "relative": format_relative(key.expires_at)}
        stays = gettext("As before: on %(time)s, %(relative)s") % on
        later = [
            (days, gettext("Never") if days == NEVER else gettext("In %(days)s") % {"days": words})
            for days, words in lives
        ]
        field.choices = [("", stays), *later]
        field.help_text = gettext("The rotation alone does not change the expiry, of either secret.")

    def expiry(self) -> dict[str, Any]:
        """The argument for `actions.rotate`; none if the expiry stays."""
        choice = self.cleaned_data.get("expires_in")
        if not choice:
            return {}
        is_never = choice == NEVER
        return {"expires_at": None if is_never else timezone.now() + datetime.timedelta(days=int(choice))}

    def offer_now(self, why: str) -> None:
        """Offer this overlap only. The field accepts all: the form that began an overlap may be sent again, and the
        action refuses those that are not possible."""
        overlap = self.fields["overlap"]
        overlap.widget = forms.Select(attrs={"autofocus": True}, choices=OVERLAP_CHOICES[:1])
        overlap.initial, overlap.help_text = "now", why


class RevokeForm(forms.Form):
    """Asks for the key's name, so that nobody revokes the wrong key by mistake."""

    confirmation = forms.CharField(
        label="Type the key's name to confirm",
        max_length=200,
        widget=forms.TextInput(attrs={"autofocus": True, **MACHINE_TEXT}),
    )
    reason = forms.CharField(
        max_length=500,
        required=False,
        help_text="Stored in the key's history.",
    )

    def __init__(self, *arguments: Any, key: ApiKey, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.key = key

    def clean_confirmation(self) -> str:
        typed: str = self.cleaned_data["confirmation"]
        if typed.split() != self.key.name.split():  # pages show several spaces as one
            raise forms.ValidationError(gettext("This is not the key's name. Nothing was revoked."))
        return typed
