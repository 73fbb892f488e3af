"""Admin pages for keys.

Django's generic forms never edit keys: each action has a page of its own in `keys.admin.key_actions`.
"""

from typing import Any, cast

from django.contrib import admin
from django.db.models import Case, QuerySet, When
from django.db.models.functions import Coalesce, Now
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.html import format_html
from unfold.views import ChangeList

from keys.admin import key_actions, key_page, prepared_pages, request_pages
from keys.admin.columns import (
    badge,
    codes,
    lines,
    render_time,
    scopes_title,
    state_label,
    use,
)
from keys.admin.filters import (
    ExpiringFilter,
    OnlyItsFilters,
    OrganisationFilter,
    OwnerFilter,
    StateFilter,
    UnusedFilter,
)
from keys.admin.list_export import export_paths
from keys.credentials import tokens
from keys.formatting.moments import format_time
from keys.lists.colours import SHOWN_STATE_COLOURS
from keys.lists.columns import KEY_COLUMNS, limits_of
from keys.lists.states import shown_state, with_leaks
from keys.models import ApiKey, ApiKeyQuerySet, KeyEvent
from keys.pages.frame import redirect_see_other
from keys.pages.keys import can_see_keys
from keys.rights.scopes import describe_scopes
from keys.templatetags.moments import format_relative

BY_STATE = Case(
    When(revoked_at__isnull=False, then=4),
    When(expires_at__lte=Now(), then=3),
    When(paused_at__isnull=False, then=2),
    When(previous_ends_at__gt=Now(), then=1),
    default=0,
)


class KeyList(ChangeList):  # type: ignore[misc]
    """The list, which counts the calls of the keys on the page. PostgreSQL would count those of all pages before it,
    too."""

    result_list: Any

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        numbers = list(self.result_list.values_list("pk", flat=True))
        rows = self.queryset.filter(pk__in=numbers).order_by().in_bulk()
        self.result_list = [rows[number] for number in numbers if number in rows]


@admin.register(ApiKey)
class ApiKeyAdmin(OnlyItsFilters):
    list_display = [
        "name_and_key",
        "owner_name",
        "organisation_slug",
        "state_badge",
        "may",
        "calls_30_days",
        "own_limits",
        "last_used_on",
        "expires_on",
        "created_on",
    ]
    other_lookups = ("owner__id__exact",)  # a user's page
    list_filter = [StateFilter, "environment", ExpiringFilter, UnusedFilter, OrganisationFilter, OwnerFilter]
    list_select_related = ["owner", "organisation", "created_by"]
    list_per_page = 50
    list_before_template = "admin/keys/apikey/list_before.html"
    search_fields = ["name", "owner__username", "prefix", "last4", "public_id"]
    search_help_text = "Name, owner, id, key or its ends"

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiKey]:
        return with_leaks(cast(ApiKeyQuerySet, super().get_queryset(request)).with_calls())

    def get_changelist(self, request: HttpRequest, **options: Any) -> type[KeyList]:
        return KeyList

    def has_change_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        return can_see_keys(request)

    def get_form(
        self, request: HttpRequest, obj: ApiKey | None = None, change: bool = False, **options: Any
    ) -> Any:
        """The form without help texts, since the page is read-only."""
        return super().get_form(request, obj, change, help_texts={"name": "", "purpose": ""}, **options)

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        own = [
            path(f"<int:pk>/{name}/", wrap(view), name=f"keys_apikey_{name}")
            for name, view in key_actions.KEY_PAGES.items()
        ]
        return [
            path("", self.list_view, name="keys_apikey_changelist"),
            path("find/", wrap(key_actions.find), name="keys_apikey_find"),
            path("requests/", wrap(request_pages.requests_list), name="keys_apikey_requests"),
            path("requests/<int:pk>/", wrap(request_pages.decide), name="keys_apikey_request"),
            path(
                "requests/<int:pk>/approve/", wrap(request_pages.approve), name="keys_apikey_approve_request"
            ),
            path("prepared/", wrap(prepared_pages.waiting), name="keys_apikey_prepared"),
            path(
                "prepared/<int:pk>/withdraw/",
                wrap(prepared_pages.withdraw),
                name="keys_apikey_withdraw_prepared",
            ),
            path("prepared/<int:pk>/renew/", wrap(prepared_pages.renew), name="keys_apikey_renew_prepared"),
            *export_paths(self, "keys", KEY_COLUMNS),
            *own,
            *super().get_urls(),
        ]

    def list_view(self, request: HttpRequest) -> HttpResponse:
        """The list. A whole key in the search's URL (`key_actions.find` puts none there) is removed from it before a
        redirect to the sign-in page could repeat it."""
        if not tokens.KEY_LIKE_PATTERN.search(request.GET.get("q", "")):
            return cast(HttpResponse, self.admin_site.admin_view(self.changelist_view)(request))
        if self.admin_site.has_permission(request) and can_see_keys(request):
            return key_actions.to_key_of_secret(request, request.GET)
        return redirect_see_other(request.path)

    def get_search_results(
        self,
        request: HttpRequest,
        queryset: ApiKeyQuerySet,
        search_term: str,
    ) -> tuple[QuerySet[ApiKey], bool]:
        return queryset.matching(search_term), False

    def get_fieldsets(self, request: HttpRequest, obj: ApiKey | None = None) -> Any:
        use = ["last_used"] if obj is None or obj.previous_ends_at is None else ["last_used", "old_secret"]
        dates = ["created", "issuer", "expires"]
        if obj and obj.paused_at:
            dates.append("paused")
        if obj and obj.revoked_at:
            dates.append("revoked")
        about = ["name", "state", "masked_key", "public_id", "owner_name", "organisation_slug"]
        about += ["purpose", "environment"]
        if obj and obj.is_canary:
            about.insert(2, "canary")
        return [
            (None, {"fields": about}),
            ("Rights", {"fields": ["rights", "any_owner_words", "from_networks", "model_names"]}),
            ("Use", {"fields": use}),
            ("Dates", {"fields": dates}),
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> list[str]:
        sets = self.get_fieldsets(request, obj)
        return [name for _, options in sets for name in options["fields"]]

    @admin.display(description="Key", ordering="prefix")
    def masked_key(self, key: ApiKey) -> str:
        return format_html('<code class="masked">{}</code>', key.masked)

    @admin.display(description="Name", ordering="name")
    def name_and_key(self, key: ApiKey) -> str:
        return format_html('{} <code class="masked line">{}</code>', key.name, key.masked)

    @admin.display(description="Owner", ordering="owner__username")
    def owner_name(self, key: ApiKey) -> str:
        return key.owner.username if key.owner.is_active else f"{key.owner.username} (deactivated)"

    @admin.display(description="Organisation", ordering="organisation__slug")
    def organisation_slug(self, key: ApiKey) -> str:
        return key.organisation.slug

    @badge(description="Status", colours=SHOWN_STATE_COLOURS, ordering=BY_STATE)
    def state_badge(self, key: ApiKey) -> str:
        return shown_state(key)

    @admin.display(description="Status")
    def state(self, key: ApiKey) -> str:
        return state_label(key)

    @admin.display(description="Rights")
    def may(self, key: ApiKey) -> str:
        if key.is_canary:
            return "Canary: grants no access"
        return scopes_title(key.scopes) + (
            ", any owner" if key.any_owner else ", only own" if key.only_own else ""
        )

    @admin.display(description="Calls, 30 days", ordering=Coalesce("calls_in_month", 0))
    def calls_30_days(self, key: ApiKey) -> str:
        return f"{key.calls_in_month or 0:,}"  # type: ignore[attr-defined]

    @admin.display(description="Limits", ordering="requests_per_minute")
    def own_limits(self, key: ApiKey) -> str:
        """The limits of the key itself, and the networks that it works from."""
        networks = [f"from {network}" for network in key.networks[:2]]
        rest = [f"and {len(key.networks) - 2} networks more"] if len(key.networks) > 2 else []
        return lines([*limits_of(key), *networks, *rest]) or "Default"

    @admin.display(description="Created", ordering="created_at")
    def created_on(self, key: ApiKey) -> str:
        return render_time(key.created_at)

    @admin.display(description="Canary")
    def canary(self, key: ApiKey) -> str:
        return "Yes: it grants no access, is refused as an unknown key, and each use raises an alert"

    @admin.display(description="What it may do")
    def rights(self, key: ApiKey) -> str:
        return lines([f"{scopes_title(key.scopes)}:", *describe_scopes(key.scopes)])

    @admin.display(description="Owners")
    def any_owner_words(self, key: ApiKey) -> str:
        if key.any_owner:
            return "Any owner: it may also write objects that belong to others, or to nobody"
        if key.organisation.is_shared or key.only_own:
            return f"It may write only objects that belong to {key.owner.username}"
        return f"It may write objects that members of {key.organisation.slug} created"

    @admin.display(description="Networks")
    def from_networks(self, key: ApiKey) -> str:
        return codes(key.networks, otherwise="From anywhere")

    @admin.display(description="Model names")
    def model_names(self, key: ApiKey) -> str:
        return codes(key.patterns, otherwise="Any name")

    @admin.display(description="Last used", ordering="last_used_at")
    def last_used_on(self, key: ApiKey) -> str:
        return render_time(key.used_at)

    @admin.display(description="Last used")
    def last_used(self, key: ApiKey) -> str:
        if key.used_at is None:
            return "Never"
        if key.last_used_at is None or key.used_at > key.last_used_at:
            before = use(key.previous_used_at, key.previous_used_address, key.previous_used_client)
            return f"{before}, with the secret before the last rotation"
        return use(key.last_used_at, key.last_used_address, key.last_used_client)

    @admin.display(description="Old secret")
    def old_secret(self, key: ApiKey) -> str:
        """The secret from before the last rotation: when it ends, and whether somebody still uses it."""
        assert key.previous_ends_at is not None  # noqa: S101  shown only then
        ends_at = min(key.previous_ends_at, key.revoked_at or key.previous_ends_at)
        verb = "ends" if ends_at > timezone.now() else "ended"
        used_at = key.previous_used_at
        last_use = use(used_at, key.previous_used_address, key.previous_used_client)
        rotation = key.events.filter(kind=KeyEvent.Kind.ROTATED).first()
        since = "not since the rotation"
        if used_at and rotation and used_at > rotation.at:
            since = "since the rotation" if verb == "ended" else "still in use since the rotation"
        return format_html(
            '<span class="line"><code class="masked">{}</code> {} on {}</span>'
            '<span class="line">Last used: {}{}</span>',
            key.previous_masked,
            verb,
            format_time(ends_at),
            last_use,
            f" ({since})" if used_at else "",
        )

    @admin.display(description="Expires", ordering="expires_at")
    def expires_on(self, key: ApiKey) -> str:
        if key.expires_soon:
            return format_html('<span class="badge warning">{}</span>', render_time(key.expires_at))
        return render_time(key.expires_at)

    @admin.display(description="Created")
    def created(self, key: ApiKey) -> str:
        return format_time(key.created_at)

    @admin.display(description="Expires")
    def expires(self, key: ApiKey) -> str:
        if key.expires_at and key.expires_soon:
            words = f"{format_time(key.expires_at)} ({format_relative(key.expires_at)})"
            return format_html('<span class="badge warning">{}</span>', words)
        return format_time(key.expires_at, otherwise="Never")

    @admin.display(description="Paused")
    def paused(self, key: ApiKey) -> str:
        return format_time(key.paused_at)

    @admin.display(description="Revoked")
    def revoked(self, key: ApiKey) -> str:
        return format_time(key.revoked_at) + (f": {key.revoked_reason}" if key.revoked_reason else "")

    @admin.display(description="Created by", ordering="created_by__username")
    def issuer(self, key: ApiKey) -> str:
        return key.created_by.username if key.created_by else "command line"

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return key_actions.issue(request)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        key = self.get_object(request, object_id)
        context = key_page.build_context(request, key) if key else {}
        context |= extra_context or {}
        return cast(HttpResponse, super().change_view(request, object_id, form_url, context))
