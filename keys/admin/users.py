"""Admin pages for users."""

from importlib import import_module
from typing import Any, cast

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialToken
from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, Permission
from django.db import models
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from unfold.forms import AdminPasswordChangeForm, UserChangeForm
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminEmailInputWidget,
    UnfoldAdminRadioSelectWidget,
)

from keys import actions
from keys.actions import ActionError
from keys.actions.accounts import check_superuser_remains, find_permissions
from keys.admin import invitation_pages, user_actions
from keys.admin.columns import ApiKeyInline, badge, render_time
from keys.admin.filters import OnlyItsFilters, RoleFilter
from keys.admin.key_page import chart
from keys.admin.list_export import export_paths
from keys.formatting.sentences import to_sentence
from keys.lists.colours import ACCOUNT_COLOURS
from keys.lists.columns import USER_COLUMNS
from keys.models import ApiKey, PreparedKey, User, users_matching
from keys.pages.frame import actor_of
from keys.rights import permissions
from keys.rights.roles import Role

for _app in ("account", "mfa", "socialaccount"):
    import_module(f"allauth.{_app}.admin")  # registers what is unregistered here
admin.site.unregister(Group)  # fixed, and defined in `keys.rights.groups`; a user's role chooses one
for _model in (Authenticator, EmailAddress, SocialAccount, SocialApp, SocialToken):
    admin.site.unregister(_model)  # django-allauth's: users manage their own on the account pages
RAISING = ["role", "user_permissions"]  # only superusers may change these


def has_open_link(user: User) -> bool:
    return user.invitations.filter(accepted_at=None, withdrawn_at=None).exists()


class PermissionsField(forms.ModelMultipleChoiceField):
    def label_from_instance(self, obj: models.Model) -> str:
        return permissions.DESCRIPTIONS[cast(Permission, obj).codename]


class UserForm(UserChangeForm):  # type: ignore[misc]
    email = forms.EmailField(
        label="E-mail",
        required=False,
        widget=UnfoldAdminEmailInputWidget(attrs={"autocomplete": "off"}),
        help_text="Where alerts about their keys and links to a new password go. A provider's sign-in that has "
        "verified this address is this user's.",
    )

    role = forms.ChoiceField(
        choices=[(role.value, f"{role.label.capitalize()}: {role.description}") for role in Role],
        widget=UnfoldAdminRadioSelectWidget,
    )

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if "role" in self.fields:  # the form of a superuser
            self.fields["role"].initial = self.instance.role.value

    def clean_email(self) -> str:
        email = str(self.cleaned_data["email"])
        if email and User.objects.filter(email__iexact=email).exclude(pk=self.instance.pk).exists():
            raise forms.ValidationError("Another user has this e-mail address.")
        return email

    def clean(self) -> dict[str, Any]:
        """Without single permissions where the role does not take them: they had no effect before."""
        answers = super().clean() or {}
        if "role" not in answers or "user_permissions" not in answers:
            return answers
        role = Role(answers["role"])
        if not role.takes_permissions:
            answers["user_permissions"] = Permission.objects.none()
        try:
            if role is not Role.SUPERUSER:
                check_superuser_remains(self.instance)
            find_permissions(role, {permission.codename for permission in answers["user_permissions"]})
        except ActionError as error:
            self.add_error("role", to_sentence(error))
        return answers


@admin.register(User)
class UserAdmin(DjangoUserAdmin, OnlyItsFilters):
    """Users are deactivated, never deleted, so that their keys and calls stay in the records."""

    form = UserForm
    change_password_form = AdminPasswordChangeForm
    list_display = ["username", "public_id", "address", "account", "role", "key_count", "last_sign_in"]
    list_filter = ["is_active", RoleFilter]
    list_per_page = 50
    list_before_template = "admin/list_before.html"
    search_fields = ["username", "public_id", "email"]
    search_help_text = "Name, id or address"
    ordering = ["username"]
    filter_horizontal = []
    fieldsets = [
        (None, {"fields": ["username", "email", "public_id", "password_is"]}),
        ("Account", {"fields": ["account", *RAISING]}),
    ]
    readonly_fields = [
        "public_id",
        "password_is",
        "account",
    ]  # deactivating has a page of its own: it pauses keys

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Only superusers may change users with rights: setting such a user's password would grant these rights."""
        if not super().has_change_permission(request, obj):
            return False
        return obj is None or self.is_superuser(request) or not obj.has_rights()

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> "models.QuerySet[User]":
        keys = ApiKey.objects.filter(owner=models.OuterRef("pk"), revoked_at=None).order_by()
        count = keys.values("owner").annotate(count=models.Count("pk")).values("count")
        users = User.objects.with_roles().order_by(*self.ordering)
        return users.annotate(keys_held=Coalesce(models.Subquery(count), 0))

    def get_search_results(
        self, request: HttpRequest, queryset: "models.QuerySet[User]", search_term: str
    ) -> "tuple[models.QuerySet[User], bool]":
        return queryset.filter(users_matching(search_term)), False

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        own = [
            path(f"<int:pk>/{name}/", wrap(view), name=f"keys_user_{name}")
            for name, view in (user_actions.USER_PAGES | invitation_pages.USER_PAGES).items()
        ]
        exports = export_paths(self, "users", USER_COLUMNS, "groups", "user_permissions")
        return [*exports, *own, *super().get_urls()]

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """The action saves the role and the permissions, with an entry of its own in the history."""
        for formset in formsets:
            self.save_formset(request, form, formset, change=change)
        answers = form.cleaned_data
        if "role" not in answers:
            return
        names = [permission.codename for permission in answers["user_permissions"]]
        role, had_link = Role(answers["role"]), has_open_link(form.instance)
        actions.set_role(user=form.instance, role=role, permissions=names, actor=actor_of(request))
        if had_link and not has_open_link(form.instance):
            messages.warning(
                request,
                f"The sign-in link that {form.instance.username} had does not work any more: it was created for "
                "the rights before. Create a new one on the user's page.",
            )
        form.changed_data = [name for name in form.changed_data if name not in RAISING]

    def log_change(self, request: HttpRequest, obj: User, message: Any) -> Any:
        return super().log_change(request, obj, message) if message else None

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return invitation_pages.add(request)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        user = self.get_object(request, object_id)
        context: dict[str, Any] = {}
        if user and request.user.has_perm(permissions.VIEW_CALL):
            context["chart"] = chart(user.call_totals)
        if user:
            context["role_faults"] = user.role_faults() if self.has_change_permission(request, user) else ()
            context["open_link"] = has_open_link(user)
            context["waiting"] = PreparedKey.objects.waiting().filter(owner=user)
            has_factors = Authenticator.objects.filter(user=user).exists()
            context["may_remove_factors"] = self.is_superuser(request) and has_factors
            context["may_act"] = self.is_superuser(request) or not user.is_superuser
            context["may_change"] = self.has_change_permission(request, user)
            context["may_deactivate"] = user != request.user and self.has_change_permission(request, user)
        return super().change_view(request, object_id, form_url, {**context, **(extra_context or {})})

    def is_superuser(self, request: HttpRequest) -> bool:
        return cast(User, request.user).is_superuser

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> list[str]:
        if self.is_superuser(request):
            return self.readonly_fields
        return [*self.readonly_fields, *RAISING]

    def get_inlines(self, request: HttpRequest, obj: User | None) -> list[Any]:
        return [ApiKeyInline] if obj else []

    def formfield_for_manytomany(
        self, db_field: "models.ManyToManyField[Any, Any]", request: HttpRequest, **options: Any
    ) -> Any:
        if db_field.name == "user_permissions":
            known = Permission.objects.filter(
                codename__in=permissions.DESCRIPTIONS, content_type__app_label__in=("keys", "proxy")
            )
            options |= {
                "form_class": PermissionsField,
                "label": "Single permissions",
                "queryset": known.order_by("content_type__app_label", "content_type__model", "pk"),
                "widget": UnfoldAdminCheckboxSelectMultipleWidget,
                "help_text": "For the role custom, and in addition to what auditors and key admins may do. Key holders "
                "and superusers have none: saving removes them.",
            }
        return super().formfield_for_manytomany(db_field, request, **options)

    @badge(description="Account", ordering="is_active", colours=ACCOUNT_COLOURS)
    def account(self, user: User) -> str:
        return "active" if user.is_active else "deactivated"

    @admin.display(description="Password")
    def password_is(self, user: User) -> str:
        """Only whether a password is set. Its hash parameters would help only attackers."""
        return "set" if user.has_usable_password() else "not set"

    @admin.display(description="Keys", ordering="keys_held")
    def key_count(self, user: User) -> int:
        return cast(int, user.keys_held)  # type: ignore[attr-defined]

    @admin.display(description="E-mail", ordering="email")
    def address(self, user: User) -> str:
        return user.email

    @badge(
        description="Role",
        colours={"superuser": "info", "key admin": "info", "auditor": "info", "custom": "info"},
    )
    def role(self, user: User) -> str:
        return user.role.label

    @admin.display(description="Last sign-in", ordering="last_login")
    def last_sign_in(self, user: User) -> str:
        return render_time(user.last_login)
