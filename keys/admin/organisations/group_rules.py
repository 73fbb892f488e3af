"""The admin's page of group rules: which groups of a directory grant which roles. It adds and removes them."""

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import permission_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST
from unfold.widgets import UnfoldAdminRadioSelectWidget, UnfoldAdminTextInputWidget

from keys.actions import ActionError
from keys.directory.rules import add_rule, remove_rule
from keys.formatting.sentences import to_sentence
from keys.models import GroupRule, Membership, Organisation
from keys.models.directories import RULE_ROLES, STAFF_ROLES
from keys.pages.frame import actor_of, posted_data, redirect_see_other, render_page
from keys.pages.key_forms import MACHINE_TEXT
from keys.pages.submission import submit_form
from keys.rights.permissions import CHANGE_ORGANISATION, SEE_ORGANISATIONS

ROLES = [
    (value, f"{label}, in staff" if value in STAFF_ROLES else f"{label} of the organisation")
    for value, label in RULE_ROLES
]


class OrganisationField(forms.ModelChoiceField):  # type: ignore[type-arg]
    """An organisation by its slug."""

    def __init__(self, *, label: str, help_text: str) -> None:
        super().__init__(
            queryset=Organisation.objects.open(),
            to_field_name="slug",
            required=False,
            label=label,
            help_text=help_text,
            widget=UnfoldAdminTextInputWidget(attrs=MACHINE_TEXT),
            error_messages={"invalid_choice": "There is no open organisation of this slug."},
        )


class AddRuleForm(forms.Form):
    group = forms.CharField(
        max_length=255,
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}),
        help_text="Its name, as the directory or the sign-in's groups claim states it, or its id in the directory.",
    )
    role = forms.ChoiceField(
        choices=ROLES, initial=Membership.Role.MEMBER.value, widget=UnfoldAdminRadioSelectWidget
    )
    organisation = OrganisationField(
        label="Organisation",
        help_text="The slug of the organisation with the role. Empty for a role in staff.",
    )
    directory = OrganisationField(
        label="Directory",
        help_text="The slug of the organisation whose own directory or provider names the group. Empty: those for all.",
    )


@require_http_methods(["GET", "HEAD", "POST"])
def group_rules(request: HttpRequest) -> HttpResponse:
    """All rules, and the form that adds one."""
    if not any(request.user.has_perm(name) for name in SEE_ORGANISATIONS):
        raise PermissionDenied
    may_act = request.user.has_perm(CHANGE_ORGANISATION)
    if request.method == "POST" and not may_act:
        raise PermissionDenied
    form = AddRuleForm(posted_data(request))

    def act() -> None:
        add_rule(**form.cleaned_data, actor=actor_of(request))

    if submit_form(form, act):
        messages.success(
            request, f"The rule is added. Users in “{form.cleaned_data['group']}” have its role now."
        )
        return redirect_see_other(reverse("group-rules"))
    rules = GroupRule.objects.with_organisations().order_by("group", "pk")
    return render_page(
        request,
        "admin/keys/organisation/group_rules.html",
        model=Organisation,
        title="Group rules",
        form=form,
        rules=rules,
        may_act=may_act,
    )


@require_POST
@permission_required(CHANGE_ORGANISATION, raise_exception=True)
def remove(request: HttpRequest, pk: int) -> HttpResponse:
    """Remove a rule. If somebody else has removed it meanwhile, the response is the same."""
    rule = GroupRule.objects.with_organisations().filter(pk=pk).first()
    try:
        if rule is not None:
            remove_rule(rule=rule, actor=actor_of(request))
        messages.success(request, "The rule and the roles that only it granted are removed.")
    except ActionError as error:
        messages.error(request, to_sentence(error))
    return redirect_see_other(reverse("group-rules"))
