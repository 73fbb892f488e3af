"""The admin's site: Unfold's, which finds out the list of apps only for a page that shows it."""

from typing import Any

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject
from unfold.sites import UnfoldAdminSite


class PortalAdminSite(UnfoldAdminSite):  # type: ignore[misc]
    """Django passes the list of apps to each page, with the addresses of all models. No page of this portal shows it:
    the sidebar has its own links (`portal.admin_theme`)."""

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> Any:
        find = super().get_app_list
        return SimpleLazyObject(lambda: find(request, app_label))
