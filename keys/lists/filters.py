"""What can be asked of the lists of keys, events, alerts, users and the admin log: one filter set each.

The API and the commands use them as they are. The admin's filters have parameters of their own and call the same
methods of the querysets.
"""

import datetime

import django_filters
from django.contrib.admin.models import LogEntry
from django.db.models import QuerySet

from keys.actions.history import done_by_users
from keys.lists.filter_fields import TimeFilter, TrueOrFalseFilter
from keys.models import (
    Alert,
    AlertQuerySet,
    ApiKey,
    ApiKeyQuerySet,
    KeyEvent,
    KeyEventQuerySet,
    TrustQuerySet,
    User,
    users_in_role,
    users_matching,
)
from keys.rights.groups import GROUPS
from keys.rights.roles import Role


class KeyFilters(django_filters.FilterSet):  # type: ignore[misc]
    user = django_filters.CharFilter(method="filter_user", label="The owner's name or id.")
    organisation = django_filters.CharFilter(
        field_name="organisation__slug", label="The organisation's slug."
    )
    state = django_filters.ChoiceFilter(choices=ApiKey.State.choices, method="filter_state")
    environment = django_filters.ChoiceFilter(choices=ApiKey.Environment.choices)
    q = django_filters.CharFilter(
        method="filter_text", label="Part of the name, the owner, the id or the masked key."
    )
    expires_before = TimeFilter(method="filter_expiry", label="Works now, and expires before that time.")
    expiring_soon = TrueOrFalseFilter(
        method="filter_soon", label="true: works now, and expires within 14 days; false: all others."
    )
    unused_since = TimeFilter(
        method="filter_unused", label="Works, is older than that time, and has not been used since."
    )

    def filter_user(self, keys: ApiKeyQuerySet, name: str, value: str) -> ApiKeyQuerySet:
        return keys.owned_by(value)

    def filter_state(self, keys: ApiKeyQuerySet, name: str, value: str) -> ApiKeyQuerySet:
        return keys.in_state(value)

    def filter_text(self, keys: ApiKeyQuerySet, name: str, value: str) -> ApiKeyQuerySet:
        return keys.matching(value)

    def filter_expiry(self, keys: ApiKeyQuerySet, name: str, value: datetime.datetime) -> ApiKeyQuerySet:
        return keys.expiring_before(value)

    def filter_soon(self, keys: ApiKeyQuerySet, name: str, value: bool) -> ApiKeyQuerySet:
        soon = ApiKey.objects.expiring_soon().values("pk")
        return keys.filter(pk__in=soon) if value else keys.exclude(pk__in=soon)

    def filter_unused(self, keys: ApiKeyQuerySet, name: str, value: datetime.datetime) -> ApiKeyQuerySet:
        return keys.unused(value)


class TrustFilters(django_filters.FilterSet):  # type: ignore[misc]
    organisation = django_filters.CharFilter(
        field_name="key__organisation__slug", label="The organisation's slug."
    )
    state = django_filters.ChoiceFilter(choices=ApiKey.State.choices, method="filter_state")
    issuer = django_filters.CharFilter(label="The claim iss of the tokens, as the trust has it.")

    def filter_state(self, trusts: TrustQuerySet, name: str, value: str) -> TrustQuerySet:
        return trusts.in_state(value)


class EventFilters(django_filters.FilterSet):  # type: ignore[misc]
    key = django_filters.CharFilter(field_name="key__public_id", label="Id (key_…).")
    organisation = django_filters.CharFilter(
        field_name="key__organisation__slug", label="The slug of the key's organisation."
    )
    kind = django_filters.ChoiceFilter(choices=KeyEvent.Kind.choices)
    actor = django_filters.CharFilter(field_name="actor__username", label="Who did it: a user's name.")
    since = TimeFilter(field_name="at", lookup_expr="gte", label="At that time or later.")
    until = TimeFilter(field_name="at", lookup_expr="lt", label="Before that time.")
    q = django_filters.CharFilter(method="filter_text", label="Part of the key's name, id or owner.")

    def filter_text(self, events: KeyEventQuerySet, name: str, value: str) -> KeyEventQuerySet:
        return events.matching(value)


class AlertFilters(django_filters.FilterSet):  # type: ignore[misc]
    kind = django_filters.ChoiceFilter(choices=Alert.Kind.choices)
    state = django_filters.ChoiceFilter(
        choices=[("open", "Open"), ("settled", "Settled")],
        method="filter_state",
        label="settled: it no longer applies, or somebody marked it as settled.",
    )
    key = django_filters.CharFilter(field_name="key__public_id", label="Id (key_…).")
    organisation = django_filters.CharFilter(
        method="filter_organisation", label="The slug of an organisation: about it, its keys or its files."
    )

    def filter_organisation(self, alerts: AlertQuerySet, name: str, value: str) -> AlertQuerySet:
        return alerts.of_organisation(value)

    def filter_state(self, alerts: AlertQuerySet, name: str, value: str) -> AlertQuerySet:
        return alerts.open() if value == "open" else alerts.settled()


class UserFilters(django_filters.FilterSet):  # type: ignore[misc]
    q = django_filters.CharFilter(method="filter_text", label="Part of the name, id or e-mail address.")
    role = django_filters.ChoiceFilter(choices=[(role, role) for role in Role], method="filter_role")
    is_active = TrueOrFalseFilter()
    is_staff = TrueOrFalseFilter()
    is_superuser = TrueOrFalseFilter()
    group = django_filters.ChoiceFilter(
        field_name="groups__name",
        choices=[(name, name) for name in GROUPS],
        label="A group that the user is in.",
    )

    def filter_text(self, users: "QuerySet[User]", name: str, value: str) -> "QuerySet[User]":
        return users.filter(users_matching(value))

    def filter_role(self, users: "QuerySet[User]", name: str, value: str) -> "QuerySet[User]":
        return users.filter(users_in_role(Role(value)))


class AdminLogFilters(django_filters.FilterSet):  # type: ignore[misc]
    actor = django_filters.CharFilter(method="by_actor", label="Who did it: a user's name.")
    since = TimeFilter(field_name="action_time", lookup_expr="gte", label="At that time or later.")
    until = TimeFilter(field_name="action_time", lookup_expr="lt", label="Before that time.")

    def by_actor(self, entries: "QuerySet[LogEntry]", name: str, value: str) -> "QuerySet[LogEntry]":
        return done_by_users(entries.filter(user__username=value))
