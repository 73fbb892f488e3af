"""Admin pages for users and their keys.

Keys are never edited by the generic forms: one is issued and revoked on pages of its own, which call
`keys.actions`. The secret is in the answer to the POST that issued it and nowhere else.
"""

import datetime
from collections.abc import Callable
from typing import Any, TypeVar, cast

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, Permission
from django.core.exceptions import PermissionDenied
from django.db import models, transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import display
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from keys import actions, tokens
from keys.addresses import client_address
from keys.forms import IssueForm, RevokeForm
from keys.models import ApiKey, KeyEvent, User

STATE_COLOURS = {
    "active": "success",
    "rotating": "info",
    "paused": "warning",
    "expired": "warning",
    "revoked": "danger",
}
REMEMBERED_FORMS = 100
SESSION_NAME = "issued_forms"

# What the pages check, in words; no other permission means anything here.
PERMISSIONS = {
    "view_apikey": "See keys and their history",
    "add_apikey": "Issue keys",
    "change_apikey": "Revoke keys",
    "view_call": "See everybody's calls",
    "view_user": "See users",
    "add_user": "Add users",
    "change_user": "Change users who are not staff",
}

admin.site.unregister(Group)  # permissions are given to users


Method = TypeVar("Method", bound=Callable[..., str])


def badge(
    *, description: str, colours: dict[str, str], ordering: str | None = None
) -> Callable[[Method], Method]:
    """The column's text as a badge; `colours` by text, in unfold's terms (`success`, `danger`, …)."""
    return cast(
        Callable[[Method], Method], display(description=description, label=colours, ordering=ordering)
    )


def moment(at: datetime.datetime | None, *, otherwise: str = "-") -> str:
    """A time as the pages show it: to the minute, in UTC."""
    return f"{at:%Y-%m-%d %H:%M} UTC" if at else otherwise


def state_label(key: ApiKey) -> str:
    """The key's state as the lists show it, for pages where unfold shows plain text."""
    return render_to_string(
        "unfold/helpers/label.html", {"text": str(key.state), "type": STATE_COLOURS[key.state]}
    )


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
    fields = readonly_fields = ["when", "what", "who", "address", "reason"]

    def has_view_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return True  # whoever sees the key sees what happened to it

    def get_queryset(self, request: HttpRequest) -> QuerySet[KeyEvent]:
        return cast("QuerySet[KeyEvent]", super().get_queryset(request).select_related("actor"))

    @admin.display(description="When")
    def when(self, event: KeyEvent) -> str:
        return moment(event.at)

    @admin.display(description="What")
    def what(self, event: KeyEvent) -> str:
        return event.get_kind_display()

    @admin.display(description="Who")
    def who(self, event: KeyEvent) -> str:
        return event.actor.username if event.actor else "command line"

    @admin.display(description="Reason")
    def reason(self, event: KeyEvent) -> str:
        return str(event.detail.get("reason") or "-")


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(ApiKey.State.choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> QuerySet[ApiKey]:
        """The keys whose `state` is the chosen one: of the states that apply to a key, the first counts."""
        now = timezone.now()
        states = {
            "revoked": Q(revoked_at__isnull=False),
            "expired": Q(expires_at__isnull=False, expires_at__lte=now),
            "paused": Q(paused_at__isnull=False),
            "rotating": Q(previous_ends_at__isnull=False, previous_ends_at__gt=now),
            "active": Q(),
        }
        if (chosen := self.value()) not in states:
            return queryset
        for state, condition in states.items():
            if state == chosen:
                break
            queryset = queryset.exclude(condition)
        return queryset.filter(condition)


@admin.register(ApiKey)
class ApiKeyAdmin(ModelAdmin):  # type: ignore[misc]
    list_display = [
        "name",
        "masked_key",
        "owner_name",
        "state_badge",
        "environment",
        "created_on",
        "expires_on",
        "issuer",
    ]
    list_filter = [StateFilter, "environment"]
    list_select_related = ["owner", "created_by"]
    list_per_page = 50
    search_fields = ["name", "owner__username", "prefix", "last4", "public_id"]
    search_help_text = "Name, owner, first or last characters, id"
    fieldsets = [
        (
            None,
            {"fields": ["name", "state", "masked_key", "public_id", "owner_name", "purpose", "environment"]},
        ),
        ("Dates", {"fields": ["created", "issuer", "expires", "revoked"]}),
    ]
    readonly_fields = ["state", "masked_key", "owner_name", "created", "issuer", "expires", "revoked"]
    inlines = [KeyEventInline]

    def has_change_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        return any(request.user.has_perm(f"keys.{act}_apikey") for act in ("view", "change"))

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("keys.change_apikey")

    def get_form(
        self, request: HttpRequest, obj: ApiKey | None = None, change: bool = False, **options: Any
    ) -> Any:
        """Without the help for filling it in: it is only read."""
        return super().get_form(request, obj, change, help_texts={"name": "", "purpose": ""}, **options)

    def get_urls(self) -> list[URLPattern]:
        revoke = self.admin_site.admin_view(self.revoke_view)
        return [path("<int:pk>/revoke/", revoke, name="keys_apikey_revoke"), *super().get_urls()]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[ApiKey], search_term: str
    ) -> tuple[QuerySet[ApiKey], bool]:
        """A masked key copied from a page (`hk_live_AbCd…wXyZ`) finds its key too."""
        found = super().get_search_results(request, queryset, search_term.replace("…", " "))
        return cast("tuple[QuerySet[ApiKey], bool]", found)

    @admin.display(description="Key", ordering="prefix")
    def masked_key(self, key: ApiKey) -> str:
        return format_html('<code class="masked">{}</code>', key.masked)

    @admin.display(description="Owner", ordering="owner__username")
    def owner_name(self, key: ApiKey) -> str:
        return key.owner.username if key.owner.is_active else f"{key.owner.username} (deactivated)"

    @badge(description="State", colours=STATE_COLOURS)
    def state_badge(self, key: ApiKey) -> str:
        return key.state

    @admin.display(description="State")
    def state(self, key: ApiKey) -> str:
        return state_label(key)

    @admin.display(description="Created", ordering="created_at")
    def created_on(self, key: ApiKey) -> str:
        return f"{key.created_at:%Y-%m-%d}"

    @admin.display(description="Expires", ordering="expires_at")
    def expires_on(self, key: ApiKey) -> str:
        return f"{key.expires_at:%Y-%m-%d}" if key.expires_at else "Never"

    @admin.display(description="Created")
    def created(self, key: ApiKey) -> str:
        return moment(key.created_at)

    @admin.display(description="Expires")
    def expires(self, key: ApiKey) -> str:
        return moment(key.expires_at, otherwise="Never")

    @admin.display(description="Revoked")
    def revoked(self, key: ApiKey) -> str:
        return moment(key.revoked_at)

    @admin.display(description="Created by", ordering="created_by__username")
    def issuer(self, key: ApiKey) -> str:
        return key.created_by.username if key.created_by else "command line"

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Issue a key: the form, and in the answer to its POST the secret, this once."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = IssueForm(request.POST if request.method == "POST" else None)
        if request.method != "POST" or not form.is_valid():
            return self.page(request, "issue.html", title="Issue a key", form=form)
        key, token = issue_once(request, form)
        title = "Key issued" if token else "This key was issued already"
        return self.page(request, "issued.html", title=title, key=key, token=token)

    def revoke_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Ask whether to revoke the key; do it when the form comes back with the key's name."""
        if not self.has_revoke_permission(request):
            raise PermissionDenied
        key = get_object_or_404(ApiKey.objects.with_owner(), pk=pk)
        form = RevokeForm(request.POST if request.method == "POST" else None, key=key)
        if key.revoked_at:
            messages.info(request, f"“{key.name}” was revoked already.")
        elif request.method != "POST" or not form.is_valid():
            return self.page(request, "revoke.html", title="Revoke a key", form=form, key=key)
        else:
            actions.revoke(key=key, reason=form.cleaned_data["reason"], **made_by(request))
            messages.success(request, f"“{key.name}” is revoked. Calls with it are refused from now on.")
        return redirect("admin:keys_apikey_change", key.pk)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        context = {"may_revoke": self.has_revoke_permission(request), **(extra_context or {})}
        return cast(HttpResponse, super().change_view(request, object_id, form_url, context))

    def page(self, request: HttpRequest, template: str, **context: Any) -> HttpResponse:
        """One of the pages beside Django's own, in their frame. Never stored by browsers or proxies."""
        frame = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "public_url": settings.PUBLIC_URL,
        }
        response = render(request, f"admin/keys/apikey/{template}", {**frame, **context})
        response["Cache-Control"] = "no-store"
        return response


def made_by(request: HttpRequest) -> dict[str, Any]:
    """Who does it, and from where, for `keys.actions`."""
    address = client_address(request.META, trusted_proxies=settings.TRUSTED_PROXIES)
    return {"actor": request.user, "address": address or None}


@transaction.atomic
def issue_once(request: HttpRequest, form: IssueForm) -> tuple[ApiKey, tokens.Token | None]:
    """The key that this form issues, with its secret; without it if the form was sent before.

    The session remembers which forms were used. It is read and written while the user's row is locked:
    the second of two clicks waits for the first. The secret leaves as a Token, whose `repr` hides it from
    exception pages.
    """
    User.objects.select_for_update().get(pk=cast(User, request.user).pk)
    session = type(request.session)(request.session.session_key)
    issued: dict[str, int] = session.get(SESSION_NAME, {})
    form_id = form.cleaned_data["form_id"]
    if form_id in issued:
        return ApiKey.objects.with_owner().get(pk=issued[form_id]), None
    fields = {name: form.cleaned_data[name] for name in ("owner", "name", "purpose", "environment")}
    key, secret = actions.issue(**fields, expires_at=form.expires_at(), **made_by(request))
    session[SESSION_NAME] = dict([*issued.items(), (form_id, key.pk)][-REMEMBERED_FORMS:])
    session.save()
    return key, tokens.parse(secret)


class ApiKeyInline(ReadOnlyInline):
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
        return moment(key.expires_at, otherwise="Never")


class PermissionsField(forms.ModelMultipleChoiceField):
    def label_from_instance(self, obj: models.Model) -> str:
        return PERMISSIONS[cast(Permission, obj).codename]


@admin.register(User)
class UserAdmin(DjangoUserAdmin, ModelAdmin):  # type: ignore[misc]
    """Users are deactivated, never deleted: their keys and calls stay in the records."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ["username", "public_id", "account", "role", "last_sign_in"]
    list_filter = ["is_active", "is_staff", "is_superuser"]
    list_per_page = 50
    search_fields = ["username", "public_id"]
    search_help_text = "Name or id"
    ordering = ["username"]
    filter_horizontal = []
    fieldsets = [
        (None, {"fields": ["username", "public_id", "password"]}),
        ("Account", {"fields": ["is_active", "is_staff", "is_superuser", "user_permissions"]}),
    ]
    readonly_fields = ["public_id"]

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Only superusers change staff: whoever sets a password or a flag there has that person's rights."""
        if obj and (obj.is_staff or obj.is_superuser) and not self.is_superuser(request):
            return False
        return bool(super().has_change_permission(request, obj))

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return False

    def is_superuser(self, request: HttpRequest) -> bool:
        return cast(User, request.user).is_superuser

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> list[str]:
        if self.is_superuser(request):
            return self.readonly_fields
        return [*self.readonly_fields, "is_staff", "is_superuser", "user_permissions"]

    def get_inlines(self, request: HttpRequest, obj: User | None) -> list[Any]:
        return [ApiKeyInline] if obj else []

    def formfield_for_manytomany(
        self, db_field: "models.ManyToManyField[Any, Any]", request: HttpRequest, **options: Any
    ) -> Any:
        if db_field.name == "user_permissions":
            known = Permission.objects.filter(
                codename__in=PERMISSIONS, content_type__app_label__in=("keys", "proxy")
            )
            options |= {
                "form_class": PermissionsField,
                "queryset": known.order_by("content_type__app_label", "content_type__model", "pk"),
                "widget": UnfoldAdminCheckboxSelectMultipleWidget,
                "help_text": "What a staff member may do in these pages. Superusers may do everything.",
            }
        return super().formfield_for_manytomany(db_field, request, **options)

    @badge(
        description="Account", ordering="is_active", colours={"active": "success", "deactivated": "danger"}
    )
    def account(self, user: User) -> str:
        return "active" if user.is_active else "deactivated"

    @badge(description="Role", colours={"superuser": "primary", "staff": "info"})
    def role(self, user: User) -> str:
        if user.is_superuser:
            return "superuser"
        return "staff" if user.is_staff else "key holder"

    @admin.display(description="Last sign-in", ordering="last_login")
    def last_sign_in(self, user: User) -> str:
        return moment(user.last_login, otherwise="Never")
