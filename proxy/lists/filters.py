"""The filter sets of the lists of calls, registrations, owners and totals.

The API and the commands use them directly; the pages' forms (`proxy.lists.page_filters`) pass validated values to them.
"""

from typing import Any

import django_filters
from django.db.models import Q, QuerySet
from rest_framework import serializers

from keys.lists.filter_fields import TimeFilter, TrueOrFalseFilter
from keys.models import ApiKey, Organisation, User
from proxy.models import Registration, RegistrationQuerySet, tag_rules
from proxy.models.calls import CallQuerySet
from proxy.models.owners import OwnerQuerySet

STATUS_CLASSES = {
    2: "2xx successful",
    3: "3xx redirected",
    4: "4xx client error",
    5: "5xx server error",
}


class UserFilterSet(django_filters.FilterSet):  # type: ignore[misc]
    """Rows that have a user."""

    user = django_filters.CharFilter(method="filter_user", label="Name or id (usr_…).")

    organisation = django_filters.CharFilter(method="filter_organisation", label="The organisation's slug.")

    def filter_organisation(self, rows: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        # By its number, which PostgreSQL compares with the condition of an index.
        return rows.filter(organisation=Organisation.objects.filter(slug=value).first() or 0)

    def filter_user(self, rows: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        return rows.filter(user__in=User.objects.filter(Q(username=value) | Q(public_id=value)))


class RequestFilterSet(UserFilterSet):
    """The filters that the usage log and the ledger share."""

    key = django_filters.CharFilter(field_name="key__public_id", label="Id (key_…).")
    request_id = django_filters.CharFilter(field_name="request_id")
    operation = django_filters.CharFilter(field_name="operation")
    since = TimeFilter(field_name="at", lookup_expr="gte", label="At that time or later.")
    until = TimeFilter(field_name="at", lookup_expr="lt", label="Before that time.")


class CallFilters(RequestFilterSet):
    status = django_filters.ChoiceFilter(
        choices=[(str(first), f"{first}xx") for first in STATUS_CLASSES],
        method="filter_class",
        label="The first digit of the status.",
    )
    reason = django_filters.CharFilter(
        field_name="reason", label="Why the portal refused it: a reason from docs/errors.md."
    )
    refused = django_filters.ChoiceFilter(
        choices=[("true", "Refused")],
        method="filter_refused",
        label="true: refused by the portal, not by MLflow.",
    )
    object = django_filters.CharFilter(field_name="object_name", label="The id or name of a run, model, …")
    address = django_filters.CharFilter(method="filter_address", label="The caller's IP address.")

    def filter_class(self, calls: CallQuerySet, name: str, value: str) -> CallQuerySet:
        return calls.of_class(int(value))

    def filter_refused(self, calls: CallQuerySet, name: str, value: str) -> CallQuerySet:
        return calls.refused()

    def filter_address(self, calls: CallQuerySet, name: str, value: str) -> CallQuerySet:
        try:
            return calls.filter(address=serializers.IPAddressField().run_validation(value))
        except serializers.ValidationError as error:
            raise serializers.ValidationError({"address": error.detail}) from None


class RegistrationFilters(RequestFilterSet):
    outcome = django_filters.ChoiceFilter(choices=Registration.Outcome.choices)
    model = django_filters.CharFilter(
        field_name="object_name", label="The model's name, or the id of a logged model."
    )
    environment = django_filters.ChoiceFilter(choices=ApiKey.Environment.choices)
    rules = django_filters.ChoiceFilter(
        choices=[(state, state.capitalize()) for state in (*tag_rules.STATES, tag_rules.QUARANTINED)],
        method="filter_versions",
        label="State of the tags of a version, as they are now, or quarantined.",
    )

    def filter_versions(self, rows: RegistrationQuerySet, name: str, value: str) -> RegistrationQuerySet:
        """Only versions. No column holds the state of the tags: the list checks each row itself (`exports.Keep`)."""
        return rows.versions()


class OwnerFilters(UserFilterSet):
    kind = django_filters.CharFilter(label="run, experiment, registered_model, …")
    name = django_filters.CharFilter(label="The object's id, or the name of a registered model.")
    environment = django_filters.ChoiceFilter(choices=ApiKey.Environment.choices)
    is_shared = TrueOrFalseFilter()
    owned = django_filters.ChoiceFilter(
        choices=[("user", "By a user"), ("nobody", "By nobody")], method="filter_owned", label="By whom."
    )
    q = django_filters.CharFilter(
        method="filter_text", label="Part of the object's name or id, or of its owner's name."
    )

    def filter_owned(self, rows: OwnerQuerySet, name: str, value: str) -> OwnerQuerySet:
        return rows.owned_by_anybody(value == "user")

    def filter_text(self, rows: OwnerQuerySet, name: str, value: str) -> OwnerQuerySet:
        return rows.matching(value)


class UsageFilters(UserFilterSet):
    key = django_filters.CharFilter(field_name="key__public_id", label="Id (key_…).")
    operation = django_filters.CharFilter(field_name="operation")
