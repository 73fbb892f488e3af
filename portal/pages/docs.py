"""The public documentation: docs/*.md, and the table of operations that the proxy itself uses."""

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
    """The page of a file in docs/."""
    if (document := DOCUMENTS.get(slug)) is None:
        raise Http404
    return page(request, "document.html", document=document, body=html(document))


def operations(request: HttpRequest) -> HttpResponse:
    """MLflow's routes with the scope that each needs, and the routes that the portal refuses to all keys."""
    search, scope = request.GET.get("q", "")[:100].strip(), request.GET.get("scope", "")
    matching = [operation for operation in OPERATIONS if is_match(operation, search.lower(), scope)]
    served = [(operation, acts_on(operation)) for operation in matching if not operation.refused]
    return page(
        request,
        "operations.html",
        served=served,
        refused=[operation for operation in matching if operation.refused],
        scopes=list(Scope),
        wanted=search,
        scope=scope,
    )


def is_match(operation: Operation, search: str, scope: str) -> bool:
    text = f"{operation.name} {operation.method} {operation.path}".lower()
    return search in text and (not scope or scope in operation.scopes)


def acts_on(operation: Operation) -> str:
    """The objects that the caller must own, and the object that it creates: "run run_id; new model_version"."""
    acts = [
        *map(format_field, operation.targets),
        *(f"in {format_field(place)}" for place in operation.parents),
        *(f"new {format_field(place)}" for place in operation.claims),
        *([f"new {operation.created.kind}"] if operation.created else []),
    ]
    return "; ".join(acts)
