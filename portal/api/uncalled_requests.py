"""Requests that became no call, over the management API: why the portal refused them, for an hour."""

from typing import Any

from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from keys.api.callers import read_rule
from portal.pages.explanations import explanations
from proxy.models import UncalledRequest


class UncalledRequestSerializer(serializers.Serializer[UncalledRequest]):
    """What the portal responded to the request, and what the reason means."""

    request_id = serializers.CharField()
    at = serializers.DateTimeField()
    status = serializers.IntegerField()
    reason = serializers.CharField()
    method = serializers.CharField()
    path = serializers.CharField(help_text="Without the query string.")
    message = serializers.CharField(help_text="Of the error.")
    happened = serializers.SerializerMethodField(help_text="What the reason means, as Markdown.")
    remedy = serializers.SerializerMethodField(help_text="What to do, as Markdown.")

    def get_happened(self, refused: UncalledRequest) -> str:
        explanation = explanations().get(refused.reason)
        return explanation.happened if explanation else ""

    def get_remedy(self, refused: UncalledRequest) -> str:
        explanation = explanations().get(refused.reason)
        return explanation.remedy if explanation else ""


def serialize_uncalled(refused: UncalledRequest) -> dict[str, Any]:
    """A request as the API and the command show it."""
    return dict(UncalledRequestSerializer(refused).data)


class OneUncalledRequest(GenericAPIView[UncalledRequest]):
    rules = {"GET": read_rule()}
    queryset = UncalledRequest.objects.all()
    serializer_class = UncalledRequestSerializer
    filter_backends = ()
    pagination_class = None

    @extend_schema(
        operation_id="uncalled_requests_read",
        summary="Read why a request became no call, within an hour",
        tags=["calls"],
    )
    def get(self, request: Request, request_id: str) -> Response:
        """Such a request had no valid key, or a wrong address, so the usage log does not contain it. It belongs to
        nobody: who knows its id may read this."""
        refused = UncalledRequest.find(request_id[:40].replace("\0", ""))
        if refused is None:
            raise Http404
        return Response(serialize_uncalled(refused))
