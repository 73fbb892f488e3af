"""The usage log in the admin. Its pages are our own (`proxy.admin.call_pages`): Django's would count all rows."""

from django.contrib import admin
from django.http import HttpRequest
from django.urls import URLPattern, path
from unfold.admin import ModelAdmin

from proxy.admin import call_pages
from proxy.lists.listing import find_in
from proxy.models import Call


@admin.register(Call)
class CallAdmin(ModelAdmin):  # type: ignore[misc]
    """Read-only, for superusers too."""

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        find = call_pages.may_see(find_in("admin:proxy_call_changelist"))
        return [
            path("", wrap(call_pages.log), name="proxy_call_changelist"),
            path("find/", wrap(find), name="proxy_call_find"),
            path("export/", wrap(call_pages.export), name="proxy_call_export"),
            path("<path:object_id>/change/", wrap(call_pages.call), name="proxy_call_change"),
            *super().get_urls(),
        ]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Call | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Call | None = None) -> bool:
        return False
