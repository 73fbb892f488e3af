"""The ledger of registrations, for reading only. It grows without end, so nothing here counts all of it."""

import json

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.paginator import InfinitePaginator

from keys.columns import badge
from proxy import compliance
from proxy.models import Registration

OUTCOMES = {
    "Pending": "info",
    "Done": "success",
    "Imported": "info",
    "Refused by MLflow": "warning",
    "Not done": "warning",
    "Unknown": "danger",
}


@admin.register(Registration)
class RegistrationAdmin(ModelAdmin):  # type: ignore[misc]
    list_display = [
        "time",
        "outcome_badge",
        "operation",
        "object_name",
        "version",
        "who",
        "key_name",
        "address",
    ]
    list_filter = ["outcome", "at"]
    list_select_related = ["user", "key"]
    list_per_page = 50
    ordering = ["-id"]
    paginator = InfinitePaginator
    show_full_result_count = False
    sortable_by = ()
    search_fields = [
        "object_name__exact",
        "new_name__exact",
        "user__username__exact",
        "key__public_id__exact",
        "request_id__exact",
    ]
    search_help_text = "Model name, user, key id or request id, whole"
    fieldsets = [
        (
            None,
            {"fields": ["request_id", "time", "operation", "outcome", "status", "reason", "completed_at"]},
        ),
        ("Who", {"fields": ["who", "key", "actor", "address", "environment"]}),
        (
            "What",
            {"fields": ["kind", "object_name", "version", "new_name", "run_id", "source", "made"]},
        ),
        ("Tags", {"fields": ["tags_shown", "rules", "detail_shown"]}),
        ("Chain", {"fields": ["sequence", "digest", "hash"]}),
    ]
    readonly_fields = [
        "time",
        "who",
        "made",
        "tags_shown",
        "rules",
        "detail_shown",
        "sequence",
        "digest",
        "hash",
    ]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Registration | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Registration | None = None) -> bool:
        return False

    @admin.display(description="Time (UTC)")
    def time(self, row: Registration) -> str:
        return f"{row.at:%Y-%m-%d %H:%M:%S}"

    @badge(description="Outcome", colours=OUTCOMES)
    def outcome_badge(self, row: Registration) -> str:
        return row.get_outcome_display()

    @admin.display(description="User")
    def who(self, row: Registration) -> str:
        return row.user.username if row.user else "unknown"

    @admin.display(description="Key")
    def key_name(self, row: Registration) -> str:
        return row.key.name if row.key else row.actor

    @admin.display(description="Made at MLflow (milliseconds since 1970)")
    def made(self, row: Registration) -> str:
        return str(row.created_ms or "-")

    @admin.display(description="Tags")
    def tags_shown(self, row: Registration) -> SafeString:
        return as_block(row.tags)

    @admin.display(description="Detail")
    def detail_shown(self, row: Registration) -> SafeString:
        return as_block(row.detail)

    @admin.display(description="Hokusai's tag rules, as the version's tags stand by now")
    def rules(self, row: Registration) -> str:
        if row.tag_rules is None or row.outcome not in Registration.EFFECTIVE:
            return "-"
        return str(compliance.now([row])[row.pk].finding)


def as_block(value: object) -> SafeString:
    return format_html("<pre>{}</pre>", json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True))
