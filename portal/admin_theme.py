"""The admin pages' look: colours, sidebar, badge. Read by Django's settings, so it imports none of our models."""

import ipaddress
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.urls import reverse
from django.utils.functional import lazy

from proxy.routes.ui_links import ROOT

STATIC, DASHBOARD = "/static/portal", "admin:index"
WEIGHTS = ("50", *(str(weight) for weight in range(100, 1000, 100)), "950")


def may_see(model: str) -> Callable[[Any], bool]:
    """Whether to show the link in the sidebar: who may change something may look at it too."""
    app, _, name = model.partition(".")

    def is_shown(request: Any) -> bool:
        return any(request.user.has_perm(f"{app}.{act}_{name}") for act in ("view", "change"))

    return is_shown


@cache
def find_address(page: str) -> str:
    """The address of a page by its name, looked up once: each page has all links of the sidebar."""
    return reverse(page)


find_address_later = lazy(find_address, str)  # these names are known only after the start


def link(title: str, icon: str, page: str, permission: Callable[[Any], bool]) -> dict[str, Any]:
    """An entry of the sidebar; `page`: its name among the admin's addresses."""

    def is_open(request: Any) -> bool:
        address = find_address(page)
        return bool(request.path == address if page == DASHBOARD else request.path.startswith(address))

    return {
        "title": title,
        "icon": icon,
        "link": find_address_later(page),
        "permission": permission,
        "active": is_open,
    }


def static(name: str) -> Callable[[Any], str]:
    """The address of a static file. As a function, because Unfold tries to import any text with a point in it."""
    return lambda request: f"{STATIC}/{name}"


def environment(request: Any) -> list[str]:
    """The badge on every page, so that nobody takes one portal for another: its text and colour."""
    if settings.DEBUG:
        return [f"{settings.ENVIRONMENT_NAME or 'debug'}", "danger"]
    host = urlsplit(settings.PUBLIC_URL).hostname or ""
    if settings.ENVIRONMENT_NAME:
        return [settings.ENVIRONMENT_NAME, "info"]
    return ["local", "info"] if is_loopback(host) else [host, "info"]


def is_loopback(host: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Hokusai Registry Portal",
    "SITE_HEADER": "Hokusai Registry",
    "SITE_SYMBOL": "key",
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": static("icon.svg")}],
    "STYLES": [static(f"{name}.css") for name in ("tokens", "parts", "admin")],
    "ENVIRONMENT": "portal.admin_theme.environment",
    "DASHBOARD_CALLBACK": "portal.pages.dashboard.callback",
    "BORDER_RADIUS": "var(--radius-control)",
    # The design tokens (portal/static/portal/tokens.css), under the names that Unfold gives them.
    "COLORS": {
        "base": {weight: f"var(--grey-{weight})" for weight in WEIGHTS},
        "primary": {weight: f"var(--blue-{weight})" for weight in WEIGHTS},
        "font": {
            f"{name}-{theme}": f"var(--{token})"
            for name, token in (("default", "text"), ("subtle", "subtle"), ("important", "strong"))
            for theme in ("light", "dark")
        },
    },
    # By task, the most frequent first.
    "SIDEBAR": {
        "show_search": True,
        "navigation": [
            {
                "items": [
                    link("Dashboard", "monitoring", DASHBOARD, lambda request: True),
                    link("Keys", "key", "admin:keys_apikey_changelist", may_see("keys.apikey")),
                    link("Users", "group", "admin:keys_user_changelist", may_see("keys.user")),
                    link(
                        "Organisations",
                        "corporate_fare",
                        "admin:keys_organisation_changelist",
                        may_see("keys.organisation"),
                    ),
                    link(
                        "Trusts", "fingerprint", "admin:keys_trust_changelist", may_see("keys.organisation")
                    ),
                    link("Group rules", "account_tree", "group-rules", may_see("keys.organisation")),
                    link(
                        "Registrations",
                        "verified",
                        "admin:proxy_registration_changelist",
                        may_see("proxy.registration"),
                    ),
                    link("Usage log", "swap_vert", "admin:proxy_call_changelist", may_see("proxy.call")),
                    link("Usage", "bar_chart", "usage-report", may_see("proxy.call")),
                    link("Owners", "inventory_2", "admin:proxy_owner_changelist", may_see("proxy.owner")),
                    {"title": "MLflow", "icon": "science", "link": ROOT, "active": lambda request: False},
                    link("Alerts", "notifications", "alerts", may_see("keys.apikey")),
                    link("Activity", "history", "admin:keys_keyevent_changelist", may_see("keys.keyevent")),
                    link(
                        "Settings in force",
                        "tune",
                        "settings-in-force",
                        lambda request: request.user.is_superuser,
                    ),
                ],
            },
        ],
    },
}
