"""A key holder's own calls: the usage log, and why a call failed, by its request id."""

from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.utils.translation import gettext, gettext_noop
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables

from keys.credentials import tokens
from keys.credentials.lookup import find_key
from keys.models import ApiKey
from keys.pages.frame import posted_data, query_value
from keys.rights.scopes import describe_scopes
from portal.account import advice, pasted_errors
from portal.account.forms import LookUpForm
from portal.account.frame import holder, page
from portal.pages.explanations import explanations
from proxy.lists import exports
from proxy.models import Call, Registration, UncalledRequest
from proxy.models.calls import EVERY_DAY, CallQuerySet, Cursor
from proxy.routes.table import OPERATIONS

SIZE = 50
OUTCOMES = {
    "passed": "Passed",
    "refused": "Refused by the portal",
    "failed": "Failed at MLflow, or ended by the caller",
}
# What MLflow's own answers mean, where the portal refused nothing.
OF_MLFLOW = {
    400: ("MLflow found a mistake in the request.", "The client shows MLflow's message, which names it."),
    404: (
        "MLflow does not have what the call asked for: a run, an experiment, a model, a version or a file.",
        "Look at the name or id. Clients also ask so to find out whether something is there yet, and then go on.",
    ),
    409: ("An object with this name already exists.", "Choose another name, or use the existing object."),
    499: (
        "The client went away before the answer was there.",
        "Look at its timeout, and whether the program was stopped.",
    ),
}


def filter_calls(request: HttpRequest) -> tuple[CallQuerySet, dict[str, str]]:
    """The user's calls that match the filters in the URL, and the active filters."""
    calls, chosen = Call.objects.filter(user=holder(request)), {}
    if (show := request.GET.get("show", "")) in OUTCOMES:
        chosen["show"] = show
        match show:
            case "refused":
                calls = calls.refused()
            case "failed":
                calls = calls.failed_unrefused()
            case _:
                calls = calls.passed()
    if public_id := query_value(request, "key"):
        chosen["key"] = public_id
        calls = calls.filter(key__in=ApiKey.objects.filter(owner=holder(request), public_id=public_id))
    return calls, chosen


@login_required
def log(request: HttpRequest) -> HttpResponse:
    """The calls, latest first."""
    calls, chosen = filter_calls(request)
    try:
        after = Cursor.parse(request.GET["after"]) if "after" in request.GET else None
    except (ValueError, OverflowError):
        after = None
    rows = calls.with_caller().page(after=after, size=SIZE, windows=EVERY_DAY)
    return page(
        request,
        "calls.html",
        calls=rows,
        chosen=chosen,
        outcomes=OUTCOMES,
        keys=holder(request).api_keys.order_by("-pk")[:100],
        older=str(rows[-1].cursor) if len(rows) == SIZE else None,
        after=after,
        form=LookUpForm(),
        forms=exports.log_forms(),
    )


@login_required
def download(request: HttpRequest, form: str) -> HttpResponseBase:
    """The filtered calls as a file."""
    if form not in exports.log_forms():
        raise Http404
    calls, _ = filter_calls(request)
    return exports.download("calls", form, exports.CALL_FIELDS, exports.calls(calls))


@sensitive_variables("pasted", "error")
@sensitive_post_parameters("request_id")
@login_required
def find(request: HttpRequest) -> HttpResponse:
    """Explain a pasted error, or find the call of the request id in it. By POST, so that a pasted key does not end up
    in a URL or log."""
    form = LookUpForm(posted_data(request))
    if not form.is_bound:
        return page(request, "find.html", form=form)
    pasted = form.cleaned_data["request_id"].strip() if form.is_valid() else ""
    if tokens.KEY_LIKE_PATTERN.search(pasted):
        return page(request, "find.html", form=LookUpForm(), pasted_key=key_in(pasted, request) or True)
    error = pasted_errors.parse(pasted)
    if error.request_id and not error.message:
        return redirect("account-call", error.request_id)
    if error.request_id:
        return call_page(request, error.request_id, error)
    if advised := advice.of_pasted(error):
        return page(request, "find.html", form=LookUpForm(), advice=advised)
    if pasted:
        form.add_error(
            "request_id",
            gettext(
                "A request id starts with req_ and has 32 characters after it. This text contains none, and no error "
                "that the portal or MLflow's client shows."
            ),
        )
    return page(request, "find.html", form=form)


@sensitive_variables("pasted", "secret")
def key_in(pasted: str, request: HttpRequest) -> ApiKey | None:
    """The user's own key with this secret."""
    try:
        secret = tokens.parse_first(pasted)
    except tokens.InvalidToken:
        return None
    match = find_key(secret)
    return match.key if match and match.key.owner == holder(request) else None


@login_required
def call(request: HttpRequest, request_id: str) -> HttpResponse:
    """One call: its result and, if it failed, the cause and the remedy."""
    return call_page(request, request_id)


def call_page(
    request: HttpRequest, request_id: str, pasted: pasted_errors.PastedError | None = None
) -> HttpResponse:
    """The call of this id, or the refusal of a request that became no call; else what the pasted error says."""
    logged = Call.objects.filter(user=holder(request)).with_caller().with_request_id(request_id)
    if logged is None:
        refused = UncalledRequest.find(request_id[:40].replace("\0", ""))
        if refused:
            advised = advice.of_uncalled(refused)
            return page(request, "find.html", form=LookUpForm(), advice=advised, uncalled=refused)
        return page(
            request,
            "find.html",
            status=404,
            form=LookUpForm(),
            missing=tokens.hide(request_id),
            advice=advice.of_pasted(pasted) if pasted else None,
        )
    registered = Registration.objects.by_user(holder(request)).filter(request_id=request_id).first()
    said = pasted.message if pasted else ""
    return page(request, "call.html", call=logged, registration=registered, said=said, **explain(logged))


def explain(call: Call) -> dict[str, Any]:
    """Why the call failed: `happened`, `remedy` and, if a scope was missing, which one."""
    if explanation := explanations().get(call.reason):
        words = {"happened": explanation.happened, "remedy": explanation.remedy, "reason": call.reason}
        return words | ({"missing": missing_scopes(call)} if call.reason == "scope" else {})
    if call.status < 400:
        return {}
    happened, remedy = OF_MLFLOW.get(
        call.status,
        (
            gettext_noop("MLflow itself did not do it."),
            gettext_noop("Its message says why; the client shows it."),
        )
        if call.status < 500
        else (
            gettext_noop("MLflow failed at it."),
            gettext_noop("If it happens again, tell your administrator the request id."),
        ),
    )
    return {"happened": happened, "remedy": remedy, "is_of_mlflow": True}


def missing_scopes(call: Call) -> list[str]:
    """The scopes that the operation needs and the key does not have now, in words."""
    needed = {
        scope for operation in OPERATIONS if operation.name == call.operation for scope in operation.scopes
    }
    return describe_scopes(needed - set(call.key.scopes if call.key else ()), translate=gettext)
