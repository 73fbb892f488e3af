"""How the admin pages show a key: times, states and rights in words."""

import datetime
from collections.abc import Callable
from typing import TypeVar, cast

from django.contrib import admin
from django.db import models
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.admin import TabularInline
from unfold.decorators import display

from keys.formatting.moments import format_time
from keys.lists.colours import SHOWN_STATE_COLOURS
from keys.lists.event_words import describe_actor, describe_event
from keys.lists.states import shown_state
from keys.models import ApiKey, KeyEvent
from keys.rights.scopes import ACTS, AREA_LABELS, find_preset
from keys.templatetags.moments import time_tag

Method = TypeVar("Method", bound=Callable[..., str])


def badge(
    *, description: str, colours: dict[str, str], ordering: str | models.Case | None = None
) -> Callable[[Method], Method]:
    """The column's text as a badge; `colours` by text, in unfold's terms (`success`, `danger`, …)."""
    return cast(
        Callable[[Method], Method], display(description=description, label=colours, ordering=ordering)
    )


def render_time(at: datetime.datetime | None, *, otherwise: str = "Never") -> str:
    """The time relative to now, with the exact time and its zone on hover."""
    return time_tag(at) if at else otherwise


def use(at: datetime.datetime | None, address: str | None, client: str) -> str:
    """A use of a secret: "2026-11-23 16:40 UTC from 192.0.2.7 with mlflow-python-client/3.17"."""
    if at is None:
        return "never"
    return f"{format_time(at)}{f' from {address}' if address else ''}{f' with {client}' if client else ''}"


def state_label(key: ApiKey) -> str:
    """The key's state as the lists show it, for pages where unfold shows plain text."""
    state = shown_state(key)
    return render_to_string("unfold/helpers/label.html", {"text": state, "type": SHOWN_STATE_COLOURS[state]})


def lines(texts: list[str]) -> SafeString:
    """Each text on a line of its own."""
    return format_html_join("", '<span class="line">{}</span>', ((text,) for text in texts))


def codes(texts: list[str], *, otherwise: str) -> str:
    """Each text on a line of its own, as code; `otherwise` if there is none."""
    return format_html_join("", '<code class="line">{}</code>', ((text,) for text in texts)) or otherwise


def scopes_title(scopes: list[str]) -> str:
    """The preset's name, or what the scopes allow in a few words: "Read tracking, registry; delete traces"."""
    if preset := find_preset(scopes):
        return preset.value.capitalize()
    parts = []
    for act, verb in ACTS.items():
        areas = [area for area in AREA_LABELS if f"{area}:{act}" in scopes]
        if areas:
            parts.append(f"{verb.lower()} {', '.join(areas)}")
    text = "; ".join(parts)
    return text[:1].upper() + text[1:]


class ReadOnlyInline(TabularInline):  # type: ignore[misc]
    extra = 0
    can_delete = False
    hide_title = True

    def has_add_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return False


class KeyEventInline(ReadOnlyInline):
    """The key's history, newest first."""

    model = KeyEvent
    verbose_name_plural = "History"
    fields = readonly_fields = ["when", "what", "details", "who", "address"]

    def has_view_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return True  # everyone who may see the key may see its history

    def get_queryset(self, request: HttpRequest) -> "models.QuerySet[KeyEvent]":
        return cast("models.QuerySet[KeyEvent]", super().get_queryset(request).select_related("actor"))

    @admin.display(description="When")
    def when(self, event: KeyEvent) -> str:
        return format_time(event.at)

    @admin.display(description="What")
    def what(self, event: KeyEvent) -> str:
        return event.get_kind_display()

    @admin.display(description="Details")
    def details(self, event: KeyEvent) -> str:
        return lines(describe_event(event)) or "-"

    @admin.display(description="Who")
    def who(self, event: KeyEvent) -> str:
        return describe_actor(event)


class ApiKeyInline(ReadOnlyInline):
    """A user's keys, on the user's page."""

    model = ApiKey
    fk_name = "owner"
    verbose_name_plural = "Keys"
    fields = readonly_fields = ["key_link", "masked", "state_badge", "environment", "expires"]
    per_page = 20

    @admin.display(description="Name")
    def key_link(self, key: ApiKey) -> str:
        address = reverse("admin:keys_apikey_change", args=[key.pk])
        return format_html(
            '<a class="text-primary-600 dark:text-primary-500" href="{}">{}</a>', address, key.name
        )

    @admin.display(description="Key")
    def masked(self, key: ApiKey) -> str:
        return format_html('<code class="masked">{}</code>', key.masked)

    @admin.display(description="State")
    def state_badge(self, key: ApiKey) -> str:
        return state_label(key)

    @admin.display(description="Expires")
    def expires(self, key: ApiKey) -> str:
        return format_time(key.expires_at, otherwise="Never")
