"""The admin's list of organisations and the page of one. Each change has a page of its own
(`keys.admin.organisations.changes`)."""

from typing import Any, cast

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils.html import format_html

from keys import limits
from keys.admin.columns import badge, lines, render_time
from keys.admin.filters import OnlyItsFilters
from keys.admin.key_page import bars_of, chart
from keys.admin.list_export import export_paths
from keys.admin.organisations import changes
from keys.formatting.moments import format_time
from keys.lists.columns import ORGANISATION_COLUMNS, limits_of
from keys.lists.states import with_leaks
from keys.models import Organisation, OrganisationQuerySet
from keys.rights import permissions

MOST_KEYS = 20
MOST_REGISTRATIONS = 8


class ClosedFilter(admin.SimpleListFilter):
    title = "status"
    parameter_name = "closed"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("no", "Open"), ("yes", "Closed")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = self.value()
        return queryset.filter(closed_at__isnull=chosen == "no") if chosen in ("no", "yes") else queryset


@admin.register(Organisation)
class OrganisationAdmin(OnlyItsFilters):
    list_display = [
        "name_and_slug",
        "state_badge",
        "members",
        "working_keys",
        "calls_30_days",
        "own_limits",
        "created_on",
    ]
    list_filter = [ClosedFilter]
    list_per_page = 50
    list_before_template = "admin/list_before.html"
    search_fields = ["slug", "name"]
    search_help_text = "Slug or name"
    ordering = ["slug"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Organisation]:
        """With the counts of the list; the page of one organisation does not show them."""
        organisations = cast(OrganisationQuerySet, super().get_queryset(request)).select_related("created_by")
        match = request.resolver_match
        is_list = match is not None and "object_id" not in match.kwargs
        return organisations.with_counts() if is_list else organisations

    def get_search_results(
        self, request: HttpRequest, queryset: OrganisationQuerySet, search_term: str
    ) -> tuple[QuerySet[Organisation], bool]:
        return queryset.matching(search_term.replace("\0", "")), False

    def has_change_permission(self, request: HttpRequest, obj: Organisation | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Organisation | None = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Organisation | None = None) -> bool:
        return any(request.user.has_perm(name) for name in permissions.SEE_ORGANISATIONS)

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        own = [
            path(f"<int:pk>/{route}/", wrap(view), name=f"keys_organisation_{name}")
            for name, (route, view) in changes.PAGES.items()
        ]
        return [*export_paths(self, "organisations", ORGANISATION_COLUMNS), *own, *super().get_urls()]

    def get_fieldsets(self, request: HttpRequest, obj: Organisation | None = None) -> Any:
        about = ["name", "slug", "created", "creator"]
        return [(None, {"fields": [*about, "closed"] if obj and obj.closed_at else about})]

    def get_readonly_fields(self, request: HttpRequest, obj: Organisation | None = None) -> list[str]:
        return [name for _, options in self.get_fieldsets(request, obj) for name in options["fields"]]

    def get_form(
        self, request: HttpRequest, obj: Organisation | None = None, change: bool = False, **options: Any
    ) -> Any:
        """The form without help texts, since the page is read-only."""
        return super().get_form(request, obj, change, help_texts={"name": "", "slug": ""}, **options)

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return changes.create(request)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        organisation = self.get_object(request, object_id)
        context = build_context(request, organisation) if organisation else {}
        context |= extra_context or {}
        return cast(HttpResponse, super().change_view(request, object_id, form_url, context))

    @admin.display(description="Name", ordering="name")
    def name_and_slug(self, organisation: Organisation) -> str:
        return format_html('{} <code class="line">{}</code>', organisation.name, organisation.slug)

    @badge(description="Status", colours={"open": "success", "closed": "danger"}, ordering="closed_at")
    def state_badge(self, organisation: Organisation) -> str:
        return "closed" if organisation.closed_at else "open"

    @admin.display(description="Members", ordering="member_count")
    def members(self, organisation: Organisation) -> str:
        return "users without one" if organisation.is_shared else f"{organisation.member_count:,}"  # type: ignore[attr-defined]

    @admin.display(description="Keys", ordering="key_count")
    def working_keys(self, organisation: Organisation) -> str:
        return f"{organisation.key_count:,}"  # type: ignore[attr-defined]

    @admin.display(description="Calls, 30 days", ordering="calls_in_month")
    def calls_30_days(self, organisation: Organisation) -> str:
        return f"{organisation.calls_in_month:,}"  # type: ignore[attr-defined]

    @admin.display(description="Limits")
    def own_limits(self, organisation: Organisation) -> str:
        return lines(limits_of(organisation)) or "None"

    @admin.display(description="Since", ordering="created_at")
    def created_on(self, organisation: Organisation) -> str:
        return render_time(organisation.created_at)

    @admin.display(description="Created")
    def created(self, organisation: Organisation) -> str:
        return format_time(organisation.created_at)

    @admin.display(description="Created by")
    def creator(self, organisation: Organisation) -> str:
        return organisation.created_by.username if organisation.created_by else "command line"

    @admin.display(description="Closed")
    def closed(self, organisation: Organisation) -> str:
        return format_time(organisation.closed_at)


def build_context(request: HttpRequest, organisation: Organisation) -> dict[str, Any]:
    """What the page shows besides the fields: members, keys, limits, usage and registrations, as far as the user may
    see them."""
    user = request.user
    context: dict[str, Any] = {
        "may_act": user.has_perm(permissions.CHANGE_ORGANISATION) and not organisation.closed_at,
        "members": organisation.memberships.select_related("user").order_by("user__username"),
        "invitations": organisation.member_invitations.open().select_related("user"),
        "bars": bars_of(limits.read_organisation_use(organisation)),
    }
    if any(user.has_perm(name) for name in permissions.SEE_KEYS):
        keys = organisation.api_keys.filter(revoked_at=None).with_owner().with_calls()
        newest = list(with_leaks(keys.order_by("-pk"))[: MOST_KEYS + 1])
        context |= {"org_keys": newest[:MOST_KEYS], "has_more_keys": len(newest) > MOST_KEYS}
    if user.has_perm(permissions.VIEW_CALL):
        context["chart"] = chart(organisation.call_totals)
    if user.has_perm(permissions.VIEW_REGISTRATION):
        rows = organisation.registrations.select_related("user").order_by("-pk")
        context["registrations"] = rows[:MOST_REGISTRATIONS]
    return context
