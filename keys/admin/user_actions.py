"""The admin's pages that deactivate and reactivate a user."""

from typing import cast

from allauth.mfa.models import Authenticator
from django import forms
from django.contrib import admin, messages
from django.contrib.auth.decorators import permission_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from unfold.widgets import UnfoldAdminTextInputWidget

from keys import actions
from keys.actions.history import log
from keys.models import ApiKey, User
from keys.pages.frame import actor_of, posted_data, render_page
from keys.pages.submission import submit_form
from keys.rights.permissions import CHANGE_USER

SHOWN = 20  # keys listed on one page


class DeactivateForm(forms.Form):
    reason = forms.CharField(
        max_length=400,
        required=False,
        widget=UnfoldAdminTextInputWidget(attrs={"autofocus": True}),
        help_text="Stored in the history of each key.",
    )


class ReactivateForm(forms.Form):
    """Nothing to fill in."""


def user_of(request: HttpRequest, pk: int) -> User:
    """The user, if the signed-in user may change them: the admin's own rule decides. Raises 404 or PermissionDenied."""
    user = get_object_or_404(User, pk=pk)
    if not admin.site.get_model_admin(User).has_change_permission(request, user):
        raise PermissionDenied
    return user


@permission_required(CHANGE_USER, raise_exception=True)
def deactivate(request: HttpRequest, pk: int) -> HttpResponse:
    """Deactivate a user and pause all their keys, in one transaction."""
    user = user_of(request, pk)
    form, paused = DeactivateForm(posted_data(request)), list[ApiKey]()
    if not user.is_active:
        return back(request, user, f"{user.username} is already deactivated.", messages.INFO)

    def act() -> None:
        paused.extend(actions.deactivate(user=user, **form.cleaned_data, actor=actor_of(request)))

    if not submit_form(form, act):
        keys = list(user.api_keys.active_but_for_owner()[: SHOWN + 1])
        context = {"keys": keys[:SHOWN], "has_more": len(keys) > SHOWN}
        return show(request, "deactivate.html", "Deactivate a user", form, user, **context)
    log(user, f"Deactivated; {describe_paused(paused)}.", actor=actor_of(request))
    return back(request, user, f"{user.username} is deactivated, and {describe_paused(paused)}.")


@permission_required(CHANGE_USER, raise_exception=True)
def reactivate(request: HttpRequest, pk: int) -> HttpResponse:
    """Reactivate a user. Their keys stay paused, and the message lists them."""
    user = user_of(request, pk)
    form, paused = ReactivateForm(posted_data(request)), list[ApiKey]()
    if user.is_active:
        return back(request, user, f"{user.username} is already active.", messages.INFO)
    if not submit_form(form, lambda: paused.extend(actions.reactivate(user=user, actor=actor_of(request)))):
        keys = list(user.api_keys.filter(revoked_at=None, paused_at__isnull=False)[: SHOWN + 1])
        context = {"keys": keys[:SHOWN], "has_more": len(keys) > SHOWN}
        return show(request, "reactivate.html", "Reactivate a user", form, user, **context)
    log(user, "Reactivated.", actor=actor_of(request))
    names = ", ".join(f"“{key.name}”" for key in paused[:SHOWN])
    still = f" Still paused, to be resumed one by one: {names}." if paused else ""
    return back(request, user, f"{user.username} may sign in again.{still}")


@permission_required(CHANGE_USER, raise_exception=True)
def remove_factors(request: HttpRequest, pk: int) -> HttpResponse:
    """Remove the second factors of a user who lost their phone and recovery codes; the password alone then suffices.
    Only superusers may do this, because with it and a sign-in link one can take over the account."""
    user = user_of(request, pk)
    if not cast(User, request.user).is_superuser:
        raise PermissionDenied
    if request.method != "POST":
        has = Authenticator.objects.filter(user=user).exists()
        return show(request, "remove_factors.html", "Remove second factors", forms.Form(), user, has=has)
    removed = actions.remove_second_factors(user=user, actor=actor_of(request))
    if not removed:
        return back(request, user, f"{user.username} has no second factor.", messages.INFO)
    log(user, "Second factors removed.", actor=actor_of(request))
    return back(request, user, f"The second factors of {user.username} are removed.")


def show(
    request: HttpRequest, template: str, title: str, form: forms.Form, user: User, **context: object
) -> HttpResponse:
    return render_page(
        request, f"admin/keys/user/{template}", model=User, title=title, form=form, person=user, **context
    )


def describe_paused(keys: list[ApiKey]) -> str:
    if not keys:
        return "no key of theirs was working"
    return f"{len(keys)} key{' is' if len(keys) == 1 else 's are'} paused"


def back(request: HttpRequest, user: User, text: str, level: int = messages.SUCCESS) -> HttpResponse:
    messages.add_message(request, level, text)
    return redirect("admin:keys_user_change", user.pk)


USER_PAGES = {"deactivate": deactivate, "reactivate": reactivate, "remove_factors": remove_factors}
