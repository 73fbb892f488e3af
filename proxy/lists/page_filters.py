"""The filter forms of the usage log and the ledger. Their values are in the page's URL."""

import datetime
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.http import QueryDict
from django.utils import timezone

from keys.credentials import tokens
from keys.credentials.lookup import find_key
from keys.models import ApiKey, User
from proxy.ledger import writer
from proxy.ledger.history import describe_operation
from proxy.lists.filters import STATUS_CLASSES, CallFilters, RegistrationFilters
from proxy.models import Registration, RegistrationQuerySet
from proxy.models.calls import Call, CallQuerySet
from proxy.models.tag_rules import COMPLETE, MALFORMED, MISSING, QUARANTINED
from proxy.routes.operations import Operation
from proxy.routes.table import OPERATIONS

SPANS = {
    "1h": ("Last hour", datetime.timedelta(hours=1)),
    "24h": ("Last 24 hours", datetime.timedelta(hours=24)),
    "7d": ("Last 7 days", datetime.timedelta(days=7)),
    "30d": ("Last 30 days", datetime.timedelta(days=30)),
}
TEXT = {"autocomplete": "off", "autocapitalize": "off", "spellcheck": "false"}
LONGEST = 500


class OptionalChoice(forms.ChoiceField):
    """An optional choice."""

    def __init__(self, choices: list[tuple[str, str]], *, label: str, nothing: str = "Any") -> None:
        super().__init__(choices=[("", nothing), *choices], label=label, required=False)


class Text(forms.CharField):
    def __init__(self, label: str, help_text: str = "", *, suggestions: str = "") -> None:
        attrs = {**TEXT, "list": suggestions} if suggestions else TEXT
        super().__init__(
            label=label,
            help_text=help_text,
            required=False,
            max_length=LONGEST,
            widget=forms.TextInput(attrs={**attrs, "placeholder": help_text}),
        )


class UtcTime(forms.DateTimeField):
    def __init__(self, label: str) -> None:
        super().__init__(
            label=label,
            required=False,
            widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
            error_messages={"invalid": "Write a time in UTC such as 2026-11-23T18:05."},
        )


class ListForm(forms.Form):
    """The fields that the log and the ledger share. `matching_rows` is empty if a field is wrong."""

    span = OptionalChoice(
        [(name, words) for name, (words, _) in SPANS.items()], label="Time", nothing="All of it"
    )
    since = UtcTime("From (UTC)")
    until = UtcTime("Before (UTC)")
    user = Text("User", "Name or usr_…")
    key = Text("Key", "Name or key_…")
    organisation = Text("Organisation", "Its slug")
    request_id = Text("Request id", "req_…")

    use_required_attribute = False

    def __init__(self, data: Any) -> None:
        super().__init__(data, auto_id="filter_%s")

    def clean_user(self) -> User | None:
        text = self.cleaned_data["user"]
        if not text:
            return None
        user = User.objects.filter(**{by(text, "usr_", "username"): text}).first()
        if user is None:
            raise forms.ValidationError(f"There is no user “{tokens.hide(text)}”.")
        return user

    def clean_key(self) -> list[ApiKey] | None:
        """All keys with this name, because names are not unique, or the key with this id."""
        text = self.cleaned_data["key"]
        if not text:
            return None
        keys = list(ApiKey.objects.filter(**{by(text, "key_", "name"): text})[:100])
        if not keys:
            raise forms.ValidationError(f"There is no key “{tokens.hide(text)}”.")
        return keys

    @property
    def bounds(self) -> tuple[datetime.datetime | None, datetime.datetime | None]:
        """Since and until. If both a span and a start are given, the later start applies."""
        since, until = self.cleaned_data["since"], self.cleaned_data["until"]
        if span := self.cleaned_data["span"]:
            start = timezone.now() - SPANS[span][1]
            since = max(since, start) if since else start
        return since, until

    def narrow(self, filters: Any, rows: Any) -> Any:
        """The rows that the filter set selects for this form's values. The form has already looked up the user and the
        keys, because it accepts names as well."""
        answers = self.cleaned_data
        if answers["user"]:
            rows = rows.filter(user=answers["user"])
        if keys := answers["key"]:
            rows = rows.filter(key=keys[0]) if len(keys) == 1 else rows.filter(key__in=keys)
        names = filters.base_filters.keys() & answers.keys() - {"user", "key", "since", "until"}
        given = {name: answers[name] for name in sorted(names) if answers[name]}
        if given.get("refused"):
            given["refused"] = "true"
        return filters(given, rows).qs

    @property
    def active(self) -> list[tuple[str, str, str]]:
        """The active filters: label, value in words, and the query without this filter."""
        answers = {name: self.data[name] for name in self.fields if self.data.get(name)}
        return [
            (
                str(self.fields[name].label),
                self.describe_value(name, value),
                urlencode({other: text for other, text in answers.items() if other != name}),
            )
            for name, value in answers.items()
        ]

    def describe_value(self, name: str, value: str) -> str:
        field = self.fields[name]
        if isinstance(field, forms.ChoiceField):
            return str(dict(field.choices).get(value, value))  # type: ignore[arg-type]
        if isinstance(field, forms.BooleanField):
            return "yes"
        return value.replace("T", " ") + " UTC" if isinstance(field, forms.DateTimeField) else value

    @property
    def query(self) -> str:
        """The filter as a query string, for links to other pages of the list and to its export."""
        return urlencode({name: self.data[name] for name in self.fields if self.data.get(name)})


ABOUT = ("object", "address")


class CallForm(ListForm):
    operation = Text("Operation", suggestions="operations")
    status = OptionalChoice([(str(first), words) for first, words in STATUS_CLASSES.items()], label="Status")
    refused = forms.BooleanField(label="Refused by the portal only", required=False)
    reason = Text("Reason", "scope, not_owner, …")
    object = Text("About", "Run, experiment, model, …: its id or name")
    address = forms.GenericIPAddressField(
        label="Address", required=False, widget=forms.TextInput(attrs={**TEXT, "placeholder": "192.0.2.7"})
    )
    field_order = (
        "span",
        "request_id",
        "key",
        "user",
        "organisation",
        "operation",
        "status",
        "reason",
        "object",
        "address",
    )

    def matching_rows(self) -> CallQuerySet:
        if not self.is_valid():
            return Call.objects.none()
        calls: CallQuerySet = self.narrow(CallFilters, Call.objects.between(*self.bounds))
        return calls


class RegistrationForm(ListForm):
    outcome = OptionalChoice(Registration.Outcome.choices, label="Outcome")
    rules = OptionalChoice(
        [
            (COMPLETE, "Complete"),
            (MISSING, "Missing"),
            (MALFORMED, "Malformed"),
            (QUARANTINED, "In quarantine"),
        ],
        label="Tags of the version",
    )
    model = Text("Model", "Its name; a logged model's id")
    operation = OptionalChoice([], label="Operation")
    environment = OptionalChoice(ApiKey.Environment.choices, label="Environment")
    field_order = (
        "span",
        "model",
        "user",
        "key",
        "organisation",
        "outcome",
        "rules",
        "operation",
        "request_id",
    )

    def __init__(self, data: Any) -> None:
        super().__init__(data)
        self.fields["operation"].choices = [("", "Any"), *list_recorded()]  # type: ignore[attr-defined]

    def matching_rows(self) -> RegistrationQuerySet:
        """The rows that match, except for the state of the tags, which `wants` checks."""
        if not self.is_valid():
            return Registration.objects.none()
        rows: RegistrationQuerySet = self.narrow(
            RegistrationFilters, Registration.objects.between(*self.bounds)
        )
        return rows

    def wants(self, row: Registration, state: str) -> bool:
        """Whether the filter includes the row, given its version's label."""
        return self.is_valid() and self.cleaned_data["rules"] in ("", state)


def by(text: str, prefix: str, name: str) -> str:
    return "public_id" if text.startswith(prefix) else name


def list_recorded() -> list[tuple[str, str]]:
    """The ledger's operations."""
    names = sorted({operation.name for operation in OPERATIONS if writer.is_recorded(operation)})
    return [(name, describe_operation(name)) for name in names]


def names(operations: tuple[Operation, ...]) -> list[str]:
    return sorted({operation.name for operation in operations if not operation.refused})


def without_secret(asked: QueryDict) -> QueryDict | None:
    """The query with a pasted API key, in any field, replaced by the key's id; None if it contains no key. For a key
    that was not issued here, the visible start and end are used, which match nothing."""
    pasted = next(
        (match for text in asked.values() if (match := tokens.KEY_LIKE_PATTERN.search(str(text)))), None
    )
    if pasted is None:
        return None
    clean = asked.copy()
    for name, text in asked.items():
        if tokens.KEY_LIKE_PATTERN.search(str(text)):
            del clean[name]
    clean["key"] = id_of(pasted[0])
    return clean


def id_of(secret: str) -> str:
    try:
        token = tokens.parse(secret)
    except tokens.InvalidToken:
        return f"{secret[:12]}…"
    match = find_key(token)
    return match.key.public_id if match else f"{token.prefix}…{token.last4}"
