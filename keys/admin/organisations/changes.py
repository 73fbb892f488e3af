"""The admin's pages that create, change and close an organisation, and change its members. Each calls one of
`keys.actions.organisations`."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import permission_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect

from keys.actions import organisations
from keys.admin.organisations.forms import AddMemberForm, ChangeForm, CloseForm, CreateForm, RoleForm
from keys.models import ApiKey, Membership, Organisation
from keys.pages.frame import actor_of, posted_data, render_page
from keys.pages.key_forms import ConfirmForm
from keys.pages.submission import submit_form
from keys.rights.permissions import ADD_ORGANISATION, CHANGE_ORGANISATION

may_change = permission_required(CHANGE_ORGANISATION, raise_exception=True)


def show(request: HttpRequest, template: str, title: str, form: forms.Form, **context: Any) -> HttpResponse:
    template = f"admin/keys/organisation/{template}"
    return render_page(request, template, model=Organisation, title=title, form=form, **context)


def back(request: HttpRequest, organisation: Organisation, text: str) -> HttpResponse:
    """Redirect to the organisation's page, which then shows `text`."""
    messages.success(request, text)
    return redirect("admin:keys_organisation_change", organisation.pk)


@permission_required(ADD_ORGANISATION, raise_exception=True)
def create(request: HttpRequest) -> HttpResponse:
    form, made = CreateForm(posted_data(request)), list[Organisation]()

    def act() -> None:
        made.append(organisations.create_organisation(**form.cleaned_data, actor=actor_of(request)))

    if not submit_form(form, act):
        return show(request, "create.html", "Create an organisation", form)
    return back(request, made[0], f"“{made[0].name}” is created. Add its first owner.")


@may_change
def change(request: HttpRequest, pk: int) -> HttpResponse:
    """Change the name and the limits."""
    organisation = get_object_or_404(Organisation, pk=pk)
    form = ChangeForm(posted_data(request), organisation=organisation)

    def act() -> None:
        if changes := form.changes():
            organisations.change_organisation(organisation=organisation, **changes, actor=actor_of(request))

    if not submit_form(form, act):
        return show(request, "change.html", "Name and limits", form, organisation=organisation)
    return back(request, organisation, "Saved." if form.changes() else "Nothing was changed.")


@may_change
def add_member(request: HttpRequest, pk: int) -> HttpResponse:
    organisation = get_object_or_404(Organisation, pk=pk)
    form = AddMemberForm(posted_data(request))

    def act() -> Membership:
        return organisations.add_member(
            organisation=organisation, **form.cleaned_data, actor=actor_of(request)
        )

    if not submit_form(form, act):
        return show(request, "add_member.html", "Add a member", form, organisation=organisation)
    user = form.cleaned_data["user"]
    return back(request, organisation, f"{user.username} is {form.cleaned_data['role']} now.")


def membership_of(pk: int, member: int) -> Membership:
    """Raises 404."""
    rows = Membership.objects.select_related("user", "organisation")
    return get_object_or_404(rows, organisation=pk, pk=member)


@may_change
def set_role(request: HttpRequest, pk: int, member: int) -> HttpResponse:
    membership = membership_of(pk, member)
    organisation = membership.organisation
    form = RoleForm(posted_data(request), initial={"role": membership.role})

    def act() -> Membership:
        return organisations.set_member_role(
            membership=membership, role=form.cleaned_data["role"], actor=actor_of(request)
        )

    if not submit_form(form, act):
        title = f"The role of {membership.user.username}"
        return show(request, "role.html", title, form, organisation=organisation, member=membership)
    return back(request, organisation, f"{membership.user.username} is {form.cleaned_data['role']} now.")


@may_change
def remove_member(request: HttpRequest, pk: int, member: int) -> HttpResponse:
    """Remove a member, and revoke the member's keys in the organisation."""
    membership = membership_of(pk, member)
    organisation, name = membership.organisation, membership.user.username
    form, revoked = ConfirmForm(posted_data(request)), list[ApiKey]()

    def act() -> None:
        revoked.extend(organisations.remove_member(membership=membership, actor=actor_of(request)))

    if not submit_form(form, act):
        keys = list(organisations.working_keys(organisation).filter(owner=membership.user))
        context = {"organisation": organisation, "member": membership, "keys": keys}
        return show(request, "remove_member.html", "Remove a member", form, **context)
    return back(request, organisation, f"{name} is removed. Keys revoked: {len(revoked)}.")


@may_change
def close(request: HttpRequest, pk: int) -> HttpResponse:
    """Close an organisation for good, after a form that asks for its slug."""
    organisation = get_object_or_404(Organisation, pk=pk)
    form, revoked = CloseForm(posted_data(request), organisation=organisation), list[ApiKey]()

    def act() -> None:
        reason = form.cleaned_data["reason"]
        revoked.extend(
            organisations.close_organisation(
                organisation=organisation, reason=reason, actor=actor_of(request)
            )
        )

    if not submit_form(form, act):
        count = organisations.working_keys(organisation).count()
        return show(
            request, "close.html", "Close an organisation", form, organisation=organisation, count=count
        )
    return back(request, organisation, f"“{organisation.name}” is closed. Keys revoked: {len(revoked)}.")


# By the name of the address: its path below the organisation's, and the view.
PAGES: dict[str, tuple[str, Callable[..., HttpResponse]]] = {
    "limits": ("limits", change),
    "add_member": ("members/add", add_member),
    "role": ("members/<int:member>/role", set_role),
    "remove_member": ("members/<int:member>/remove", remove_member),
    "close": ("close", close),
}
