"""A key holder's own registrations: the ledger's rows, and a model's history."""

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase

from keys.models import Namespace, Organisation, User
from keys.models.organisations import SHARED
from keys.pages.frame import query_value, row_number
from portal.account.frame import holder, page
from proxy.lists import exports
from proxy.models import Owner, Registration, RegistrationQuerySet

SIZE = 50
LOOKALIKES = 20
HISTORY = 200  # rows of a model's timeline


def filter_rows(request: HttpRequest) -> tuple[RegistrationQuerySet, dict[str, str]]:
    """The user's rows that match the filters in the URL, and the active filters."""
    rows, chosen = Registration.objects.by_user(holder(request)), {}
    if (outcome := request.GET.get("outcome", "")) in Registration.Outcome.values:
        chosen["outcome"] = outcome
        rows = rows.with_outcome(outcome)
    if name := query_value(request, "name")[:500]:
        chosen["name"] = name
        rows = rows.filter(object_name=name)
    return rows, chosen


@login_required
def ledger(request: HttpRequest) -> HttpResponse:
    """The user's registrations, latest first."""
    rows, chosen = filter_rows(request)
    before = row_number(request.GET.get("before", ""))
    latest = rows.with_people().page(SIZE, before=before)
    return page(
        request,
        "registrations.html",
        rows=with_rules(latest),
        chosen=chosen,
        outcomes=Registration.Outcome.choices,
        older=latest[-1].pk if len(latest) == SIZE else None,
        before=before,
        lookalikes=Owner.objects.look_like_models_of(holder(request))[:LOOKALIKES],
    )


@login_required
def download(request: HttpRequest, form: str) -> HttpResponseBase:
    """The filtered registrations as a file."""
    rows, _ = filter_rows(request)
    return exports.download("registrations", form, exports.REGISTRATION_FIELDS, exports.registrations(rows))


def own_namespace(user: User, environment: str, slug: str) -> Namespace:
    """Raises Http404 for an organisation in which the user does not work."""
    organisation = Organisation.objects.of_user(user).filter(slug=slug).first()
    if organisation is None:
        raise Http404
    return Namespace.of(environment, organisation)


@login_required
def model(request: HttpRequest) -> HttpResponse:
    """The history of a registered model. Its owner sees all of it, with other users unnamed; other users see only their
    own writes. The model's name is in the query string, because names may contain slashes."""
    name = query_value(request, "name")[:500]
    environment = query_value(request, "environment", "live")
    if not name:
        raise Http404
    user = holder(request)
    namespace = own_namespace(user, environment, query_value(request, "organisation", SHARED))
    rows = Registration.objects.of_model(namespace, name).with_people()
    is_owner = Owner.objects.of(namespace, "registered_model", name).filter(user=user).exists()
    if not is_owner:
        rows = rows.by_user(user)
    history = rows.page(HISTORY)
    if not history:
        raise Http404
    is_prompt = any(row.is_prompt for row in history)
    return page(
        request,
        "model.html",
        name=name,
        environment=environment,
        rows=with_rules(history),
        is_owner=is_owner,
        lookalikes=Owner.objects.look_like(namespace, name)[:LOOKALIKES] if is_owner else (),
        is_prompt=is_prompt,
        is_cut=len(history) == HISTORY,
    )


def with_rules(rows: list[Registration]) -> list[tuple[Registration, object]]:
    """Each row with the current finding about its version's tags, or None if the rules do not apply."""
    standing = exports.rules(rows)
    return [(row, standing.get(row.pk)) for row in rows]
