"""The admin's forms to create, change and close an organisation, and to change its members."""

from typing import Any

from django import forms
from unfold.widgets import UnfoldAdminRadioSelectWidget, UnfoldAdminTextInputWidget

from keys.admin.form_fields import ManyChoicesSelect
from keys.formatting import sizes
from keys.formatting.sentences import to_sentence
from keys.models import LIMITS, Membership, Organisation, User
from keys.pages.key_forms import MACHINE_TEXT

ROLES = [
    (Membership.Role.MEMBER.value, "Member: uses their own keys"),
    (Membership.Role.MAINTAINER.value, "Maintainer: also manages the organisation's keys and service users"),
    (Membership.Role.OWNER.value, "Owner: also manages the members"),
]


def number(label: str, help_text: str) -> forms.IntegerField:
    return forms.IntegerField(
        label=label,
        required=False,
        min_value=1,
        max_value=2**31 - 1,
        widget=UnfoldAdminTextInputWidget(attrs={"inputmode": "numeric", **MACHINE_TEXT}),
        help_text=help_text,
    )


class CreateForm(forms.Form):
    slug = forms.CharField(
        max_length=63,
        widget=UnfoldAdminTextInputWidget(attrs={"autofocus": True, **MACHINE_TEXT}),
        help_text="Its name in addresses and at MLflow: 2 to 63 characters from a-z, 0-9 and -. It never changes, "
        "and is never used again.",
    )
    name = forms.CharField(
        max_length=100,
        required=False,
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}),
        help_text="The name that people read. Empty: the slug.",
    )


class ChangeForm(forms.Form):
    """The name and the limits. Only what was edited is changed, so that a page left open does not undo a colleague's
    later change."""

    name = forms.CharField(
        max_length=100, widget=UnfoldAdminTextInputWidget(attrs={"autofocus": True, "autocomplete": "off"})
    )
    requests_per_minute = number("Calls a minute", "All its keys and sessions together. Empty: no limit.")
    monthly_requests = number("Calls a month", "Per calendar month in UTC. Empty: no limit.")
    monthly_bytes = forms.CharField(
        label="Bytes a month",
        max_length=30,
        required=False,
        widget=UnfoldAdminTextInputWidget(attrs=MACHINE_TEXT),
        help_text="In and out together, such as 500M, 10G or 1.5T. Empty: no limit.",
    )

    def __init__(self, sent: Any = None, *, organisation: Organisation) -> None:
        size = organisation.monthly_bytes
        now = {name: getattr(organisation, name) for name in ("name", *LIMITS)}
        super().__init__(sent, initial={**now, "monthly_bytes": sizes.write_size(size) if size else ""})
        for field in self.fields.values():
            field.show_hidden_initial = True

    def clean_monthly_bytes(self) -> int | None:
        text = self.cleaned_data["monthly_bytes"]
        try:
            size = sizes.parse_size(text) if text else None
        except ValueError as error:
            raise forms.ValidationError(to_sentence(error)) from None
        if size is not None and not 1 <= size <= 2**53:
            raise forms.ValidationError("Give a size between 1 byte and 8 PiB.")
        return size

    def changes(self) -> dict[str, Any]:
        return {name: self.cleaned_data[name] for name in self.changed_data}


class AddMemberForm(forms.Form):
    user = forms.ModelChoiceField(
        queryset=User.objects.none(),
        empty_label="Choose a user",
        widget=ManyChoicesSelect(attrs={"autofocus": True}),
        help_text="The user is a member at once, without an invitation.",
    )
    role = forms.ChoiceField(
        choices=ROLES, initial=Membership.Role.MEMBER.value, widget=UnfoldAdminRadioSelectWidget
    )

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        user = self.fields["user"]
        assert isinstance(user, forms.ModelChoiceField)  # noqa: S101  for the type checker
        people = User.objects.filter(is_active=True, is_service=False)
        user.queryset = people.only("username").order_by("username")


class RoleForm(forms.Form):
    role = forms.ChoiceField(choices=ROLES, widget=UnfoldAdminRadioSelectWidget)


class CloseForm(forms.Form):
    confirmation = forms.CharField(
        max_length=63, widget=UnfoldAdminTextInputWidget(attrs={"autofocus": True, **MACHINE_TEXT})
    )
    reason = forms.CharField(
        max_length=400,
        required=False,
        widget=UnfoldAdminTextInputWidget,
        help_text="Stored in the history of each key.",
    )

    def __init__(self, sent: Any = None, *, organisation: Organisation) -> None:
        super().__init__(sent)
        self.slug = organisation.slug
        self.fields["confirmation"].label = f"Type the slug, {self.slug}, to confirm"

    def clean_confirmation(self) -> str:
        text = str(self.cleaned_data["confirmation"]).strip()
        if text != self.slug:
            raise forms.ValidationError(f"Type “{self.slug}”.")
        return text
