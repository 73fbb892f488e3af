"""What maintainers and owners do with what an organisation has made: hand it over, and download its records."""

from typing import Any

from django import forms
from django.contrib.auth.decorators import login_required
from django.db.models import Exists, OuterRef
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.utils import timezone
from django.utils.translation import gettext, ngettext

from keys.models import Membership, Organisation, User
from keys.pages.frame import actor_of, posted_data
from keys.pages.submission import submit_form
from portal.account.organisations.overview import back, own_membership, show_form
from proxy.lists import exports
from proxy.lists.usage_report import DAY, FIELDS, MOST_DAYS, UsageForm, all_rows
from proxy.models import Call, CallTotal, Owner, Registration
from proxy.policy import owner_actions

MEANING = (
    "Everything that the first user owns in this organisation gets another owner. It cannot be undone in one step: "
    "afterwards, it cannot be told apart from what the new owner had before. MLflow's tags still name who created it."
)


class HandOverForm(forms.Form):
    """The old and the new owner; `confirmed` after the number of objects was shown."""

    giver = forms.ModelChoiceField(
        User.objects.none(),
        label="From",
        to_field_name="public_id",
        empty_label="Choose the present owner",
        help_text="Users who own something in the organisation, former members too.",
    )
    taker = forms.ModelChoiceField(
        User.objects.none(), label="To", to_field_name="public_id", empty_label="Choose a member"
    )
    confirmed = forms.BooleanField(required=False, widget=forms.HiddenInput)

    def __init__(self, sent: Any, *, organisation: Organisation) -> None:
        super().__init__(sent)
        owners = Exists(Owner.objects.filter(user=OuterRef("pk"), organisation=organisation))
        self.offer("giver", User.objects.filter(owners))
        self.offer("taker", User.objects.filter(memberships__organisation=organisation, is_active=True))

    def offer(self, name: str, users: Any) -> None:
        field = self.fields[name]
        assert isinstance(field, forms.ModelChoiceField)  # noqa: S101  for the type checker
        field.queryset = users.order_by("username")

    def clean(self) -> dict[str, Any]:
        giver, taker = self.cleaned_data.get("giver"), self.cleaned_data.get("taker")
        if giver and giver == taker:
            self.add_error("taker", gettext("This is the same user. Choose another one."))
        return self.cleaned_data

    def ask(self) -> None:
        """Ask to confirm what was chosen."""
        self.data = {**{name: self.data[name] for name in ("giver", "taker")}, "confirmed": "yes"}
        for field in self.fields.values():
            field.widget = forms.HiddenInput()


@login_required
def hand_over(request: HttpRequest, slug: str) -> HttpResponse:
    """Hand over what a user owns in the organisation to a member: the form, the number to confirm, then the change."""
    mine = own_membership(request, slug, Membership.Role.MAINTAINER)
    form, counts = HandOverForm(posted_data(request), organisation=mine.organisation), list[int]()
    if form.is_bound and form.is_valid() and not form.cleaned_data["confirmed"]:
        form.ask()
        giver, taker = form.cleaned_data["giver"], form.cleaned_data["taker"]
        owned = Owner.objects.filter(user=giver, organisation=mine.organisation).count()
        title = gettext("Hand over %(objects)s of %(giver)s to %(taker)s") % {
            "objects": object_words(owned),
            "giver": giver.username,
            "taker": taker.username,
        }
        return show_form(request, mine, form, title, gettext("Hand over"), gettext(MEANING))

    def act() -> None:
        users = {name: form.cleaned_data[name] for name in ("giver", "taker")}
        counts.append(
            owner_actions.hand_over(**users, organisation=mine.organisation, actor=actor_of(request))
        )

    if not submit_form(form, act):
        title, button = gettext("Hand over what a user owns"), gettext("Continue")
        return show_form(request, mine, form, title, button, gettext(MEANING))
    text = gettext("%(objects)s handed over to %(taker)s.")
    taker = form.cleaned_data["taker"].username
    return back(request, mine, text % {"objects": object_words(counts[0]), "taker": taker})


def object_words(count: int) -> str:
    return ngettext("%(count)d object", "%(count)d objects", count) % {"count": count}


@login_required
def download(request: HttpRequest, slug: str, what: str, file_form: str) -> HttpResponseBase:
    """All calls, registrations or usage of the organisation as a file, for its owners."""
    mine = own_membership(request, slug, Membership.Role.OWNER)
    own = mine.organisation
    if file_form not in (exports.TYPES if what == "registrations" else exports.log_forms()):
        raise Http404
    name = f"{own.slug}-{what}"
    if what == "calls":
        rows = exports.calls(Call.objects.filter(organisation=own))
        return exports.download(name, file_form, exports.CALL_FIELDS, rows)
    if what == "registrations":
        rows = exports.registrations(Registration.objects.filter(organisation=own))
        return exports.download(name, file_form, exports.REGISTRATION_FIELDS, rows)
    since = max(own.created_at, timezone.now() - (MOST_DAYS - 1) * DAY)
    form = UsageForm({"since": f"{since:%Y-%m-%d}", **request.GET.dict()})
    if not form.is_valid():
        raise Http404
    totals = CallTotal.objects.filter(organisation=own)
    return exports.download(name, file_form, FIELDS, all_rows(form, totals))
