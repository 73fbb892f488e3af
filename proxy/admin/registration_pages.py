"""The ledger's pages: by user, key and model, a model's story, one registration, and all of it to take away.
It grows without end, so nothing here counts all of it; it is only ever read."""

import datetime

from django.contrib.auth.decorators import permission_required
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_safe

from keys.models import ApiKey
from keys.pages.frame import query_value, render_page
from keys.rights import permissions
from proxy.ledger import history, verification
from proxy.lists import exports
from proxy.lists.listing import PER_PAGE, Pages, Slice
from proxy.lists.page_filters import RegistrationForm
from proxy.models import Registration, RegistrationQuerySet
from proxy.models.calls import EPOCH, Call

LOOK = 1000  # versions whose tags are looked at for one page
HISTORY = 100  # entries of a model's history on one page

may_see = permission_required(permissions.VIEW_REGISTRATION, raise_exception=True)


@may_see
@require_safe
def ledger(request: HttpRequest) -> HttpResponseBase:
    """What matches the filter, latest first."""
    asked = RegistrationForm(request.GET)
    found = asked.matching_rows().with_people()
    if asked.is_valid() and asked.cleaned_data["rules"]:
        shown = with_rules(request, asked, found)
    else:
        shown = pages(found).slice(request)
    return render_page(
        request,
        "admin/proxy/registration/ledger.html",
        model=Registration,
        title="Registrations",
        filter=asked,
        shown=shown,
        rules=exports.rules(shown.rows),
        head=verification.read_chain_state(),
        whose=whose(asked),
    )


def pages(found: RegistrationQuerySet) -> Pages[Registration]:
    return Pages(
        place=lambda row: str(row.pk),
        older=lambda place, size: found.page(size, before=int(place) if place else None),
        newer=lambda place, size: found.page_before(int(place), size),
    )


def with_rules(
    request: HttpRequest, asked: RegistrationForm, found: RegistrationQuerySet
) -> Slice[Registration]:
    """A page of the versions whose tags are in the wanted state by now. That stands in no column: LOOK versions
    are looked at, and the next page goes on from there."""
    place = request.GET.get("older", "")
    looked = found.page(LOOK, before=int(place) if place.isdigit() else None)
    states = exports.rules(looked)
    rows = [row for row in looked if asked.wants(row, states[row.pk].state if row.pk in states else "")]
    if len(rows) > PER_PAGE:
        rows = rows[:PER_PAGE]
        older = f"older={rows[-1].pk}"
    else:
        older = f"older={looked[-1].pk}" if len(looked) == LOOK else ""
    return Slice(rows=rows, older=older, looked_through=len(looked) if older else 0)


def whose(asked: RegistrationForm) -> dict[str, object]:
    """The user, the key or the model that the page is about, if it is about one."""
    if not asked.is_valid():
        return {}
    answers = asked.cleaned_data
    keys: list[ApiKey] = answers["key"] or []
    return {
        "user": answers["user"],
        "key": keys[0] if len(keys) == 1 else None,
        "model": answers["model"],
    }


@may_see
@require_safe
def registration(request: HttpRequest, object_id: str) -> HttpResponseBase:
    """One row: a page of its own, and with ?part=1 what the list's drawer shows of it."""
    rows = Registration.objects.with_people()
    row = rows.filter(pk=int(object_id)).first() if object_id.isdigit() else None
    if row is None:
        raise Http404
    call = None
    if request.user.has_perm(permissions.VIEW_CALL):
        call = Call.objects.filter(request_id=row.request_id).first()
    template = "part" if "part" in request.GET else "registration"
    return render_page(
        request,
        f"admin/proxy/registration/{template}.html",
        model=Registration,
        title="A registration",
        row=row,
        finding=exports.rules([row]).get(row.pk),
        call=call,
        words=history.describe(row),
        made=EPOCH + datetime.timedelta(milliseconds=row.created_ms) if row.created_ms else None,
    )


@may_see
@require_safe
def model(request: HttpRequest) -> HttpResponseBase:
    """The story of a model: under all its names, through all its lives."""
    name, environment = query_value(request, "name"), query_value(request, "environment", "live")
    if not name or environment not in ApiKey.Environment.values:
        return redirect("admin:proxy_registration_changelist")
    told = Registration.objects.of_model(environment, name).with_people()
    shown = pages(told).slice(request, HISTORY)
    if not shown.rows:
        raise Http404
    return render_page(
        request,
        "admin/proxy/registration/model.html",
        model=Registration,
        title="A model",
        name=name,
        registry=environment,  # `environment` is what unfold calls its badge
        shown=shown,
        timeline=history.make_timeline(shown.rows),
        versions=history.list_versions(told),
        is_prompt=shown.rows[0].is_prompt,
    )


@may_see
@require_safe
def export(request: HttpRequest) -> HttpResponseBase:
    """Everything that matches the filter, as CSV or JSON Lines (?form=jsonl)."""
    asked, form = RegistrationForm(request.GET), request.GET.get("form", "csv")
    if not asked.is_valid() or form not in exports.TYPES:
        return redirect(
            f"{reverse('admin:proxy_registration_changelist')}?{asked.query}"
        )  # says what is wrong
    rows = exports.registrations(asked.matching_rows(), keep=asked.wants)
    return exports.download("registrations", form, exports.REGISTRATION_FIELDS, rows)
