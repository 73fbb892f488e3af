"""The management API's own description (OpenAPI), and its browser."""

import functools
from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.settings import spectacular_settings
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularSwaggerSplitView
from rest_framework.permissions import AllowAny
from rest_framework.renderers import TemplateHTMLRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from keys.formatting.problem_details import CONTENT_TYPE

PROBLEMS = {
    "400": "The request cannot be read, or a value is wrong.",
    "401": "No key, or one that is not good.",
    "403": "The key or the user may not do this.",
    "404": "There is nothing of this name that you may see.",
    "409": "It is not possible as things are.",
    "412": "The key was changed since you read it.",
    "413": "The body is too large.",
    "415": "The body is not JSON.",
    "422": "The Idempotency-Key came with another request before.",
    "429": "Too many requests a minute.",
    "503": "PostgreSQL or MLflow does not answer just now.",
}
# Otherwise the framework names types that share a field's name by a hash, which changes with the API.
NAMES = {
    "EnvironmentEnum": "keys.models.ApiKey.Environment",
    "KeyStateEnum": "keys.models.ApiKey.State",
    "EventKindEnum": "keys.models.KeyEvent.Kind",
    "KeyRequestKindEnum": "keys.models.KeyRequest.Kind",
    "KeyRequestStateEnum": "keys.models.KeyRequest.State",
    "PreparedKeyStateEnum": "keys.api.prepared_serializers.STATES",
    "GroupRuleRoleEnum": "keys.models.directories.RULE_ROLES",
    "MemberRoleEnum": "keys.models.Membership.Role",
}
spectacular_settings.apply_patches({"ENUM_NAME_OVERRIDES": NAMES})  # type: ignore[no-untyped-call]
ALWAYS = {"400", "401", "403", "429", "503"}
WITH_BODY = {"409", "413", "415", "422"}


class KeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """Tells the framework how keys are sent."""

    target_class = "keys.api.callers.KeyAuthentication"
    name = "key"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {"type": "http", "scheme": "bearer", "bearerFormat": "hk_live_…"}


def without_slashes(endpoints: list[Any], **options: Any) -> list[Any]:
    """Each address once: the one without a slash at its end."""
    return [endpoint for endpoint in endpoints if not endpoint[0].endswith("/")]


def with_problems(result: dict[str, Any], **options: Any) -> dict[str, Any]:
    """Every operation's errors, which the framework does not know of."""
    for address, operations in result["paths"].items():
        for method, operation in operations.items():
            names_one = "{" in address or operation["operationId"].startswith("manifests_")
            statuses = ALWAYS | (WITH_BODY if method != "get" else set()) | ({"404"} if names_one else set())
            if any(parameter["name"] == "If-Match" for parameter in operation.get("parameters", ())):
                statuses = statuses | {"412"}
            for status in sorted(statuses):
                operation["responses"].setdefault(status, problem_response(PROBLEMS[status]))
    result["components"]["schemas"]["Problem"] = PROBLEM
    return result


def problem_response(words: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": words, "content": {CONTENT_TYPE: {"schema": schema}}}


PROBLEM = {
    "type": "object",
    "description": "Problem details (RFC 9457).",
    "required": ["type", "title", "status", "detail", "reason", "request_id"],
    "properties": {
        "type": {"type": "string", "format": "uri", "description": "Where the reason is explained."},
        "title": {"type": "string", "description": "The status in words."},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What happened, and what to do."},
        "reason": {"type": "string", "description": "A constant word, as in docs/errors.md."},
        "request_id": {"type": "string", "description": "Give it to your administrator."},
        "errors": {"type": "object", "description": "By field, what is wrong with it."},
    },
}


@functools.cache
def schema() -> dict[str, Any]:
    """Cached: it is the same for every caller."""
    document: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    return document


@extend_schema(exclude=True)
class Schema(APIView):
    """OpenAPI, for anybody: it is this project's, and says nothing of this portal's keys."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    def get(self, request: Request) -> Response:
        return Response(schema(), content_type="application/vnd.oai.openapi+json")


class Docs(SpectacularSwaggerSplitView):
    """The API's browser; its scripts and styles are files of this host's, so that a strict CSP lets them."""

    authentication_classes = ()
    permission_classes = (AllowAny,)
    renderer_classes = [TemplateHTMLRenderer]
    template_name = "portal/api_docs.html"
    title = "Management API"

    def _get_schema_url(self, request: HttpRequest) -> str:
        return reverse("portal.schema")
