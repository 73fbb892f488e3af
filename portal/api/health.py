"""How the portal does, over the management API."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from keys.api.callers import read_rule
from keys.models import ApiKey
from keys.rights.permissions import SEE_HEALTH
from portal.http import health
from proxy.models import Registration


class CheckSerializer(serializers.Serializer[Any]):
    status = serializers.ChoiceField(choices=["ok", "degraded", "down"])
    ms = serializers.FloatField()
    problem = serializers.CharField(required=False)
    release = serializers.CharField(required=False, help_text="MLflow's release.")
    tested = serializers.BooleanField(
        required=False, help_text="Whether the portal was tested with this release."
    )
    unknown_routes = serializers.CharField(
        required=False, help_text="Which of MLflow's routes the portal does not know."
    )
    lag_seconds = serializers.FloatField(
        required=False, help_text="How far the read replica is behind (`read_replica`)."
    )
    note = serializers.CharField(required=False, help_text="What to know about this part.")


class HealthSerializer(serializers.Serializer[Any]):
    """What `/health` says, and what only staff need to know."""

    status = serializers.ChoiceField(choices=["ok", "degraded", "down"])
    checks = serializers.DictField(child=CheckSerializer())
    active_keys = serializers.IntegerField()
    pending_registrations = serializers.IntegerField(
        help_text="Registry writes whose outcome is not known yet."
    )


class Health(GenericAPIView[ApiKey]):
    rules = {"GET": read_rule(SEE_HEALTH, own=False)}
    serializer_class = HealthSerializer
    filter_backends = ()
    pagination_class = None

    @extend_schema(operation_id="health", summary="How the portal does", tags=["health"])
    def get(self, request: Request) -> Response:
        checks = health.checks()
        return Response(
            {
                "status": health.verdict(checks, needed=health.NEEDED),
                "checks": checks,
                "active_keys": ApiKey.objects.active().count(),
                "pending_registrations": Registration.objects.pending().count(),
            }
        )
