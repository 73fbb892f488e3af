"""The Content-Security-Policy of the portal's pages, by path.

It is strict everywhere. Admin pages evaluate expressions in their markup (Alpine) and set styles (charts), so their
policy allows these two. A view that needs more uses django-csp's decorators or sets the header itself, as
`proxy.policy.browser` does for MLflow's own pages.
"""

from typing import Any

from csp.constants import NONE, SELF, UNSAFE_EVAL, UNSAFE_INLINE
from csp.middleware import CSPMiddleware, PolicyParts
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from proxy.request.headers import CREDENTIAL_HEADERS

STRICT: dict[str, Any] = {
    "default-src": [NONE],
    "script-src": [SELF],
    "style-src": [SELF],
    "img-src": [SELF, "data:"],
    "font-src": [SELF],
    "connect-src": [SELF],
    "form-action": [SELF],
    "base-uri": [NONE],
    "frame-ancestors": [NONE],
}
ADMIN = {**STRICT, "script-src": [SELF, UNSAFE_EVAL], "style-src": [SELF, UNSAFE_INLINE]}
POLICIES = {"/admin/": ADMIN}
PERMISSIONS_POLICY = (
    "camera=(), display-capture=(), geolocation=(), microphone=(), midi=(), payment=(), serial=(), usb=(), "
    "publickey-credentials-create=(self), publickey-credentials-get=(self)"
)


class ContentSecurityPolicy(CSPMiddleware):
    """Adds the policy to pages. Responses to programs stay as MLflow sent them."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if not is_page(request, response):
            return response
        response.setdefault("Permissions-Policy", PERMISSIONS_POLICY)
        return super().process_response(request, response)

    def get_policy_parts(
        self, request: HttpRequest, response: HttpResponseBase, report_only: bool = False
    ) -> PolicyParts:
        parts = super().get_policy_parts(request, response, report_only)
        if not report_only and parts.config is None:
            parts.config = policy(request.path_info)
        return parts


def policy(path: str) -> dict[str, Any]:
    return next((rules for prefix, rules in POLICIES.items() if path.startswith(prefix)), STRICT)


def is_page(request: HttpRequest, response: HttpResponseBase) -> bool:
    """Whether a browser would render this response as a page of this host."""
    return response.get("Content-Type", "").startswith(("text/html", "image/svg")) and not any(
        request.META.get(name) for name in CREDENTIAL_HEADERS
    )
