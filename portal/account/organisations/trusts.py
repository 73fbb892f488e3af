"""Pages about an organisation's trusts, for its own people and for staff who change organisations."""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils.translation import gettext
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables

from keys.actions import self_service
from keys.actions.errors import ActionError
from keys.formatting.sentences import to_sentence
from keys.models import Membership, Organisation, Trust
from keys.organisations import maintainers
from keys.organisations.trust_api import trusts_of
from keys.organisations.trust_rules import READY_MADE, parse_conditions
from keys.organisations.trust_trial import try_token
from keys.organisations.trusts import change_trust, create_trust
from keys.pages.frame import actor_of, posted_data
from keys.pages.key_forms import MACHINE_TEXT
from keys.pages.submission import submit_form
from keys.rights.scopes import Preset
from portal.account.frame import holder, page
from portal.account.organisations.overview import Role

TEXT = {"rows": 4, **MACHINE_TEXT}


class KeySetField(forms.JSONField):
    def prepare_value(self, value: Any) -> Any:
        return "" if value is None else super().prepare_value(value)


class TrustForm(forms.Form):
    """Whose tokens a trust accepts. `is_new`: with the name and rights of its key. `is_staff`: with what only
    administrators set."""

    name = forms.CharField(
        max_length=100,
        widget=forms.TextInput(attrs={"autocomplete": "off", "autofocus": True}),
        help_text="What you will recognise it by, such as “nightly training”.",
    )
    issuer = forms.CharField(
        max_length=500,
        widget=forms.TextInput(attrs=MACHINE_TEXT),
        help_text="The claim iss, exactly as in the tokens.",
    )
    audience = forms.CharField(
        max_length=500,
        widget=forms.TextInput(attrs=MACHINE_TEXT),
        help_text="The claim aud. Request the tokens for it.",
    )
    conditions = forms.CharField(
        widget=forms.Textarea(attrs=TEXT),
        help_text="One claim and glob a line. * stands for any text, ? for one character. Each claim must match "
        "one of its lines.",
    )
    preset = forms.ChoiceField(label="What it may do", widget=forms.RadioSelect)
    key_set = KeySetField(
        label="Key set",
        required=False,
        widget=forms.Textarea(attrs=TEXT),
        help_text="The issuer's public keys as a JWK set, if the portal cannot fetch them.",
    )
    is_private = forms.BooleanField(
        label="Fetch the key set from a private address too",
        required=False,
        help_text="For an issuer in the portal's own network.",
    )
    ca = forms.CharField(
        label="CA certificates",
        required=False,
        widget=forms.Textarea(attrs=TEXT),
        help_text="In PEM form, to verify the issuer's server with. Empty: the system's.",
    )

    def __init__(self, *arguments: Any, is_new: bool, is_staff: bool, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if not is_new:
            del self.fields["name"], self.fields["preset"]
        else:
            offered = [(each.value, each.label) for each in (Preset if is_staff else self_service.presets())]
            preset = self.fields["preset"]
            assert isinstance(preset, forms.ChoiceField)  # noqa: S101  for the type checker
            preset.choices, preset.initial = offered, Preset.CONTRIBUTOR.value
        if not is_staff:
            del self.fields["is_private"], self.fields["ca"]

    def fields_of_trust(self) -> dict[str, Any]:
        """The arguments of `create_trust` and `change_trust`. Raises ActionError."""
        answers = {name: value for name, value in self.cleaned_data.items() if name != "preset"}
        return {**answers, "conditions": parse_conditions(answers["conditions"].splitlines())}


class TrialForm(forms.Form):
    token = forms.CharField(
        label="Token or claims",
        max_length=10_000,
        widget=forms.Textarea(attrs={**TEXT, "autofocus": True}),
        help_text="A signed token, or its claims as JSON. The portal checks it, and neither stores nor logs it.",
    )


def access(request: HttpRequest, slug: str, role: Membership.Role) -> Membership:
    """The user's membership in the organisation; of staff who change organisations, one that is not stored. Raises
    Http404."""
    user = holder(request)
    # One query for everybody else: a second one would take time only where there is such an organisation.
    own = Membership.objects.filter(
        user=user, organisation__in=Organisation.objects.open(), organisation__slug=slug
    )
    membership = own.select_related("organisation", "user").first()
    if maintainers.can_administer(user) and not (membership and membership.manages_members):
        organisation = get_object_or_404(Organisation.objects.open(), slug=slug)
        return Membership(organisation=organisation, user=user, role=Role.OWNER)
    if membership is None or not membership.has_role(role):
        raise Http404
    return membership


def show(request: HttpRequest, template: str, mine: Membership, **context: Any) -> HttpResponse:
    """A page of these, with the page that leads to it: the organisation's, or the admin's for staff."""
    above = (
        reverse("account-organisation", args=[mine.organisation.slug])
        if mine.pk
        else reverse("admin:keys_organisation_change", args=[mine.organisation.pk])
    )
    return page(request, template, mine=mine, above=above, **context)


@login_required
def overview(request: HttpRequest, slug: str) -> HttpResponse:
    """The trusts, and the ready-made forms."""
    mine = access(request, slug, Role.MAINTAINER)
    rows = [(each, each.describe_conditions()) for each in trusts_of(mine.organisation)[:100]]
    return show(request, "trusts.html", mine, rows=rows, ready_made=READY_MADE.items())


@login_required
def add(request: HttpRequest, slug: str) -> HttpResponse:
    """Add a trust, from a ready-made form (`form`)."""
    mine = access(request, slug, Role.OWNER)
    ready = READY_MADE.get(request.GET.get("form", ""), READY_MADE["oidc"])
    initial = {
        "issuer": ready.issuer,
        "audience": f"{settings.PUBLIC_URL}/api/mlflow/w/{slug}",
        "conditions": "\n".join(ready.conditions),
    }
    is_staff = maintainers.can_administer(holder(request))
    form = TrustForm(posted_data(request), initial=initial, is_new=True, is_staff=is_staff)

    def act() -> Trust:
        return create_trust(
            organisation=mine.organisation,
            scopes=Preset(form.cleaned_data["preset"]).scopes,
            owner=holder(request) if mine.organisation.is_shared else None,
            actor=actor_of(request),
            **form.fields_of_trust(),
        )

    if not submit_form(form, act):
        heading = gettext("Add a trust: %(title)s") % {"title": gettext(ready.title)}
        words = {"heading": heading, "button": gettext("Add the trust"), "meaning": gettext(ready.advice)}
        return show(request, "trust_form.html", mine, form=form, **words)
    text = gettext("Tokens that fit are accepted as “%(name)s” from now on.")
    messages.success(request, text % {"name": form.cleaned_data["name"]})
    return redirect("account-trusts", slug)


@login_required
def change(request: HttpRequest, slug: str, public_id: str) -> HttpResponse:
    """Change whose tokens a trust accepts."""
    mine = access(request, slug, Role.OWNER)
    trust = get_object_or_404(trusts_of(mine.organisation), key__public_id=public_id.replace("\0", ""))
    initial = {name: getattr(trust, name) for name in ("issuer", "audience", "key_set", "is_private", "ca")}
    initial["conditions"] = "\n".join(trust.describe_conditions())
    is_staff = maintainers.can_administer(holder(request))
    form = TrustForm(posted_data(request), initial=initial, is_new=False, is_staff=is_staff)

    def act() -> Trust:
        return change_trust(trust=trust, actor=actor_of(request), **form.fields_of_trust())

    if not submit_form(form, act):
        heading = gettext("Change “%(name)s”") % {"name": trust.key.name}
        words = {"heading": heading, "button": gettext("Save the trust")}
        meaning = gettext(
            "The change takes effect within a second, also for tokens that were accepted before."
        )
        return show(request, "trust_form.html", mine, form=form, meaning=meaning, **words)
    messages.success(request, gettext("“%(name)s” is changed.") % {"name": trust.key.name})
    return redirect("account-trusts", slug)


@sensitive_post_parameters("token")
@sensitive_variables("form")
@login_required
def trial(request: HttpRequest, slug: str) -> HttpResponse:
    """Would this token pass, and if not, why not. What was pasted is not sent back."""
    mine = access(request, slug, Role.MAINTAINER)
    form = TrialForm(posted_data(request))
    trials, problem = None, ""
    if form.is_bound and form.is_valid():
        try:
            trials = try_token(mine.organisation, form.cleaned_data["token"])
        except ActionError as error:
            problem = to_sentence(error)
    if form.is_bound:
        form = TrialForm()
        if problem or trials is None:
            problem = problem or gettext("Paste a token of at most 10,000 characters.")
    return show(request, "trust_trial.html", mine, form=form, trials=trials, problem=problem)
