"""The filters beside the list of keys."""

import datetime
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.contrib.filters.admin import TextFilter

from keys.models import ApiKey
from keys.querysets import ApiKeyQuerySet

EXPIRING = {"7": "Within 7 days", "30": "Within 30 days"}


class StateFilter(admin.SimpleListFilter):
    title = "status"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(ApiKey.State.choices)

    def queryset(self, request: HttpRequest, queryset: ApiKeyQuerySet) -> QuerySet[ApiKey]:  # type: ignore[override]
        chosen = self.value()
        return queryset.in_state(chosen) if chosen in ApiKey.State.values else queryset


class OwnerFilter(TextFilter):  # type: ignore[misc]
    """By name, typed: there may be thousands of owners."""

    title = "owner"
    parameter_name = "owner_name"

    def queryset(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> QuerySet[ApiKey]:
        text = (self.value() or "").replace("\0", "").strip()
        return queryset.filter(owner__username__icontains=text) if text else queryset


class ExpiringFilter(admin.SimpleListFilter):
    title = "expiring"
    parameter_name = "expiring"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(EXPIRING.items())

    def queryset(self, request: HttpRequest, queryset: ApiKeyQuerySet) -> QuerySet[ApiKey]:  # type: ignore[override]
        if (days := self.value()) not in EXPIRING:
            return queryset
        return queryset.expiring(datetime.timedelta(days=int(days)))


class UnusedFilter(admin.SimpleListFilter):
    title = "use"
    parameter_name = "unused"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("90", "Unused for 90 days")]

    def queryset(self, request: HttpRequest, queryset: ApiKeyQuerySet) -> QuerySet[ApiKey]:  # type: ignore[override]
        return queryset.unused() if self.value() == "90" else queryset
