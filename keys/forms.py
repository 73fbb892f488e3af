"""What an admin fills in to issue and to revoke a key."""

import datetime
import secrets
from typing import Any

from django import forms
from django.conf import settings
from django.utils import timezone
from unfold.widgets import (
    UnfoldAdminExpandableTextareaWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)

from keys.models import ApiKey, User

NEVER = "never"
EXPIRES_IN = [("30", "30 days"), ("90", "90 days"), ("365", "365 days"), (NEVER, "Never")]


def new_form_id() -> str:
    """Names one form as it was handed out, so that sending it twice issues one key."""
    return secrets.token_urlsafe(16)


class IssueForm(forms.ModelForm):
    """Whose key it is, what for, and how long it works."""

    expires_in = forms.ChoiceField(
        label="Expires in",
        choices=EXPIRES_IN,
        initial="90",
        widget=UnfoldAdminSelectWidget,
        help_text="The key stops working then. A key that never expires works until somebody revokes it.",
    )
    form_id = forms.CharField(max_length=40, widget=forms.HiddenInput)

    class Meta:
        model = ApiKey
        fields = ["owner", "name", "purpose", "environment"]
        widgets = {
            "owner": UnfoldAdminSelectWidget,
            "name": UnfoldAdminTextInputWidget,
            "purpose": UnfoldAdminExpandableTextareaWidget,
            "environment": UnfoldAdminSelectWidget,
        }

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.fields["form_id"].initial = new_form_id
        owner = self.fields["owner"]
        assert isinstance(owner, forms.ModelChoiceField)  # noqa: S101  for the type checker
        owner.queryset = User.objects.filter(is_active=True).order_by("username")
        owner.empty_label = "Choose who will use it"
        owner.help_text = "Calls with the key count as this user's; what they create belongs to this user."
        owner.widget.attrs["autofocus"] = True
        self.fields["name"].widget.attrs["autocomplete"] = "off"
        environment = self.fields["environment"]
        environment.help_text = "A live key reaches the registry, a test key only the test registry."
        if not settings.MLFLOW_TEST_URL:
            environment.help_text += " There is no test registry here yet, so test keys are refused."

    def expires_at(self) -> datetime.datetime | None:
        """When the key will stop working, counted from now; None: never."""
        choice = self.cleaned_data["expires_in"]
        return None if choice == NEVER else timezone.now() + datetime.timedelta(days=int(choice))


class RevokeForm(forms.Form):
    """Asks for the key's name, so that nobody revokes the wrong one in passing."""

    confirmation = forms.CharField(
        label="Type the key's name to confirm",
        max_length=200,
        widget=UnfoldAdminTextInputWidget(
            attrs={"autocomplete": "off", "autocapitalize": "off", "spellcheck": "false", "autofocus": True}
        ),
    )
    reason = forms.CharField(
        max_length=500,
        required=False,
        widget=UnfoldAdminTextInputWidget,
        help_text="Kept in the key's history, for those who ask later.",
    )

    def __init__(self, *arguments: Any, key: ApiKey, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.key = key

    def clean_confirmation(self) -> str:
        typed: str = self.cleaned_data["confirmation"]
        if typed.split() != self.key.name.split():  # pages show several spaces as one
            raise forms.ValidationError("This is not the key's name. Nothing was revoked.")
        return typed
