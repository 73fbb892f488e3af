"""What was done to keys, by whom and from where: for reading, by everybody who may see it."""

import csv
from collections.abc import Iterator
from typing import Any, cast

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import TextFilter
from unfold.paginator import InfinitePaginator

from keys.columns import badge, happening, lines
from keys.models import KeyEvent
from keys.moments import exactly

SEE = "keys.view_keyevent"
COLOURS = {
    "Issued": "success",
    "Changed": "info",
    "Paused": "warning",
    "Resumed": "success",
    "Rotated": "info",
    "Revoked": "danger",
}
CHUNK = 1000  # rows read at a time
COLUMNS = ["at", "what", "key_id", "key", "owner", "who", "address", "details"]


class WhoFilter(TextFilter):  # type: ignore[misc]
    title = "who did it"
    parameter_name = "who"

    def queryset(self, request: HttpRequest, queryset: QuerySet[KeyEvent]) -> QuerySet[KeyEvent]:
        text = (self.value() or "").replace("\0", "").strip()
        return queryset.filter(actor__username__icontains=text) if text else queryset


class AdminFilter(WhoFilter):
    def queryset(self, request: HttpRequest, queryset: QuerySet[LogEntry]) -> QuerySet[LogEntry]:  # type: ignore[override]
        text = (self.value() or "").replace("\0", "").strip()
        return queryset.filter(user__username__icontains=text) if text else queryset


@admin.register(KeyEvent)
class KeyEventAdmin(ModelAdmin):  # type: ignore[misc]
    list_display = ["time", "what", "key_link", "owner", "who", "address", "details"]
    list_display_links = None
    list_filter = ["kind", "at", WhoFilter]
    list_filter_submit = True
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

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: KeyEvent | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: KeyEvent | None = None) -> bool:
        return False

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """A key's page links to the key's history."""
        return lookup == "key__id__exact" or bool(super().lookup_allowed(lookup, value, request))

    def get_urls(self) -> list[URLPattern]:
        export = self.admin_site.admin_view(self.export)
        return [path("export/", export, name="keys_keyevent_export"), *super().get_urls()]

    def export(self, request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
        """What the list shows with these filters, whole, as CSV."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        events = self.get_changelist_instance(request).get_queryset(request)
        response = StreamingHttpResponse(written(events), content_type="text/csv; charset=utf-8")
        response["Content-Disposition"] = 'attachment; filename="key-activity.csv"'
        response["Cache-Control"] = "no-store"
        return response

    @admin.display(description="Time (UTC)")
    def time(self, event: KeyEvent) -> str:
        return exactly(event.at).removesuffix(" UTC")

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
        return event.actor.username if event.actor else "command line"

    @admin.display(description="Details")
    def details(self, event: KeyEvent) -> str:
        return format_html("<div>{}</div>", lines(happening(event)) or "-")  # one thing, on narrow screens


class Echo:
    """A file that gives back what is written to it."""

    def write(self, text: str) -> str:
        return text


def written(events: QuerySet[KeyEvent]) -> Iterator[str]:
    """The rows in pages by keyset: a slow reader holds no transaction open."""
    writer: Any = csv.writer(Echo())
    yield writer.writerow(COLUMNS)
    events, before = events.order_by("-pk"), 2**63 - 1
    while page := list(events.filter(pk__lt=before)[:CHUNK]):
        for event in page:
            yield writer.writerow(row(event))
        before = page[-1].pk


def row(event: KeyEvent) -> list[str]:
    return [
        event.at.isoformat(timespec="seconds"),
        event.kind,
        event.key.public_id,
        cell(event.key.name),
        cell(event.key.owner.username),
        cell(event.actor.username) if event.actor else "",
        event.address or "",
        cell("; ".join(happening(event))),
    ]


def cell(text: str) -> str:
    """A text as a spreadsheet shows it and does not compute it: names are anybody's choice."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r", "\n") else text


@admin.register(LogEntry)
class LogEntryAdmin(ModelAdmin):  # type: ignore[misc]
    """What admins did to users, and to what users own: Django's own log, which the pages write."""

    list_display = ["time", "who", "about", "what_it_is", "details"]
    list_display_links = None
    list_filter = ["action_time", AdminFilter]
    list_filter_submit = True
    list_per_page = 50
    list_select_related = ["user", "content_type"]
    list_before_template = "admin/keys/activity_tabs.html"
    paginator = InfinitePaginator
    show_full_result_count = False
    sortable_by = ()
    ordering = ["-action_time", "-pk"]
    search_fields = ["object_repr"]
    search_help_text = "Name of the user or object"
    fields = readonly_fields = list_display

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: LogEntry | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: LogEntry | None = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: LogEntry | None = None) -> bool:
        """Who may see what was done to keys."""
        return request.user.has_perm(SEE)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        context = {"title": "Users and owners", **(extra_context or {})}
        return cast(HttpResponse, super().changelist_view(request, context))

    @admin.display(description="Time (UTC)")
    def time(self, entry: LogEntry) -> str:
        return exactly(entry.action_time).removesuffix(" UTC")

    @admin.display(description="Who did it")
    def who(self, entry: LogEntry) -> str:
        return entry.user.get_username()

    @admin.display(description="About")
    def about(self, entry: LogEntry) -> str:
        return entry.object_repr

    @admin.display(description="Kind")
    def what_it_is(self, entry: LogEntry) -> str:
        return entry.content_type.name if entry.content_type else "-"

    @admin.display(description="Details")
    def details(self, entry: LogEntry) -> str:
        return entry.get_change_message() or entry.get_action_flag_display()
