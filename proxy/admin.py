"""The usage log, for reading only. It grows without end, so nothing here counts or sorts all of it."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.paginator import InfinitePaginator

from keys.columns import badge
from proxy import owner_admin, registration_admin  # noqa: F401  register their pages
from proxy.models import Call

CLASSES = {"2": "Successful (2xx)", "3": "Redirected (3xx)", "4": "Refused (4xx)", "5": "Failed (5xx)"}
COLOURS = {"2": "success", "3": "info", "4": "warning", "5": "danger"}


class StatusFilter(admin.SimpleListFilter):
    title = "status"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: "admin.ModelAdmin[Call]") -> list[tuple[str, str]]:
        return list(CLASSES.items())

    def queryset(self, request: HttpRequest, queryset: QuerySet[Call]) -> QuerySet[Call]:
        if (value := self.value()) not in CLASSES:
            return queryset
        return queryset.filter(status__gte=int(value) * 100, status__lt=int(value) * 100 + 100)


@admin.register(Call)
class CallAdmin(ModelAdmin):  # type: ignore[misc]
    list_display = ["time", "status_badge", "operation", "user", "key_name", "address", "took", "reason"]
    list_filter = [StatusFilter, "at"]
    list_select_related = ["user", "key"]
    list_per_page = 50
    paginator = InfinitePaginator
    show_full_result_count = False
    sortable_by = ()
    search_fields = [
        "request_id__exact",
        "user__username__exact",
        "key__public_id__exact",
        "operation__exact",
    ]
    fieldsets = [
        (
            None,
            {"fields": ["request_id", "time", "status", "reason", "operation", "object", "method", "path"]},
        ),
        ("Caller", {"fields": ["user", "key", "address", "client", "client_version"]}),
        ("Cost", {"fields": ["took", "waited", "bytes_in", "bytes_out"]}),
    ]
    readonly_fields = ["time", "object", "took", "waited"]
    search_help_text = "Request id, user, key id or operation, whole"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Call | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Call | None = None) -> bool:
        return False

    @admin.display(description="Time (UTC)")
    def time(self, call: Call) -> str:
        return f"{call.at:%Y-%m-%d %H:%M:%S}"

    @badge(description="Status", colours={str(status): COLOURS[str(status)[0]] for status in range(200, 600)})
    def status_badge(self, call: Call) -> str:
        return str(call.status)

    @admin.display(description="Key")
    def key_name(self, call: Call) -> str:
        return call.key.name if call.key else "browser"

    @admin.display(description="About")
    def object(self, call: Call) -> str:
        return f"{call.object_kind.replace('_', ' ')} {call.object_name}".strip() or "-"

    @admin.display(description="Took")
    def took(self, call: Call) -> str:
        return f"{call.duration_ms:,.0f} ms"

    @admin.display(description="Of these for MLflow")
    def waited(self, call: Call) -> str:
        return f"{call.upstream_ms:,.0f} ms"
