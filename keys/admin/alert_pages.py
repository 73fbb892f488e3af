"""The admin's page of alerts: who was notified of what and when, open and settled; and a test alert."""

from django.contrib import messages
from django.contrib.auth.decorators import permission_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_POST, require_safe

from keys.actions.actor import Actor
from keys.alerts.deliveries import channels, deliveries
from keys.alerts.queue import queue_state
from keys.alerts.settling import settle
from keys.alerts.trial import send_test_alert
from keys.alerts.wording import describe_alert
from keys.models import Alert, AlertQuerySet
from keys.pages.frame import actor_of, query_value, redirect_see_other, render_page, row_number
from keys.pages.keys import can_see_keys
from keys.rights import permissions
from keys.templatetags.filters import Field

PER_PAGE = 50
STATES = {"open": "Open", "settled": "Settled", "all": "All"}
LEVELS = {"sent": messages.SUCCESS, "failed": messages.ERROR, "not set up": messages.WARNING}


@require_safe
def alerts(request: HttpRequest) -> HttpResponse:
    """Open alerts, or those of ?state=, newest first."""
    if not can_see_keys(request):
        raise PermissionDenied
    state = request.GET.get("state", "open")
    state = state if state in STATES else "open"
    kind = request.GET.get("kind", "")
    kind = kind if kind in Alert.Kind.values else ""
    slug = query_value(request, "organisation").strip()
    older = request.GET.get("older", "")
    found = in_state(state)
    found = found.filter(kind=kind) if kind else found
    found = found.of_organisation(slug) if slug else found
    if (number := row_number(older)) is not None:
        found = found.filter(pk__lt=number)
    rows = list(found.with_people().order_by("-pk")[: PER_PAGE + 1])
    return render_page(
        request,
        "admin/keys/alerts.html",
        opts=None,
        title="Alerts",
        rows=table_rows(rows[:PER_PAGE]),
        older=rows[PER_PAGE - 1].pk if len(rows) > PER_PAGE else None,
        state=state,
        states=STATES.items(),
        fields=filter_fields(state, kind, slug),
        others=[("state", state)],
        open_count=Alert.objects.open().count(),
        channels=channels(),
        queue=queue_state(),
        may_act=request.user.has_perm(permissions.CHANGE_KEY),
        may_see_addresses=any(request.user.has_perm(name) for name in permissions.SEE_USERS),
    )


def filter_fields(state: str, kind: str, slug: str) -> list[Field]:
    def without(**others: str) -> str:
        return f"?{urlencode({'state': state, **{name: value for name, value in others.items() if value}})}"

    return [
        Field(
            name="kind",
            label="Kind",
            value=kind,
            options=Alert.Kind.choices,
            without=without(organisation=slug),
        ),
        Field(name="organisation", label="Organisation", value=slug, options=[], without=without(kind=kind)),
    ]


def in_state(state: str) -> AlertQuerySet:
    if state == "open":
        return Alert.objects.open()
    return Alert.objects.settled() if state == "settled" else Alert.objects.all()


def table_rows(rows: list[Alert]) -> list[dict[str, object]]:
    """Each alert with its words, its deliveries, and whether it is open. Two queries for all of them."""
    sent = deliveries(rows)
    is_open = set(Alert.objects.filter(pk__in=[row.pk for row in rows]).open().values_list("pk", flat=True))
    return [
        {
            "alert": row,
            "words": describe_alert(row),
            "deliveries": sent[row.pk],
            "is_open": row.pk in is_open,
        }
        for row in rows
    ]


@permission_required(permissions.CHANGE_KEY, raise_exception=True)
@require_POST
def settle_one(request: HttpRequest, pk: int) -> HttpResponse:
    """Mark an alert as settled, and go back to the list."""
    is_first = settle(alert=get_object_or_404(Alert, pk=pk), actor=actor_of(request))
    messages.info(request, "The alert is settled." if is_first else "Somebody settled this alert before.")
    return redirect("alerts")


@permission_required(permissions.CHANGE_KEY, raise_exception=True)
@require_POST
def send_test(request: HttpRequest) -> HttpResponse:
    """Send a test alert now. The page then shows what became of it on each channel."""
    show_results(request, actor_of(request))
    return redirect_see_other(reverse("alerts"))


def show_results(request: HttpRequest, actor: Actor) -> None:
    for result in send_test_alert(actor=actor):
        text = f"Test alert by {result.channel}: {result.result}. {result.text}"
        messages.add_message(request, LEVELS[result.result], text)
