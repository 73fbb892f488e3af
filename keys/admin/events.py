"""The admin's read-only lists of actions on keys and on users: what was done, by whom, from where."""

from typing import Any, cast

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, reverse
from django.utils.html import format_html
from unfold.contrib.filters.admin import TextFilter
from unfold.paginator import InfinitePaginator

from keys.actions.history import done_by_users, who_did
from keys.admin.columns import badge, lines
from keys.admin.filters import KeyOrganisationFilter, OnlyItsFilters, SpanFilter
from keys.admin.list_export import export_paths
from keys.formatting.moments import format_exact_time
from keys.lists.colours import EVENT_COLOURS
from keys.lists.columns import ADMIN_LOG_COLUMNS, EVENT_COLUMNS, describe_entry
from keys.lists.event_words import describe_actor, describe_event
from keys.models import KeyEvent, KeyEventQuerySet
from keys.rights.permissions import VIEW_KEY_EVENT

COLOURS = {kind.label: EVENT_COLOURS[kind.value] for kind in KeyEvent.Kind}


class WhoFilter(TextFilter):  # type: ignore[misc]
    title = "who did it"
    parameter_name = "who"

    def queryset(self, request: HttpRequest, queryset: QuerySet[KeyEvent]) -> QuerySet[KeyEvent]:
        text = (self.value() or "").replace("\0", "").strip()
        return queryset.filter(actor__username__icontains=text) if text else queryset


class AdminFilter(WhoFilter):
    def queryset(self, request: HttpRequest, queryset: QuerySet[LogEntry]) -> QuerySet[LogEntry]:  # type: ignore[override]
        text = (self.value() or "").replace("\0", "").strip()
        return done_by_users(queryset.filter(user__username__icontains=text)) if text else queryset


class ActionSpanFilter(SpanFilter):
    column = "action_time"


@admin.register(KeyEvent)
class KeyEventAdmin(OnlyItsFilters):
    list_display = ["time", "what", "key_link", "owner", "who", "address", "details"]
    list_display_links = None
    other_lookups = ("key__id__exact",)  # a key's page
    list_filter = ["kind", SpanFilter, WhoFilter, KeyOrganisationFilter]
    list_per_page = 50
    list_before_template = "admin/keys/keyevent/list_before.html"
    paginator = InfinitePaginator
    show_full_result_count = False
    sortable_by = ()
    ordering = ["-at", "-id"]
    search_fields = ["key__name", "key__public_id", "key__owner__username"]
    search_help_text = "Key's name, id or owner"
    fields = readonly_fields = ["time", "what", "key_link", "owner", "who", "address", "details"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[KeyEvent]:
        return KeyEvent.objects.with_people().order_by("-at", "-id")

    def get_search_results(
        self, request: HttpRequest, queryset: KeyEventQuerySet, search_term: str
    ) -> tuple[QuerySet[KeyEvent], bool]:
        return queryset.matching(search_term), False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: KeyEvent | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: KeyEvent | None = None) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        return [*export_paths(self, "key-activity", EVENT_COLUMNS), *super().get_urls()]

    @admin.display(description="Time (UTC)")
    def time(self, event: KeyEvent) -> str:
        return format_exact_time(event.at).removesuffix(" UTC")

    @badge(description="What", colours=COLOURS)
    def what(self, event: KeyEvent) -> str:
        return event.get_kind_display()

    @admin.display(description="Key")
    def key_link(self, event: KeyEvent) -> str:
        address = reverse("admin:keys_apikey_change", args=[event.key_id])
        return format_html('<a class="row-link" href="{}">{}</a>', address, event.key.name)

    @admin.display(description="Owner")
    def owner(self, event: KeyEvent) -> str:
        return event.key.owner.username

    @admin.display(description="Who did it")
    def who(self, event: KeyEvent) -> str:
        return describe_actor(event)

    @admin.display(description="Details")
    def details(self, event: KeyEvent) -> str:
        return format_html(
            "<div>{}</div>", lines(describe_event(event)) or "-"
        )  # one element, for the layout on narrow screens


@admin.register(LogEntry)
class LogEntryAdmin(OnlyItsFilters):
    """Actions of admins on users and owners: Django's own log, which our pages write to."""

    list_display = ["time", "who", "about", "what_it_is", "details"]
    list_display_links = None
    list_filter = [ActionSpanFilter, AdminFilter]
    list_per_page = 50
    list_select_related = ["user", "content_type"]
    list_before_template = "admin/keys/keyevent/list_before.html"
    paginator = InfinitePaginator
    show_full_result_count = False
    sortable_by = ()
    ordering = ["-action_time", "-pk"]
    search_fields = ["object_repr"]
    search_help_text = "Name of the user or object"
    fields = readonly_fields = list_display

    def get_urls(self) -> list[URLPattern]:
        return [*export_paths(self, "admin-log", ADMIN_LOG_COLUMNS), *super().get_urls()]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: LogEntry | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: LogEntry | None = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: LogEntry | None = None) -> bool:
        """The same permission as for the events of keys."""
        return request.user.has_perm(VIEW_KEY_EVENT)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        context = {"title": "Users and owners", **(extra_context or {})}
        return cast(HttpResponse, super().changelist_view(request, context))

    @admin.display(description="Time (UTC)")
    def time(self, entry: LogEntry) -> str:
        return format_exact_time(entry.action_time).removesuffix(" UTC")

    @admin.display(description="Who did it")
    def who(self, entry: LogEntry) -> str:
        return who_did(entry)

    @admin.display(description="About")
    def about(self, entry: LogEntry) -> str:
        return entry.object_repr

    @admin.display(description="Kind")
    def what_it_is(self, entry: LogEntry) -> str:
        return entry.content_type.name if entry.content_type else "-"

    @admin.display(description="Details")
    def details(self, entry: LogEntry) -> str:
        return describe_entry(entry)
