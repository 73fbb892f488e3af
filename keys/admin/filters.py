"""Filters of the admin's lists."""

import datetime
from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.text import capfirst
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import TextFilter

from keys.models import ApiKey, ApiKeyQuerySet, Organisation, User, users_in_role
from keys.models.api_keys import EXPIRES_SOON
from keys.rights.roles import Role

EXPIRING = {"7": "Within 7 days", str(EXPIRES_SOON.days): "Within 14 days", "30": "Within 30 days"}


class OnlyItsFilters(ModelAdmin):  # type: ignore[misc]
    """A list that accepts only its own filters. Django would accept lookups on any field in the URL, including fields
    that the page does not show, and regular expressions that PostgreSQL would run."""

    other_lookups: tuple[str, ...] = ()  # used in links from other pages

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        field, _, how = lookup.rpartition("__")
        columns = {name for name in self.list_filter if isinstance(name, str)}
        named = {getattr(each, "parameter_name", "") for each in self.list_filter}
        ways = ("exact", "gte", "lt", "isnull")
        return lookup in named | {*self.other_lookups} or (
            how in ways and field.removesuffix("__id") in columns
        )

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        if any("\0" in value for name, value in request.GET.items() if "__" in name):
            raise IncorrectLookupParameters  # PostgreSQL rejects NUL
        if "" in request.GET.values():  # a field of the filter form that was left open
            chosen = request.GET.copy()
            for name in [name for name, value in chosen.items() if not value]:
                del chosen[name]
            request.GET = chosen  # type: ignore[assignment]
        return super().get_changelist_instance(request)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Titled by what it lists; Django's title is an instruction, "Select API key to view"."""
        title = capfirst(self.opts.verbose_name_plural)
        return super().changelist_view(request, {"title": title, **(extra_context or {})})

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *more: Any, **options: Any
    ) -> Any:
        """Titled by what it is: "API key", not "View API key"."""
        context["title"] = capfirst(self.opts.verbose_name)
        return super().render_change_form(request, context, *more, **options)


SPANS = {
    "1h": ("Last hour", 1),
    "24h": ("Last 24 hours", 24),
    "7d": ("Last 7 days", 168),
    "30d": ("Last 30 days", 720),
}


class SpanFilter(admin.SimpleListFilter):
    """The spans of time that the usage log offers, for lists with a `column` of times."""

    title = "time"
    parameter_name = "span"
    column = "at"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, words) for name, (words, _) in SPANS.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if (chosen := self.value()) not in SPANS:
            return queryset
        since = timezone.now() - datetime.timedelta(hours=SPANS[chosen][1])
        return queryset.filter(**{f"{self.column}__gte": since})


class StateFilter(admin.SimpleListFilter):
    title = "status"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(ApiKey.State.choices)

    def queryset(self, request: HttpRequest, queryset: ApiKeyQuerySet) -> QuerySet[ApiKey]:  # type: ignore[override]
        chosen = self.value()
        return queryset.in_state(chosen) if chosen in ApiKey.State.values else queryset


class OwnerFilter(TextFilter):  # type: ignore[misc]
    """Filters by a typed name, because a list could have thousands of owners."""

    title = "owner"
    parameter_name = "owner_name"

    def queryset(self, request: HttpRequest, queryset: ApiKeyQuerySet) -> QuerySet[ApiKey]:
        text = (self.value() or "").replace("\0", "").strip()
        return queryset.owned_by_similar(text) if text else queryset


class OrganisationFilter(TextFilter):  # type: ignore[misc]
    """Filters by a typed slug."""

    title = "organisation"
    parameter_name = "organisation"
    column = "organisation"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        text = (self.value() or "").replace("\0", "").strip()
        if not text:
            return queryset
        # By its number, which PostgreSQL compares with the condition of an index.
        number = Organisation.objects.filter(slug=text).first() or 0
        return queryset.filter(**{self.column: number})


class KeyOrganisationFilter(OrganisationFilter):
    """The same, for rows that belong to a key."""

    column = "key__organisation"


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


class RoleFilter(admin.SimpleListFilter):
    title = "role"
    parameter_name = "role"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(role.value, role.label.capitalize()) for role in Role]

    def queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> QuerySet[User]:
        chosen = self.value()
        return queryset.filter(users_in_role(Role(chosen))) if chosen in set(Role) else queryset
