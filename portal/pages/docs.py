"""The documentation's pages, for everybody: docs/*.md, and the table of operations from the code that decides."""

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render

from keys.rights.scopes import Scope
from portal.pages.documents import DOCUMENTS, html
from proxy.routes.operations import Operation
from proxy.routes.reference import format_field
from proxy.routes.table import OPERATIONS


def page(request: HttpRequest, template: str, **context: object) -> HttpResponse:
    frame = {"documents": DOCUMENTS.values(), "public_url": settings.PUBLIC_URL}
    return render(request, f"docs/{template}", {**frame, **context})


def index(request: HttpRequest) -> HttpResponse:
    return page(request, "index.html")


def document(request: HttpRequest, slug: str) -> HttpResponse:
    """A file of docs/ that has a page."""
    if (found := DOCUMENTS.get(slug)) is None:
        raise Http404
    return page(request, "document.html", document=found, body=html(found))


def operations(request: HttpRequest) -> HttpResponse:
    """MLflow's routes, the scope that each takes, and those that no key reaches."""
    wanted, scope = request.GET.get("q", "")[:100].strip(), request.GET.get("scope", "")
    found = [operation for operation in OPERATIONS if fits(operation, wanted.lower(), scope)]
    served = [(operation, acts_on(operation)) for operation in found if not operation.refused]
    return page(
        request,
        "operations.html",
        served=served,
        refused=[operation for operation in found if operation.refused],
        scopes=list(Scope),
        wanted=wanted,
        scope=scope,
    )


def fits(operation: Operation, wanted: str, scope: str) -> bool:
    text = f"{operation.name} {operation.method} {operation.path}".lower()
    return wanted in text and (not scope or scope in operation.scopes)


def acts_on(operation: Operation) -> str:
    """What it needs to be one's own, and what it makes: "run run_id; new model_version"."""
    acts = [
        *map(format_field, operation.targets),
        *(f"in {format_field(place)}" for place in operation.parents),
        *(f"new {format_field(place)}" for place in operation.claims),
        *([f"new {operation.created.kind}"] if operation.created else []),
    ]
    return "; ".join(acts)
