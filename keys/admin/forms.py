"""What an admin fills in to issue, change, pause, rotate and revoke a key."""

import datetime
from typing import Any

from django import forms
from django.conf import settings
from django.utils import timezone
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminExpandableTextareaWidget,
    UnfoldAdminRadioSelectWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanWidget,
)

from keys import actions
from keys.admin.form_fields import LinesField, ManyChoicesSelect
from keys.formatting import sizes
from keys.formatting.sentences import to_sentence
from keys.models import LIMITS, ApiKey, User
from keys.pages import key_forms
from keys.pages.key_forms import MACHINE_TEXT
from keys.pages.submission import new_form_id
from keys.rights.scopes import ACTS, AREA_LABELS, DEFAULT_PRESET, PORTAL_SCOPE_LABELS, Preset, find_preset

NEVER = "never"
EXPIRES_IN = [("30", "30 days"), ("90", "90 days"), ("365", "365 days"), (NEVER, "Never")]
SINGLE = "single"
PRESETS = [
    *((preset.value, preset.label) for preset in Preset),
    (SINGLE, "Single scopes: exactly what is ticked below"),
]
SCOPES = [(f"{thing}:{act}", verb) for thing in AREA_LABELS for act, verb in ACTS.items()]
SCOPES += [(scope.value, words) for scope, words in PORTAL_SCOPE_LABELS.items()]


def validate_right(name: str, value: Any) -> Any:
    """The right as `keys.actions` would store it, or what it has against it, for that right's field."""
    try:
        return actions.validate_rights({name: value})[name]
    except actions.ActionError as error:
        text, own = str(error), f"{name.replace('_', ' ')}: "
        if text.startswith(own):  # the API's name of the field; here it is called as the form calls it
            text = f"{RightsForm.base_fields[name].label}: {text.removeprefix(own)}"
        raise forms.ValidationError(to_sentence(text)) from None


class RightsForm(forms.Form):
    """What a key may do."""

    preset = forms.ChoiceField(
        label="What it may do",
        choices=PRESETS,
        initial=DEFAULT_PRESET.value,
        widget=UnfoldAdminRadioSelectWidget,
    )
    scopes = forms.MultipleChoiceField(
        label="Single scopes",
        choices=SCOPES,
        initial=list(DEFAULT_PRESET.scopes),
        required=False,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
    )
    networks = LinesField(
        max_length=5000,
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2, **MACHINE_TEXT}),
        help_text="One a line, such as 10.1.0.0/16 or 2001:db8::/32. Calls from elsewhere are refused. "
        "Empty: from anywhere.",
    )
    patterns = LinesField(
        label="Model names",
        max_length=20_000,
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2, **MACHINE_TEXT}),
        help_text="One a line, with * and ?, such as fraud-*. It writes only registered models of such names. "
        "Empty: any name.",
    )
    any_owner = forms.BooleanField(
        label="May write what belongs to others, or to nobody",
        required=False,
        widget=UnfoldBooleanWidget,
        help_text="Careful: such a key can change and, with the scopes for it, delete every user's "
        "experiments, runs and models. It is meant for administration and migration only.",
    )

    requests_per_minute = forms.IntegerField(
        label="Calls a minute",
        required=False,
        widget=UnfoldAdminTextInputWidget(attrs={"inputmode": "numeric", **MACHINE_TEXT}),
    )
    monthly_requests = forms.IntegerField(
        label="Calls a month",
        required=False,
        widget=UnfoldAdminTextInputWidget(attrs={"inputmode": "numeric", **MACHINE_TEXT}),
        help_text="A calendar month in UTC. Empty: as many as it likes.",
    )
    monthly_bytes = forms.CharField(
        label="Bytes a month",
        max_length=30,
        required=False,
        widget=UnfoldAdminTextInputWidget(attrs=MACHINE_TEXT),
        help_text="In and out together, such as 500M, 10G or 1.5T. Empty: as many as it likes.",
    )

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.fields["requests_per_minute"].help_text = (
            "Artifact transfers are counted apart, with the same limit. "
            f"Empty: the portal's default, {settings.DEFAULT_REQUESTS_PER_MINUTE:,}."
        )

    def clean_requests_per_minute(self) -> int | None:
        limit: int | None = validate_right("requests_per_minute", self.cleaned_data["requests_per_minute"])
        return limit

    def clean_monthly_requests(self) -> int | None:
        limit: int | None = validate_right("monthly_requests", self.cleaned_data["monthly_requests"])
        return limit

    def clean_monthly_bytes(self) -> int | None:
        text = self.cleaned_data["monthly_bytes"]
        try:
            size = sizes.parse_size(text) if text else None
        except ValueError as error:
            raise forms.ValidationError(to_sentence(error)) from None
        limit: int | None = validate_right("monthly_bytes", size)
        return limit

    def clean_networks(self) -> list[str]:
        networks: list[str] = validate_right(
            "networks", self.cleaned_data["networks"].replace(",", " ").split()
        )
        return networks

    def clean_patterns(self) -> list[str]:
        patterns: list[str] = validate_right("patterns", self.cleaned_data["patterns"].splitlines())
        return patterns

    def clean(self) -> dict[str, Any]:
        preset, scopes = self.cleaned_data.get("preset"), self.cleaned_data.get("scopes", [])
        if preset and preset != SINGLE:
            scopes = Preset(preset).scopes
        try:
            self.cleaned_data["scopes"] = validate_right("scopes", scopes)
        except forms.ValidationError as error:
            self.add_error("scopes", error)
        return self.cleaned_data

    def scope_rows(self) -> list[tuple[str, list[Any]]]:
        """The boxes to tick, by what they are about."""
        boxes = self["scopes"].subwidgets
        rows = [
            (words[0].upper() + words[1:], boxes[index * len(ACTS) : (index + 1) * len(ACTS)])
            for index, words in enumerate(AREA_LABELS.values())
        ]
        return [*rows, ("This portal itself, for programs", boxes[len(AREA_LABELS) * len(ACTS) :])]


class IssueForm(RightsForm):
    """Whose key it is, what for, what it may do and how long."""

    owner = forms.ModelChoiceField(
        queryset=User.objects.none(),
        empty_label="Choose who will use it",
        widget=ManyChoicesSelect(attrs={"autofocus": True}),
        help_text="Calls with the key count as this user's; what they create belongs to this user.",
    )
    name = forms.CharField(
        max_length=100,
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}),
        help_text="What you will recognise it by, such as 'nightly training'.",
    )
    purpose = forms.CharField(
        max_length=500,
        required=False,
        widget=UnfoldAdminExpandableTextareaWidget,
        help_text="Who uses it, where and for what.",
    )
    environment = forms.ChoiceField(choices=ApiKey.Environment.choices, widget=UnfoldAdminSelectWidget)
    expires_in = forms.ChoiceField(
        label="Expires in",
        choices=EXPIRES_IN,
        initial="90",
        widget=UnfoldAdminSelectWidget,
        help_text="The key stops working then. A key that never expires works until somebody revokes it.",
    )
    is_canary = forms.BooleanField(
        label="Canary: lay it out to be found",
        required=False,
        widget=UnfoldBooleanWidget,
        help_text="It opens nothing: calls with it are refused as if nobody knew it, and each use is told to those who "
        "get alerts. Give it an owner who has no other keys, since owners see which of theirs is one.",
    )
    form_id = forms.CharField(max_length=40, widget=forms.HiddenInput, initial=new_form_id)

    field_order = ["owner", "name", "purpose", "environment", "expires_in"]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        owner = self.fields["owner"]
        assert isinstance(owner, forms.ModelChoiceField)  # noqa: S101  for the type checker
        owner.queryset = User.objects.filter(is_active=True).only("username").order_by("username")
        environment = self.fields["environment"]
        environment.help_text = "A live key reaches the registry, a test key only the test registry."
        if not settings.MLFLOW_TEST_URL:
            environment.help_text += " There is no test registry here yet, so test keys are refused."

    def rights(self) -> dict[str, Any]:
        """For `actions.issue`; the time of expiry counted from now, None: never."""
        names = (
            "owner",
            "name",
            "purpose",
            "environment",
            "scopes",
            "networks",
            "patterns",
            "any_owner",
            "is_canary",
            *LIMITS,
        )
        choice = self.cleaned_data["expires_in"]
        expires_at = None if choice == NEVER else timezone.now() + datetime.timedelta(days=int(choice))
        return {**{name: self.cleaned_data[name] for name in names}, "expires_at": expires_at}


class ChangeForm(RightsForm):
    """A key's rights, name and purpose.

    Each field carries what it was when the page was opened: only what the admin touched is changed, so that a
    page left open does not undo what a colleague did since.
    """

    name = forms.CharField(max_length=100, widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}))
    purpose = forms.CharField(
        max_length=500,
        required=False,
        widget=UnfoldAdminExpandableTextareaWidget,
        help_text="Who uses it, where and for what.",
    )
    expires_at = forms.DateTimeField(
        label="Expires (UTC)",
        required=False,
        widget=forms.DateTimeInput(
            attrs={
                "type": "datetime-local",
                "class": UnfoldAdminTextInputWidget().attrs["class"],
            },
            format="%Y-%m-%dT%H:%M",
        ),
        help_text="Empty: it does not expire, and works until somebody revokes it.",
    )

    field_order = ["name", "purpose", "expires_at"]

    def __init__(self, sent: Any = None, *, key: ApiKey) -> None:
        preset = find_preset(key.scopes)
        now = {
            "name": key.name,
            "purpose": key.purpose,
            # To the minute, as browsers send it: seconds are not a change.
            "expires_at": key.expires_at and key.expires_at.replace(second=0, microsecond=0),
            "preset": preset.value if preset else SINGLE,
            "scopes": key.scopes,
            "networks": "\n".join(key.networks),
            "patterns": "\n".join(key.patterns),
            "any_owner": key.any_owner,
            "requests_per_minute": key.requests_per_minute,
            "monthly_requests": key.monthly_requests,
            "monthly_bytes": sizes.write_size(key.monthly_bytes) if key.monthly_bytes else "",
        }
        super().__init__(sent, initial=now)
        for field in self.fields.values():
            field.show_hidden_initial = True

    def clean_expires_at(self) -> datetime.datetime | None:
        at: datetime.datetime | None = self.cleaned_data["expires_at"]
        if "expires_at" in self.changed_data:
            validate_right("expires_at", at)
        return at

    def changes(self) -> dict[str, Any]:
        """What the admin touched, for `actions.change`."""
        touched = {"scopes" if name == "preset" else name for name in self.changed_data}
        return {name: self.cleaned_data[name] for name in actions.RIGHTS if name in touched}

    # As they were when the page was opened, in hidden fields; templates cannot pass the argument.

    def preset_before(self) -> str:
        return self["preset"].as_hidden(only_initial=True)

    def scopes_before(self) -> str:
        return self["scopes"].as_hidden(only_initial=True)


class PauseForm(forms.Form):
    reason = forms.CharField(
        max_length=500,
        required=False,
        widget=UnfoldAdminTextInputWidget(attrs={"autofocus": True}),
        help_text="Stored in the key's history.",
    )


class ResumeForm(forms.Form):
    """Nothing to fill in."""


class RotateForm(key_forms.RotateForm):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        overlap = self.fields["overlap"]
        assert isinstance(overlap.widget, forms.Select)  # noqa: S101  for the type checker
        overlap.widget = UnfoldAdminSelectWidget(attrs={"autofocus": True}, choices=overlap.widget.choices)


class RevokeForm(key_forms.RevokeForm):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.fields["confirmation"].widget = UnfoldAdminTextInputWidget(
            attrs={"autofocus": True, **MACHINE_TEXT}
        )
        self.fields["reason"].widget = UnfoldAdminTextInputWidget()
