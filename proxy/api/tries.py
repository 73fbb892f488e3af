"""Simulate a call over the management API: would it pass?"""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from keys.api.callers import read_rule, visible_rows
from keys.api.keys import one_of, owned_by
from keys.api.serializers import StrictSerializer
from keys.credentials.addresses import parse_address
from keys.models import ApiKey
from keys.rights.permissions import SEE_KEYS
from proxy.policy.simulator import METHODS, simulate


class TrySerializer(StrictSerializer):
    method = serializers.ChoiceField(choices=METHODS)
    path = serializers.CharField(max_length=8000, help_text="As the client calls it, with its query if any.")
    body = serializers.CharField(
        default="", allow_blank=True, max_length=1_000_000, help_text="JSON as text."
    )
    address = serializers.IPAddressField(
        required=False, help_text="The caller's IP address, for keys that are limited to networks."
    )


class VerdictSerializer(serializers.Serializer[Any]):
    passes = serializers.BooleanField()
    status = serializers.IntegerField()
    reason = serializers.CharField()
    message = serializers.CharField()
    operation = serializers.CharField()


class Try(GenericAPIView[ApiKey]):
    """Nothing is sent to MLflow and nothing recorded of the call that is tried."""

    rules = {"POST": read_rule(SEE_KEYS)}
    serializer_class = TrySerializer

    @extend_schema(
        operation_id="keys_try",
        summary="Would this call pass with this key, and if not, why?",
        tags=["keys"],
        responses={200: VerdictSerializer},
    )
    def post(self, request: Request, key_id: str) -> Response:
        key = one_of(visible_rows(self, ApiKey.objects.with_owner(), owned_by), key_id)
        sent = TrySerializer(data=request.data)
        sent.is_valid(raise_exception=True)
        call = sent.validated_data
        verdict = simulate(
            key,
            method=call["method"],
            target=call["path"],
            body=call["body"].encode(),
            address=parse_address(call.get("address", "")),
        )
        return Response(verdict.as_dict())
