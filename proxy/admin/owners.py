"""The admin's read-only list of owners. Handing over and sharing have pages of their own.

There is a row for each run and trace, so no page counts or sorts all of them.
"""

from typing import Any, cast

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils.html import format_html
from unfold.paginator import InfinitePaginator

from keys.actions.grants import is_owner_allowed
from keys.admin.columns import badge, render_time
from keys.admin.filters import OnlyItsFilters, OrganisationFilter
from keys.admin.list_export import export_paths
from keys.formatting import csv_export
from keys.formatting.moments import format_time
from keys.models import User
from keys.rights.permissions import SEE_OWNERS
from proxy.admin import pages
from proxy.models import Owner
from proxy.models.owners import OwnerQuerySet
from proxy.routes import ui_links
from proxy.routes.objects import KIND_LABELS
from proxy.routes.table import OPERATIONS

# Columns of the CSV export.
COLUMNS: csv_export.Columns = {
    "kind": lambda owner: owner.kind,
    "name": lambda owner: owner.name,
    "environment": lambda owner: owner.environment,
    "owner": lambda owner: owner.user.username if owner.user else "",
    "owner_id": lambda owner: owner.user.public_id if owner.user else "",
    "is_shared": lambda owner: owner.is_shared,
    "is_reserved": lambda owner: owner.is_reserved,
    "created_at": lambda owner: owner.created_at,
    "key": lambda owner: owner.key.name if owner.key else "",
    "key_id": lambda owner: owner.key.public_id if owner.key else "",
    "organisation": lambda owner: owner.organisation.slug,
}


def kinds() -> list[str]:
    """The kinds of objects that get an owner: what operations create or claim."""
    created = {operation.created.kind for operation in OPERATIONS if operation.created}
    claimed = {field.kind for operation in OPERATIONS for field in operation.claims}
    return sorted((created | claimed | {"experiment", "run", "trace"}) - {"model_version"})


class KindFilter(admin.SimpleListFilter):
    title = "kind"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: "admin.ModelAdmin[Owner]") -> list[tuple[str, str]]:
        return [(kind, KIND_LABELS.get(kind, kind).replace("_", " ").capitalize()) for kind in kinds()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Owner]) -> QuerySet[Owner]:
        return queryset.filter(kind=self.value()) if self.value() else queryset


class NobodyFilter(admin.SimpleListFilter):
    title = "owner"
    parameter_name = "owned"

    def lookups(self, request: HttpRequest, model_admin: "admin.ModelAdmin[Owner]") -> list[tuple[str, str]]:
        return [("user", "A user"), ("nobody", "Nobody")]

    def queryset(self, request: HttpRequest, queryset: OwnerQuerySet) -> QuerySet[Owner]:  # type: ignore[override]
        chosen = self.value()
        return queryset.owned_by_anybody(chosen == "user") if chosen in ("user", "nobody") else queryset


@admin.register(Owner)
class OwnerAdmin(OnlyItsFilters):
    list_display = [
        "name",
        "kind_in_words",
        "owner",
        "organisation_slug",
        "mark",
        "environment",
        "created_on",
        "in_mlflow",
    ]
    other_lookups = ("user__id__exact",)  # a user's page
    list_filter = [KindFilter, NobodyFilter, OrganisationFilter, "is_shared", "environment"]
    list_select_related = ["user", "key", "organisation"]
    list_before_template = "admin/proxy/owner/list_before.html"
    list_per_page = 50
    ordering = ["-pk"]
    paginator = InfinitePaginator
    show_full_result_count = False
    sortable_by = ()
    search_fields = ["name", "user__username"]
    search_help_text = "Name, id or owner"
    fieldsets = [
        (
            None,
            {
                "fields": [
                    "name",
                    "kind_in_words",
                    "owner",
                    "organisation_slug",
                    "mark",
                    "environment",
                    "in_mlflow",
                ]
            },
        ),
        ("Created through the portal", {"fields": ["created", "key_name"]}),
    ]
    readonly_fields = [
        "kind_in_words",
        "owner",
        "organisation_slug",
        "mark",
        "in_mlflow",
        "created",
        "key_name",
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Owner]:
        queryset: QuerySet[Owner] = super().get_queryset(request)
        return queryset.select_related("user", "key", "organisation")

    def get_search_results(
        self, request: HttpRequest, queryset: OwnerQuerySet, search_term: str
    ) -> tuple[QuerySet[Owner], bool]:
        return queryset.matching(search_term), False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Owner | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Owner | None = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Owner | None = None) -> bool:
        return any(request.user.has_perm(name) for name in SEE_OWNERS)

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("hand-over/", wrap(pages.hand_over), name="proxy_owner_hand_over"),
            path("share/", wrap(pages.share), name="proxy_owner_share"),
            *export_paths(self, "owners", COLUMNS),
            *super().get_urls(),
        ]

    def get_form(
        self, request: HttpRequest, obj: Owner | None = None, change: bool = False, **options: Any
    ) -> Any:
        return super().get_form(request, obj, change, help_texts={"name": ""}, **options)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        owner = self.get_object(request, object_id)
        user = cast(User, request.user)
        may_act = owner is None or owner.user_id is None or is_owner_allowed(owner.user_id, user)
        context = {"may_act": may_act, **(extra_context or {})}
        return cast(HttpResponse, super().change_view(request, object_id, form_url, context))

    @admin.display(description="Kind")
    def kind_in_words(self, owner: Owner) -> str:
        return KIND_LABELS.get(owner.kind, owner.kind).replace("_", " ").capitalize()

    @admin.display(description="Owner")
    def owner(self, owner: Owner) -> str:
        if owner.user is None:
            return "Nobody"
        return owner.user.username if owner.user.is_active else f"{owner.user.username} (deactivated)"

    @admin.display(description="Organisation")
    def organisation_slug(self, owner: Owner) -> str:
        return owner.organisation.slug

    @badge(description="Mark", colours={"shared": "info", "reserved name": "warning"})
    def mark(self, owner: Owner) -> str:
        if owner.is_reserved:
            return "reserved name"
        return "shared" if owner.is_shared else ""

    @admin.display(description="Since")
    def created_on(self, owner: Owner) -> str:
        return render_time(owner.created_at)

    @admin.display(description="In MLflow")
    def in_mlflow(self, owner: Owner) -> str:
        where = ui_links.address(owner.environment, owner.kind, owner.name)
        return format_html('<a class="row-link" href="{}">Open</a>', where) if where else "-"

    @admin.display(description="Time")
    def created(self, owner: Owner) -> str:
        return format_time(owner.created_at)

    @admin.display(description="With the key")
    def key_name(self, owner: Owner) -> str:
        return owner.key.name if owner.key else "-"
