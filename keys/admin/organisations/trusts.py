"""The admin's list of the trusts of all organisations. Each has the page of its key; its organisation's page of trusts
changes it."""

from typing import Any, cast

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.db.models.functions import Coalesce
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, reverse
from django.utils.html import format_html
from unfold.contrib.filters.admin import TextFilter

from keys.admin.columns import badge, codes, lines, render_time
from keys.admin.filters import KeyOrganisationFilter, OnlyItsFilters, StateFilter
from keys.admin.list_export import export_paths
from keys.lists.colours import STATE_COLOURS
from keys.lists.columns import TRUST_COLUMNS
from keys.models import Trust, TrustQuerySet
from keys.rights import permissions


class IssuerFilter(TextFilter):  # type: ignore[misc]
    title = "issuer"
    parameter_name = "issuer"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Trust]) -> QuerySet[Trust]:
        text = (self.value() or "").replace("\0", "").strip()
        return queryset.filter(issuer__icontains=text) if text else queryset


@admin.register(Trust)
class TrustAdmin(OnlyItsFilters):
    list_display = [
        "name_link",
        "organisation",
        "issuer_and_audience",
        "conditions_met",
        "state_badge",
        "calls_30_days",
        "last_used_on",
    ]
    list_display_links = None
    list_filter = [StateFilter, KeyOrganisationFilter, IssuerFilter]
    list_per_page = 50
    list_before_template = "admin/list_before.html"
    search_fields = ["key__name", "key__public_id", "issuer"]
    search_help_text = "Name, id or issuer"
    ordering = ["-pk"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Trust]:
        return cast(TrustQuerySet, super().get_queryset(request)).with_key().with_calls()

    def get_search_results(
        self, request: HttpRequest, queryset: TrustQuerySet, search_term: str
    ) -> tuple[QuerySet[Trust], bool]:
        return queryset.matching(search_term), False

    def has_view_permission(self, request: HttpRequest, obj: Trust | None = None) -> bool:
        return any(request.user.has_perm(name) for name in permissions.SEE_ORGANISATIONS)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Trust | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Trust | None = None) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        return [*export_paths(self, "trusts", TRUST_COLUMNS), *super().get_urls()]

    def change_view(self, request: HttpRequest, object_id: str, *more: Any, **options: Any) -> HttpResponse:
        """The page of the trust's key has everything else about it."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        if (trust := self.get_object(request, object_id)) is None:
            raise Http404
        return redirect("admin:keys_apikey_change", trust.key_id)

    @admin.display(description="Name", ordering="key__name")
    def name_link(self, trust: Trust) -> str:
        address = reverse("admin:keys_apikey_change", args=[trust.key_id])
        return format_html('<a class="row-link" href="{}">{}</a>', address, trust.key.name)

    @admin.display(description="Organisation", ordering="key__organisation__slug")
    def organisation(self, trust: Trust) -> str:
        return trust.key.organisation.slug

    @admin.display(description="Issuer", ordering="issuer")
    def issuer_and_audience(self, trust: Trust) -> str:
        return format_html("<div>{}</div>", lines([trust.issuer, f"for {trust.audience}"]))

    @admin.display(description="Conditions")
    def conditions_met(self, trust: Trust) -> str:
        return format_html(
            "<div>{}</div>", codes(trust.describe_conditions(), otherwise="None")
        )  # one element, for the layout on narrow screens

    @badge(description="Status", colours=STATE_COLOURS)
    def state_badge(self, trust: Trust) -> str:
        return str(trust.key.state)

    @admin.display(description="Calls, 30 days", ordering=Coalesce("calls_in_month", 0))
    def calls_30_days(self, trust: Trust) -> str:
        return f"{trust.calls_in_month or 0:,}"  # type: ignore[attr-defined]

    @admin.display(description="Last used", ordering="key__last_used_at")
    def last_used_on(self, trust: Trust) -> str:
        return render_time(trust.key.used_at)
