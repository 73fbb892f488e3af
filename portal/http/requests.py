"""Requests whose absolute URLs come from PUBLIC_URL, whatever the caller's `Host` header says."""

from urllib.parse import urlsplit

from django.conf import settings
from django.core.handlers.wsgi import WSGIRequest


class PortalRequest(WSGIRequest):
    """The caller chooses the `Host` header, so it must not decide where a link in somebody's mail leads.

    `build_absolute_uri` puts this origin before a path: links in mails, sign-in callbacks, pages of API lists.
    """

    @property
    def _current_scheme_host(self) -> str:
        public = urlsplit(settings.PUBLIC_URL)
        return f"{public.scheme}://{public.netloc}"
