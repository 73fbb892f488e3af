"""The admin's forms to try a call, share an experiment and hand over a user's objects."""

from typing import Any

from django import forms
from django.core.validators import RegexValidator
from django.db.models import Exists, OuterRef
from unfold.widgets import (
    UnfoldAdminRadioSelectWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from keys.admin.form_fields import ManyChoicesSelect
from keys.models import ApiKey, Organisation, User
from keys.pages.key_forms import MACHINE_TEXT
from proxy.models import Owner
from proxy.policy.simulator import METHODS
from proxy.request.messages import CANONICAL_INTEGER


class TryForm(forms.Form):
    """A call to simulate; it is not sent to MLflow."""

    method = forms.ChoiceField(
        choices=[(method, method) for method in METHODS],
        widget=UnfoldAdminSelectWidget(attrs={"autofocus": True}),
    )
    path = forms.CharField(
        max_length=8000,
        strip=False,
        widget=UnfoldAdminTextInputWidget(attrs=MACHINE_TEXT),
        help_text="As the client sends it, with or without the portal's address and mount: "
        "/api/2.0/mlflow/runs/create, or /api/mlflow/api/2.0/mlflow/experiments/get?experiment_id=1.",
    )
    body = forms.CharField(
        required=False,
        strip=False,
        max_length=1_000_000,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 6, **MACHINE_TEXT}),
        help_text="JSON, if the call has a body.",
    )
    address = forms.GenericIPAddressField(
        label="From the address",
        required=False,
        widget=UnfoldAdminTextInputWidget(attrs=MACHINE_TEXT),
        help_text="Only relevant for a key that is limited to networks. Empty: an address in the first of them.",
    )


class ShareForm(forms.Form):
    """An experiment, and whether anyone may create runs in it."""

    experiment_id = forms.CharField(
        label="Experiment id",
        max_length=18,
        validators=[
            RegexValidator(rf"^(?:{CANONICAL_INTEGER.pattern})\Z", "An experiment's id is a number.")
        ],
        widget=UnfoldAdminTextInputWidget(attrs={"autofocus": True, "inputmode": "numeric", **MACHINE_TEXT}),
        help_text="The number in the experiment's URL in MLflow's UI.",
    )
    environment = forms.ChoiceField(choices=ApiKey.Environment.choices, widget=UnfoldAdminSelectWidget)
    organisation = forms.ModelChoiceField(
        Organisation.objects.all(),
        to_field_name="slug",
        required=False,
        empty_label=None,
        widget=UnfoldAdminSelectWidget,
    )
    is_shared = forms.ChoiceField(
        label="Who may create runs in it",
        choices=[("yes", "Anyone: it is shared"), ("no", "Only its owner: it is not shared")],
        initial="yes",
        widget=UnfoldAdminRadioSelectWidget,
    )


class HandOverForm(forms.Form):
    """The old and the new owner; `confirmed` after the admin has seen the number of objects."""

    giver = forms.ModelChoiceField(
        label="From",
        queryset=User.objects.none(),
        empty_label="Choose the current owner",
        widget=ManyChoicesSelect(attrs={"autofocus": True}),
        help_text="Users who own objects, including deactivated users.",
    )
    taker = forms.ModelChoiceField(
        label="To",
        queryset=User.objects.none(),
        empty_label="Choose the new owner",
        widget=ManyChoicesSelect,
    )
    confirmed = forms.BooleanField(required=False, widget=forms.HiddenInput)

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        giver, taker = self.fields["giver"], self.fields["taker"]
        assert isinstance(giver, forms.ModelChoiceField)  # noqa: S101  for the type checker
        assert isinstance(taker, forms.ModelChoiceField)  # noqa: S101
        owners = Exists(Owner.objects.filter(user=OuterRef("pk")))
        giver.queryset = User.objects.filter(owners).only("username").order_by("username")
        taker.queryset = User.objects.filter(is_active=True).only("username").order_by("username")

    def clean(self) -> dict[str, Any]:
        giver, taker = self.cleaned_data.get("giver"), self.cleaned_data.get("taker")
        if giver and giver == taker:
            self.add_error("taker", "This is the same user. Choose another one.")
        return self.cleaned_data
