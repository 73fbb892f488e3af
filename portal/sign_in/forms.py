"""The forms of the sign-in page."""

from typing import Any

from allauth.account.forms import LoginForm
from django import forms


class SignInForm(LoginForm):  # type: ignore[misc]
    """With the cursor in its first field, or in the password's after a wrong password."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.fields["password" if self.is_bound else "login"].widget.attrs["autofocus"] = True


class EmailForm(forms.Form):
    """An e-mail address, which chooses a provider."""

    email = forms.EmailField(
        label="E-mail address",
        max_length=254,
        widget=forms.EmailInput(attrs={"autocomplete": "email"}),
        help_text="It leads to your organisation's own sign-in.",
    )
