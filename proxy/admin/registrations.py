"""The ledger of registrations in the admin. Its pages are our own (`proxy.admin.registration_pages`)."""

from django.contrib import admin
from django.http import HttpRequest
from django.urls import URLPattern, path
from unfold.admin import ModelAdmin

from proxy.admin import registration_pages as pages
from proxy.lists.listing import find_in
from proxy.models import Registration


@admin.register(Registration)
class RegistrationAdmin(ModelAdmin):  # type: ignore[misc]
    """Read-only, for superusers too. PostgreSQL enforces this with triggers."""

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        find = pages.may_see(find_in("admin:proxy_registration_changelist"))
        return [
            path("", wrap(pages.ledger), name="proxy_registration_changelist"),
            path("find/", wrap(find), name="proxy_registration_find"),
            path("export/", wrap(pages.export), name="proxy_registration_export"),
            path("model/", wrap(pages.model), name="proxy_registration_model"),
            path("<path:object_id>/change/", wrap(pages.registration), name="proxy_registration_change"),
            *super().get_urls(),
        ]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Registration | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Registration | None = None) -> bool:
        return False
