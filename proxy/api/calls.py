"""The usage log over the management API."""

from collections.abc import Collection
from typing import cast

from django.db.models import Q, QuerySet
from django.http import Http404, HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from keys.api.callers import read_rule, visible_rows
from keys.models import User
from keys.refusals import bad_value
from keys.rights.permissions import VIEW_CALL
from proxy.lists import exports
from proxy.lists.filters import CallFilters
from proxy.lists.read_replica import from_replica
from proxy.models.calls import Call, CallQuerySet, Cursor

LEDGER_FORM = OpenApiParameter(
    "form", str, enum=list(exports.TYPES), default="csv", description="The file's format."
)
LOG_FORM = OpenApiParameter(
    "form",
    str,
    enum=list(exports.LOG_TYPES),
    default="csv",
    description="The file's format. Parquet needs pyarrow on the server.",
)


def by_user(user: User) -> Q:
    return Q(user=user)


class CallSerializer(serializers.Serializer[Call]):
    """A call, with the same fields as in the exports."""

    request_id = serializers.CharField()
    at = serializers.DateTimeField()
    user = serializers.CharField()
    user_id = serializers.CharField()
    key = serializers.CharField(help_text="The key's name; empty: a browser session.")
    key_id = serializers.CharField()
    operation = serializers.CharField()
    method = serializers.CharField()
    path = serializers.CharField(help_text="Without the query string.")
    object_kind = serializers.CharField()
    object_name = serializers.CharField()
    status = serializers.IntegerField()
    reason = serializers.CharField()
    bytes_in = serializers.IntegerField()
    bytes_out = serializers.IntegerField()
    duration_ms = serializers.FloatField()
    upstream_ms = serializers.FloatField()
    address = serializers.CharField(allow_null=True)
    client = serializers.CharField()
    client_version = serializers.CharField()
    organisation = serializers.CharField(help_text="Its slug.")
    subject = serializers.CharField(
        help_text="The claim sub of the signed token with which a trust was used."
    )


class Calls(GenericAPIView[Call]):
    rules = {"GET": read_rule(VIEW_CALL)}
    queryset = Call.objects.with_caller()
    serializer_class = CallSerializer
    filterset_class = CallFilters

    def get_queryset(self) -> QuerySet[Call]:
        return visible_rows(self, super().get_queryset(), by_user)

    def page(self, calls: CallQuerySet, size: int, after: str | None) -> list[Call]:
        return calls.page(after=Cursor.parse(after) if after else None, size=size)

    cursor_pattern = "^[0-9]{1,17}-[0-9]{1,18}$"

    def cursor_of(self, call: Call) -> str:
        return str(call.cursor)

    @extend_schema(
        operation_id="calls_list",
        summary="List calls, latest first",
        tags=["calls"],
        responses={200: CallSerializer(many=True)},
    )
    @from_replica
    def get(self, request: Request) -> HttpResponseBase:
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset())) or []
        return self.get_paginated_response([exports.of_call(call) for call in page])


class CallExport(Calls):
    pagination_class = None
    more_parameters = frozenset({"form"})

    @extend_schema(
        operation_id="calls_export",
        summary="Export the calls that match the filters as a file",
        tags=["calls"],
        parameters=[LOG_FORM],
        filters=True,
        responses={
            (200, "text/csv"): OpenApiTypes.STR,
            (200, "application/x-ndjson"): OpenApiTypes.STR,
            (200, exports.LOG_TYPES["parquet"]): OpenApiTypes.BINARY,
        },
    )
    @from_replica
    def get(self, request: Request) -> HttpResponseBase:
        form, calls = (
            form_of(request, exports.log_forms()),
            cast(CallQuerySet, self.filter_queryset(self.get_queryset())),
        )
        return exports.download("calls", form, exports.CALL_FIELDS, exports.calls(calls))


def form_of(request: Request, forms: Collection[str] = exports.TYPES) -> str:
    form = request.query_params.get("form", "csv")
    if form not in forms:
        raise bad_value(f"form: one of {', '.join(forms)}", {"form": ["No such form."]})
    return form


class OneCall(GenericAPIView[Call]):
    rules = {"GET": read_rule(VIEW_CALL)}
    queryset = Call.objects.with_caller()
    serializer_class = CallSerializer
    filter_backends = ()
    pagination_class = None

    @extend_schema(operation_id="calls_read", summary="Read the call with this request id", tags=["calls"])
    def get(self, request: Request, request_id: str) -> Response:
        calls = visible_rows(self, self.get_queryset(), by_user)
        if "\0" in request_id or (call := calls.filter(request_id=request_id).first()) is None:
            raise Http404
        return Response(exports.of_call(call))
