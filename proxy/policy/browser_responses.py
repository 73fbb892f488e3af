"""Responses to a signed-in browser: headers that keep an artifact, a stranger's file, from becoming a page of ours, and
the portal's bar on MLflow's start page."""

import re

from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.template.loader import render_to_string

from keys.credentials.caller import Caller
from keys.database import database_required
from keys.models import Organisation
from proxy.routes.operations import Operation

# Permissions that MLflow 3.17's pages need: their charts and grids create functions from text, their styles are
# inline, previews and workers are blobs. Inline scripts and other hosts stay forbidden, so that injected text cannot
# run.
PAGE_POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "media-src 'self' data: blob:",
        "worker-src 'self' blob:",
        "frame-src 'self' blob:",
        "connect-src 'self' data: blob:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
CONTENT_POLICY = "default-src 'none'; frame-ancestors 'none'; sandbox"
# Requests that MLflow's pages make by themselves for parts that this portal refuses: the portal responds as a server
# without these parts does, so that the pages keep working.
ABSENT: dict[tuple[str, str], dict[str, object]] = {
    ("GET", "/ajax-api/3.0/mlflow/assistant/config"): {
        "providers": {},
        "projects": {},
        "remote_access_allowed": False,
        "resolved": None,
    },
    ("GET", "/ajax-api/3.0/mlflow/assistant/providers"): {"providers": []},
    ("GET", "/ajax-api/2.0/mlflow/gateway-proxy"): {"endpoints": []},
    ("GET", "/ajax-api/2.0/mlflow/users/current"): {"user": None},
    ("GET", "/ajax-api/3.0/mlflow/ui-telemetry"): {
        "disable_ui_telemetry": True,
        "disable_ui_events": [],
        "ui_rollout_percentage": 0,
    },
    ("POST", "/ajax-api/3.0/mlflow/ui-telemetry"): {"status": "disabled"},
}
# Operations that respond with a file that a caller uploaded.
UPLOADED_FILES = frozenset(
    {
        "pages.get-artifact",
        "pages.get-version-artifact",
        "logged-models.get-artifact",
        "traces.get-artifact",
        "artifacts.download",
    }
)
CODE = re.compile(r"\b(?:(?:x-)?(?:java|ecma|j|live)script\S*|css)\b", re.IGNORECASE)
HEAD, ROOT_ELEMENT = b"<head>", b'<div id="root"'  # of MLflow's page, each there once
MOST_PAGE_BYTES = 64 * 1024  # MLflow 3.17's page has one KiB
PAGE_SECONDS = (
    28 * 24 * 3600
)  # a browser may keep the pages' files so long; their names change with their content


def protect(response: HttpResponseBase, operation: Operation) -> None:
    """Set headers that keep an artifact or JSON from running as a page of ours, and any response from being embedded
    in another site's page."""
    is_success = response.status_code < 400
    is_page = is_success and operation.name in ("pages.index", "pages.file")
    response["Content-Security-Policy"] = PAGE_POLICY if is_page else CONTENT_POLICY
    response["X-Content-Type-Options"] = "nosniff"
    response["Cross-Origin-Resource-Policy"] = "same-origin"
    if not is_page and CODE.search(response.headers.get("Content-Type", "")):
        response["Content-Type"] = "text/plain; charset=utf-8"
    is_file = is_success and operation.name == "pages.file"
    response["Cache-Control"] = f"private, max-age={PAGE_SECONDS}" if is_file else "private, no-store"
    if operation.name in UPLOADED_FILES:
        disposition = response.headers.get("Content-Disposition", "")
        if not disposition.lower().startswith("attachment"):
            response["Content-Disposition"] = "attachment"


def add_bar(
    response: HttpResponseBase, operation: Operation, *, request: HttpRequest, caller: Caller
) -> None:
    """Put the portal's bar and its script into MLflow's page: who is signed in, the organisation with a choice of the
    user's others, and the way back to the portal.

    Only into the HTML of `/` as MLflow sends it: whole, not compressed, with one head and one root element. Any other
    response stays as it is. The bar has no inline script and no inline style, so the page's policy stays the same.
    """
    is_page = operation.name == "pages.index" and request.method == "GET" and response.status_code == 200
    content_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    length = response.headers.get("Content-Length", "")
    if not is_page or content_type != "text/html" or "Content-Encoding" in response.headers:
        return
    if not length.isdigit() or int(length) > MOST_PAGE_BYTES:
        return
    page = with_bar(content_of(response), caller, request)
    if isinstance(response, StreamingHttpResponse):
        response.streaming_content = iter([page])
    elif isinstance(response, HttpResponse):
        response.content = page
    response["Content-Length"] = str(len(page))
    for name in ("ETag", "Last-Modified", "Accept-Ranges"):  # of the page without the bar
        response.headers.pop(name, None)


def content_of(response: HttpResponseBase) -> bytes:
    if isinstance(response, StreamingHttpResponse):
        return b"".join(response)
    return response.content if isinstance(response, HttpResponse) else b""


def with_bar(page: bytes, caller: Caller, request: HttpRequest | None = None) -> bytes:
    """MLflow's page with the bar; the page itself if it is not as expected."""
    if page.count(HEAD) != 1 or page.count(ROOT_ELEMENT) != 1:
        return page
    head = render_to_string("mlflow_head.html").strip().encode()
    with database_required(
        "The portal cannot look up your organisations just now. Try again in a few seconds."
    ):
        own = list(Organisation.objects.of_user(caller.user)) if request else []
    context = {"user": caller.user, "organisation": caller.organisation, "organisations": own}
    bar = render_to_string("mlflow_bar.html", context, request).strip().encode()
    return page.replace(HEAD, HEAD + head).replace(ROOT_ELEMENT, bar + ROOT_ELEMENT)
