"""The admin's forms to issue, change, pause, rotate and revoke a key."""

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
from keys.models import LIMITS, ApiKey, Organisation, User
from keys.pages import key_forms
from keys.pages.key_forms import MACHINE_TEXT, NEVER
from keys.pages.submission import new_form_id
from keys.rights.scopes import ACTS, AREA_LABELS, DEFAULT_PRESET, PORTAL_SCOPE_LABELS, Preset, find_preset

EXPIRES_IN = [("30", "30 days"), ("90", "90 days"), ("365", "365 days"), (NEVER, "Never")]
DELIVERIES = [
    ("collect", "The holder collects it: the next page has a message to send, with a link and no secret"),
    ("show", "Show it to me, once: for a machine, or to pass it on yourself"),
]
SINGLE = "single"
PRESETS = [
    *((preset.value, preset.label) for preset in Preset),
    (SINGLE, "Single scopes: exactly those selected below"),
]
SCOPES = [(f"{thing}:{act}", verb) for thing in AREA_LABELS for act, verb in ACTS.items()]
SCOPES += [(scope.value, words) for scope, words in PORTAL_SCOPE_LABELS.items()]


def expiry_of(choice: str) -> datetime.datetime | None:
    """The time that a choice of EXPIRES_IN means from now on; None: never."""
    return None if choice == NEVER else timezone.now() + datetime.timedelta(days=int(choice))


def validate_right(name: str, value: Any) -> Any:
    """The value that `keys.actions` would store for the right `name`. Raises ValidationError for the form's field."""
    try:
        return actions.validate_rights({name: value})[name]
    except actions.ActionError as error:
        text, own = str(error), f"{name.replace('_', ' ')}: "
        if text.startswith(own):  # replace the API's name of the field by the form's label
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
        help_text="One per line, such as 10.1.0.0/16 or 2001:db8::/32. Calls from other networks are refused. "
        "Empty: any network.",
    )
    patterns = LinesField(
        label="Model names",
        max_length=20_000,
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2, **MACHINE_TEXT}),
        help_text="One per line, with * and ?, such as fraud-*. The key can write only registered models with "
        "matching names. Empty: any name.",
    )
    any_owner = forms.BooleanField(
        label="May write objects that belong to others, or to nobody",
        required=False,
        widget=UnfoldBooleanWidget,
        help_text="Careful: such a key can change and, with the scopes for it, delete every user's "
        "experiments, runs and models. It is meant for administration and migration only.",
    )
    only_own = forms.BooleanField(
        label="May write only what its own user created",
        required=False,
        widget=UnfoldBooleanWidget,
        help_text="Without it, a key also writes what other members of its organisation created. In “shared”, "
        "each user's objects are the user's own anyway.",
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
        help_text="Per calendar month in UTC. Empty: no limit.",
    )
    monthly_bytes = forms.CharField(
        label="Bytes a month",
        max_length=30,
        required=False,
        widget=UnfoldAdminTextInputWidget(attrs=MACHINE_TEXT),
    )

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.fields["requests_per_minute"].help_text = (
            "Artifact transfers are counted separately, with the same limit. "
            f"Empty: the portal's default, {settings.DEFAULT_REQUESTS_PER_MINUTE:,}."
        )
        default = settings.DEFAULT_MONTHLY_BYTES
        self.fields["monthly_bytes"].help_text = (
            "In and out together, such as 500M, 10G or 1.5T. "
            f"Empty: {f'the default, {sizes.format_size(default)}' if default else 'no limit'}."
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
        """The checkboxes of the scopes, grouped by area."""
        boxes = self["scopes"].subwidgets
        rows = [
            (words[0].upper() + words[1:], boxes[index * len(ACTS) : (index + 1) * len(ACTS)])
            for index, words in enumerate(AREA_LABELS.values())
        ]
        return [*rows, ("This portal itself, for programs", boxes[len(AREA_LABELS) * len(ACTS) :])]


class IssueForm(RightsForm):
    """A new key's owner, name, purpose, rights and expiry."""

    owner = forms.ModelChoiceField(
        queryset=User.objects.none(),
        empty_label="Choose the owner of the key",
        widget=ManyChoicesSelect(attrs={"autofocus": True}),
        help_text="Calls with the key count as this user's. Objects that they create belong to this user.",
    )
    name = forms.CharField(
        max_length=100,
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}),
        help_text="A name by which you will recognise the key, such as 'nightly training'.",
    )
    purpose = forms.CharField(
        max_length=500,
        required=False,
        widget=UnfoldAdminExpandableTextareaWidget,
        help_text="Who uses it, where and for what.",
    )
    organisation = forms.ModelChoiceField(
        queryset=Organisation.objects.none(),
        required=False,
        empty_label="The owner's only one, or “shared”",
        widget=UnfoldAdminSelectWidget,
        help_text="Everything that the key creates belongs to it. It never changes.",
    )
    environment = forms.ChoiceField(choices=ApiKey.Environment.choices, widget=UnfoldAdminSelectWidget)
    expires_in = forms.ChoiceField(
        label="Expires in",
        choices=EXPIRES_IN,
        initial="90",
        widget=UnfoldAdminSelectWidget,
        help_text="The key stops working at that time. A key that never expires works until somebody revokes it.",
    )
    is_canary = forms.BooleanField(
        label="Canary: a decoy that reports its use",
        required=False,
        widget=UnfoldBooleanWidget,
        help_text="It grants no access: calls with it are refused as with an unknown key; each use raises an alert. "
        "Give it an owner who has no other keys, because owners see which of their keys is a canary. "
        "Nobody collects it: the next page shows it to you.",
    )
    delivery = forms.ChoiceField(
        label="The secret",
        choices=DELIVERIES,
        initial="collect",
        required=False,
        widget=UnfoldAdminRadioSelectWidget,
    )
    form_id = forms.CharField(max_length=40, widget=forms.HiddenInput, initial=new_form_id)

    field_order = ["owner", "organisation", "name", "purpose", "environment", "expires_in", "delivery"]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        owner = self.fields["owner"]
        assert isinstance(owner, forms.ModelChoiceField)  # noqa: S101  for the type checker
        owner.queryset = User.objects.filter(is_active=True).only("username").order_by("username")
        organisation = self.fields["organisation"]
        assert isinstance(organisation, forms.ModelChoiceField)  # noqa: S101  for the type checker
        organisation.queryset = Organisation.objects.open()
        environment = self.fields["environment"]
        environment.help_text = "A live key reaches the registry, a test key only the test registry."
        if not settings.MLFLOW_TEST_URL:
            environment.help_text = (
                "No test registry is configured (MLFLOW_TEST_URL), so test keys cannot be issued."
            )

    @property
    def is_collected(self) -> bool:
        """Whether the holder collects the secret, so that the admin never sees it."""
        return bool(self.cleaned_data["delivery"] == "collect" and not self.cleaned_data["is_canary"])

    def rights(self) -> dict[str, Any]:
        """The arguments for `actions.issue`. The expiry counts from now; None: never."""
        names = (
            "owner",
            "organisation",
            "name",
            "purpose",
            "environment",
            "scopes",
            "networks",
            "patterns",
            "any_owner",
            "only_own",
            "is_canary",
            *LIMITS,
        )
        expires_at = expiry_of(self.cleaned_data["expires_in"])
        return {**{name: self.cleaned_data[name] for name in names}, "expires_at": expires_at}


class ChangeForm(RightsForm):
    """A key's rights, name and purpose.

    Each field carries its value from when the page was opened. Only fields that the admin edited are changed, so that a
    page left open does not undo a colleague's later change.
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
        help_text="Empty: the key never expires and works until somebody revokes it.",
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
            "only_own": key.only_own,
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
        """The fields that the admin edited, for `actions.change`."""
        edited = {"scopes" if name == "preset" else name for name in self.changed_data}
        return {name: self.cleaned_data[name] for name in actions.RIGHTS if name in edited}

    # Hidden fields with the values from when the page was opened; templates cannot pass the argument.

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


class RotateForm(key_forms.RotateForm):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, lives=EXPIRES_IN, **options)
        overlap = self.fields["overlap"]
        assert isinstance(overlap.widget, forms.Select)  # noqa: S101  for the type checker
        overlap.widget = UnfoldAdminSelectWidget(attrs={"autofocus": True}, choices=overlap.widget.choices)
        if expiry := self.fields.get("expires_in"):
            assert isinstance(expiry.widget, forms.Select)  # noqa: S101  for the type checker
            expiry.widget = UnfoldAdminSelectWidget(choices=expiry.widget.choices)


class RevokeForm(key_forms.RevokeForm):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.fields["confirmation"].widget = UnfoldAdminTextInputWidget(
            attrs={"autofocus": True, **MACHINE_TEXT}
        )
        self.fields["reason"].widget = UnfoldAdminTextInputWidget()
