"""SCIM 2.0 at /scim/v2: the portal's users and groups as a directory keeps them (RFC 7643 and 7644).

A key with the scope `portal:scim` writes the directory of its own organisation; one of `shared`, whose user may add and
change users, the directory for all.
"""

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.views import APIView, set_rollback

from keys.api.callers import Rule, actor_of, user_of
from keys.api.problems import refusal_of
from keys.credentials.caller import Caller
from keys.refusals import Refusal, forbidden, invalid
from keys.rights.permissions import ADD_USER, CHANGE_USER
from keys.rights.scopes import Scope

PREFIX = "/scim/v2"
CONFIG = "ServiceProviderConfig"  # readable without a key (RFC 7643, section 5)
# For the usage log: the reasons of docs/errors.md by the status of scim2-server's own errors.
REASONS = {
    403: "not_granted",
    404: "not_found",
    405: "bad_method",
    409: "not_possible",
    412: "not_possible",
    415: "bad_media_type",
}
RULE = Rule(scopes=(Scope.PORTAL_SCIM,), by_session=False)


@extend_schema(exclude=True)
class Scim(APIView):
    """One view for all resources: scim2-server reads method and path."""

    http_method_names = ["get", "post", "put", "patch", "delete"]
    rules = dict.fromkeys(("GET", "POST", "PUT", "PATCH", "DELETE"), RULE)

    def check_permissions(self, request: Request) -> None:
        is_config = request.method == "GET" and self.kwargs["address"].strip("/") == CONFIG
        if not is_config:
            super().check_permissions(request)
            check_directory(request)

    def perform_authentication(self, request: Request) -> None:
        """Left to `check_permissions`, which asks for the user."""

    def get(self, request: Request, address: str) -> HttpResponse:
        return serve(request, address)

    post = put = patch = delete = get

    def get_exception_handler(self) -> Any:
        return handle_exception


def check_directory(request: Request) -> None:
    """Raise Refusal unless the key's user may write the directory of the key's organisation."""
    caller, user = request.auth, user_of(request)
    is_for_all = isinstance(caller, Caller) and caller.organisation.is_shared
    if is_for_all and not (user.is_staff and user.has_perm(ADD_USER) and user.has_perm(CHANGE_USER)):
        raise forbidden(
            "permission",
            f"The directory for all needs a key of staff with the permissions {ADD_USER} and {CHANGE_USER}. "
            "Issue the key in an organisation for the directory of that organisation.",
        )


def serve(request: Request, address: str) -> HttpResponse:
    # Imported here: pydantic builds a hundred models, which takes every process half a second.
    from scim2_models import SCIMException
    from scim2_server.handler import ScimHandler
    from scim2_server.requests import ScimRequest

    from keys.directory.service import service
    from keys.directory.storage import DirectoryStorage

    scim = service()
    caller: Any = request.auth  # None only for the configuration, which reads no storage
    storage = DirectoryStorage(getattr(caller, "organisation", None), actor_of(request))  # type: ignore[arg-type]
    sent = ScimRequest(
        method=request.method or "",
        base_url=settings.PUBLIC_URL + PREFIX,
        path=address,
        query=request.query_params.dict(),
        headers=dict(request.headers),
        body=read_body(request._request),
    )
    try:
        answer = ScimHandler(scim, storage).handle(sent)
    except SCIMException as error:
        set_rollback()
        answer = scim.error_response(error)
        request._request.api_reason = REASONS.get(answer.status, "bad_value")  # type: ignore[attr-defined]
    content = "" if answer.body is None else JsonResponse(answer.body).content
    return HttpResponse(content, status=answer.status, headers=answer.headers)


def read_body(request: HttpRequest) -> bytes:
    """Raises Refusal for NUL, which PostgreSQL does not store."""
    body = request.body
    if b"\\u0000" in body:
        raise invalid("bad_request", "The body contains the character NUL. Send it without.")
    return body


def handle_exception(error: Exception, context: dict[str, Any]) -> HttpResponse | None:
    """Every error in SCIM's form."""
    refusal = refusal_of(error)
    request: HttpRequest = context["request"]._request
    request.api_reason = refusal.reason if refusal else "internal_error"  # type: ignore[attr-defined]
    if refusal is None:
        return None
    set_rollback()
    return scim_error(refusal)


def scim_error(refusal: Refusal) -> HttpResponse:
    content = {
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"],
        "status": str(refusal.status),
        "detail": refusal.message,
    }
    response = JsonResponse(content, status=refusal.status, content_type="application/scim+json")
    for name, value in refusal.headers.items():
        response[name] = value
    return response
