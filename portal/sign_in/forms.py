"""The form to sign in."""

from typing import Any

from allauth.account.forms import LoginForm


class SignInForm(LoginForm):  # type: ignore[misc]
    """With the cursor in its first field, or in the password's after a wrong password."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.fields["password" if self.is_bound else "login"].widget.attrs["autofocus"] = True
