"""Reports of keys that were found: a page for people, an address for scanners. No account is needed."""

import json
from typing import Any

from django import forms
from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_http_methods

from keys.alerts import leaks
from keys.credentials.addresses import client_address
from keys.formatting.problem_details import problem_response
from keys.refusals import Refusal, bad_method, invalid


class ReportForm(forms.Form):
    key = forms.CharField(
        label="The key, or the text that contains it",
        max_length=leaks.MAX_TEXT,
        widget=forms.Textarea(
            attrs={"rows": 3, "autocomplete": "off", "spellcheck": "false", "autofocus": True}
        ),
        help_text="The portal checks it, and neither stores nor logs it.",
    )
    where = forms.CharField(
        label="Where you found it",
        max_length=200,
        required=False,
        help_text="A URL, a repository or a log. The owner of the key sees this.",
    )


@sensitive_post_parameters("key")
@sensitive_variables("form")
@require_http_methods(["GET", "HEAD", "POST"])
def page(request: HttpRequest) -> HttpResponse:
    form = ReportForm(request.POST if request.method == "POST" else None)
    status = 200
    if form.is_bound and form.is_valid():
        try:
            address = address_of(request)
            leaks.limit_reports(address)
            leaks.report(text=form.cleaned_data["key"], where=form.cleaned_data["where"], address=address)
        except Refusal as refusal:
            form.add_error("key", refusal.message)
            status = refusal.status
        else:
            return render(request, "portal/leak_reported.html", {"thanks": leaks.THANKS})
    if form.is_bound:  # what was typed is not sent back: it may be a key
        errors = form.errors
        form = ReportForm(initial={"where": request.POST.get("where", "")[:200]})
        form._errors = errors  # type: ignore[attr-defined]
        status = 400 if status == 200 else status
    return render(request, "portal/leak.html", {"form": form}, status=status)


@csrf_exempt
@sensitive_post_parameters()
@sensitive_variables("content")
def program(request: HttpRequest) -> HttpResponse:
    """`{"key": …, "where": …}`; 202 and thanks, real key or not."""
    try:
        if request.method != "POST":
            raise bad_method("Report a key that you found by POST.", "POST")
        leaks.limit_reports(address_of(request))
        content = read(request)
        leaks.report(text=content["key"], where=content.get("where", ""), address=address_of(request))
    except Refusal as refusal:
        return problem_response(request, refusal)
    return JsonResponse({"message": leaks.THANKS}, status=202)


def read(request: HttpRequest) -> dict[str, Any]:
    try:
        content = json.loads(request.body)
    except (ValueError, RecursionError):  # the latter: nested without end
        content = None
    is_object = isinstance(content, dict) and isinstance(content.get("key"), str)
    if not is_object or not isinstance(content.get("where", ""), str):
        raise invalid(
            "bad_report", 'Send a JSON object: {"key": "hk_live_…", "where": "where you found it"}.'
        )
    report: dict[str, Any] = content
    return report


def address_of(request: HttpRequest) -> str:
    return client_address(request.META, trusted_proxies=settings.TRUSTED_PROXIES)
