"""The forms of the account pages."""

import datetime
from typing import Any

from django import forms
from django.conf import settings
from django.utils.translation import gettext, gettext_lazy, ngettext

from keys.actions import self_service
from keys.models import ApiKey, Membership, Organisation, User
from keys.pages.key_forms import MACHINE_TEXT
from keys.pages.submission import new_form_id
from keys.rights.scopes import DEFAULT_PRESET, Preset

DAYS = (7, 30, 90, 180, 365)
ROLES = [
    (Membership.Role.MEMBER.value, "Member: works with their own keys"),
    (Membership.Role.MAINTAINER.value, "Maintainer: also manages the organisation's keys and service users"),
    (Membership.Role.OWNER.value, "Owner: also manages members"),
]


def own_lives() -> list[tuple[str, str]]:
    """For how many days a user's own key may work."""
    longest = settings.SELF_SERVICE_DAYS
    offered = (*(days for days in DAYS if days < longest), longest)
    return [(str(days), ngettext("%(days)d day", "%(days)d days", days) % {"days": days}) for days in offered]


def add_organisation(form: forms.Form, user: User) -> None:
    """Let a user in several organisations choose the one of a new key."""
    own = Organisation.objects.of_user(user)
    if len(own) > 1:
        form.fields["organisation"] = forms.ModelChoiceField(
            own,
            to_field_name="slug",
            empty_label="Choose an organisation",
            help_text="Everything that the key creates belongs to it. It never changes.",
        )
        form.order_fields(form.field_order)


class IssueForm(forms.Form):
    """Issue a key to oneself. The choices are those that `keys.actions.self_service` allows."""

    name = forms.CharField(
        max_length=100,
        widget=forms.TextInput(attrs={"autocomplete": "off", "autofocus": True}),
        help_text="What you will recognise it by, such as “laptop” or “nightly training”.",
    )
    purpose = forms.CharField(max_length=500, required=False, help_text="Who uses it, where and for what.")
    environment = forms.ChoiceField(
        choices=ApiKey.Environment.choices,
        help_text="A live key reaches the registry, a test key only the test registry.",
    )
    preset = forms.ChoiceField(label="What it may do", widget=forms.RadioSelect)
    days = forms.ChoiceField(label="Expires in", help_text="The key stops working then.")
    form_id = forms.CharField(max_length=40, widget=forms.HiddenInput, initial=new_form_id)

    field_order = ["name", "purpose", "organisation"]

    def __init__(self, *arguments: Any, user: User | None, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if user:
            add_organisation(self, user)
        if not settings.MLFLOW_TEST_URL:
            del self.fields["environment"]
        presets = [(preset.value, preset.label) for preset in self_service.presets()]
        self.choose("preset", presets, presets[-1][0])
        self.choose("days", lives := own_lives(), lives[-1][0])

    def choose(self, name: str, choices: list[tuple[str, str]], initial: str) -> None:
        field = self.fields[name]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101  for the type checker
        field.choices, field.initial = choices, initial

    def rights(self) -> dict[str, Any]:
        """The arguments for `self_service.issue`."""
        answers = self.cleaned_data
        return {
            "name": answers["name"],
            "purpose": answers["purpose"],
            "environment": answers.get("environment", ApiKey.Environment.LIVE),
            "organisation": answers.get("organisation"),
            "preset": Preset(answers["preset"]),
            "expires_in": datetime.timedelta(days=int(answers["days"])),
        }


class TeamKeyForm(IssueForm):
    """A key of an organisation, for one of its members or service users."""

    owner = forms.ModelChoiceField(
        User.objects.none(),
        to_field_name="public_id",
        empty_label="Choose a member or a service user",
        help_text="You see the secret of a service user's key and of your own. A member collects theirs.",
    )
    field_order = ["owner", "name", "purpose"]

    def __init__(self, *arguments: Any, organisation: Organisation, **options: Any) -> None:
        super().__init__(*arguments, user=None, **options)
        owner = self.fields["owner"]
        assert isinstance(owner, forms.ModelChoiceField)  # noqa: S101  for the type checker
        members = User.objects.filter(memberships__organisation=organisation, is_active=True)
        owner.queryset = members.order_by("username")

    def rights(self) -> dict[str, Any]:
        """The arguments for `keys.actions.maintainers.issue_key`."""
        rights = {"owner": self.cleaned_data["owner"], **super().rights()}
        del rights["organisation"]
        return rights


class InviteForm(forms.Form):
    email = forms.EmailField(label="E-mail address", max_length=254)
    role = forms.ChoiceField(choices=ROLES, initial=Membership.Role.MEMBER.value, widget=forms.RadioSelect)


class MemberForm(forms.Form):
    role = forms.ChoiceField(choices=ROLES, widget=forms.RadioSelect)


class ServiceUserForm(forms.Form):
    name = forms.RegexField(
        r"^[\w.@+-]{1,60}\Z",
        widget=forms.TextInput(attrs={"autocomplete": "off", "autofocus": True}),
        help_text="Letters, digits and @ . + - _, such as “nightly”.",
    )


class PublishForm(forms.Form):
    """What to publish, and for whom."""

    name = forms.CharField(
        label="Registered model",
        max_length=500,
        widget=forms.TextInput(attrs={"autofocus": True, **MACHINE_TEXT}),
    )
    version = forms.CharField(
        max_length=20,
        required=False,
        widget=forms.TextInput(attrs={"inputmode": "numeric", **MACHINE_TEXT}),
        help_text="The number of one version. Empty: every version, later ones too.",
    )
    readers = forms.ChoiceField(
        label="Who may read it",
        choices=[("one", "One organisation"), ("all", "Every organisation of this registry")],
        initial="one",
        widget=forms.RadioSelect,
    )
    reader = forms.CharField(
        label="Slug of the organisation",
        max_length=63,
        required=False,
        widget=forms.TextInput(attrs=MACHINE_TEXT),
        help_text="Its name in addresses, which its people see on their page. The portal does not state whether an "
        "organisation of this slug exists.",
    )
    environment = forms.ChoiceField(choices=ApiKey.Environment.choices, help_text="Of the model's registry.")

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if not settings.MLFLOW_TEST_URL:
            del self.fields["environment"]

    def clean(self) -> dict[str, Any]:
        answers = super().clean() or self.cleaned_data
        if answers.get("readers") == "one" and not answers.get("reader"):
            self.add_error("reader", gettext("Name the organisation."))
        return answers

    def publication(self) -> dict[str, Any]:
        """The arguments for `proxy.ledger.publishing.publish`."""
        answers = self.cleaned_data
        return {
            "name": answers["name"],
            "version": answers["version"],
            "reader": answers["reader"] if answers["readers"] == "one" else "",
            "environment": answers.get("environment", ApiKey.Environment.LIVE),
        }


class ReasonForm(forms.Form):
    reason = forms.CharField(max_length=500, required=False, help_text="Stored in the key's history.")


class RequestForm(forms.Form):
    """What a holder requests of the administrators. The fields depend on the kind of request."""

    name = forms.CharField(
        label="Name of the key",
        max_length=100,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
        help_text="What you will recognise it by, such as “laptop” or “nightly training”.",
    )
    preset = forms.ChoiceField(
        label="What it may do",
        choices=[(preset.value, preset.label) for preset in Preset],
        initial=DEFAULT_PRESET.value,
        widget=forms.RadioSelect,
    )
    days = forms.ChoiceField(
        label="It works for",
        choices=[(str(days), f"{days} days") for days in DAYS],
        initial="90",
        help_text="Counted from the approval.",
    )
    note = forms.CharField(
        label="Why you need it",
        max_length=500,
        required=False,
        help_text="The administrators read this.",
    )

    field_order = ["name", "organisation"]

    def __init__(self, *arguments: Any, kind: str, user: User, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if kind == "new":
            add_organisation(self, user)
        unused = {"new": (), "renewal": ("name", "preset"), "scope": ("name", "days")}[kind]
        for name in unused:
            del self.fields[name]
        next(iter(self.fields.values())).widget.attrs["autofocus"] = True

    def requested(self) -> dict[str, Any]:
        """The arguments for `keys.actions.requests.request`."""
        answers = self.cleaned_data
        return {
            "name": answers.get("name", ""),
            "scopes": Preset(answers["preset"]).scopes if "preset" in answers else (),
            "days": int(answers["days"]) if "days" in answers else None,
            "note": answers["note"],
            "organisation": answers.get("organisation"),
        }


class LookUpForm(forms.Form):
    """An error as it was shown, or the request id or reason from it."""

    request_id = forms.CharField(
        label="Request id or error",
        max_length=20_000,
        widget=forms.Textarea(attrs={"placeholder": "req_…", "rows": 3, **MACHINE_TEXT}),
        error_messages={
            "max_length": gettext_lazy(
                "This text is too long. Paste its last lines, which contain the error itself."
            )
        },
    )
