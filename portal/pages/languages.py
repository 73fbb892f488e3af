"""The language of a page: the one that its reader chose, otherwise the browser's, otherwise English.

The admin, the documents, the API and MLflow's paths are English only. So are logs, the ledger, events and files: texts
are translated where a page shows them (`keys.templatetags.words`), never where they are stored.
"""

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.utils import translation

ENGLISH_ONLY = (
    "/admin",
    "/docs",
    "/api/",
    "/ajax-api/",
    "/mlflow",
    "/v1/",
    "/version",
    "/scim/",
    "/health",
    "/metrics",
    "/.well-known/",
    settings.STATIC_URL,
)


def page_language(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Activate the language for pages only, and only until the response exists: a file that is streamed is English."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        if request.path_info.startswith(ENGLISH_ONLY):
            return get_response(request)
        with translation.override(translation.get_language_from_request(request)):
            return get_response(request)

    return middleware
