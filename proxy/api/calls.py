"""The usage log and its totals over the management API."""

import datetime
from collections.abc import Callable
from typing import Any, cast

import django_filters
from django.db.models import Q, QuerySet
from django.http import Http404, HttpResponseBase
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from keys.api.callers import sees, within
from keys.lists.filter_fields import TimeFilter
from keys.models import User
from keys.refusals import bad_value
from keys.rights.permissions import VIEW_CALL
from proxy.lists import exports
from proxy.models.calls import Call, CallQuerySet, Cursor
from proxy.models.totals import CallTotal

STATUS_CLASSES = [(str(first), f"{first}xx") for first in (2, 3, 4, 5)]
FORMS = [("csv", "CSV"), ("jsonl", "JSON Lines")]
LEDGER_FORM = OpenApiParameter(
    "form", str, enum=list(exports.TYPES), default="csv", description="Of the file."
)


def by_user(user: User) -> Q:
    return Q(user=user)


class PeopleFilters(django_filters.FilterSet):  # type: ignore[misc]
    """What the log and the ledger are both asked for."""

    user = django_filters.CharFilter(method="of_user", label="Name or id (usr_…).")
    key = django_filters.CharFilter(field_name="key__public_id", label="Id (key_…).")
    request_id = django_filters.CharFilter(field_name="request_id")
    operation = django_filters.CharFilter(field_name="operation")
    since = TimeFilter(field_name="at", lookup_expr="gte", label="From then on.")
    until = TimeFilter(field_name="at", lookup_expr="lt", label="Before then.")

    def of_user(self, rows: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        return rows.filter(user__in=User.objects.filter(Q(username=value) | Q(public_id=value)))


class CallFilters(PeopleFilters):
    status = django_filters.ChoiceFilter(choices=STATUS_CLASSES, method="of_class", label="Its first digit.")
    reason = django_filters.CharFilter(
        field_name="reason", label="Why it was refused: a word of docs/errors.md."
    )
    refused = django_filters.ChoiceFilter(
        choices=[("true", "Refused")], method="of_portal", label="true: by the portal itself, not by MLflow."
    )
    object = django_filters.CharFilter(field_name="object_name", label="The id or name of a run, model, …")
    address = django_filters.CharFilter(method="of_address", label="The caller's.")

    def of_class(self, calls: CallQuerySet, name: str, value: str) -> CallQuerySet:
        return calls.of_class(int(value))

    def of_portal(self, calls: CallQuerySet, name: str, value: str) -> CallQuerySet:
        return calls.refused()

    def of_address(self, calls: CallQuerySet, name: str, value: str) -> CallQuerySet:
        try:
            return calls.filter(address=serializers.IPAddressField().run_validation(value))
        except serializers.ValidationError as error:
            raise serializers.ValidationError({"address": error.detail}) from None


class CallSerializer(serializers.Serializer[Call]):
    """A call; the same as in the exports."""

    request_id = serializers.CharField()
    at = serializers.DateTimeField()
    user = serializers.CharField()
    user_id = serializers.CharField()
    key = serializers.CharField(help_text="Its name; empty: the user's browser.")
    key_id = serializers.CharField()
    operation = serializers.CharField()
    method = serializers.CharField()
    path = serializers.CharField(help_text="Without the query.")
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


class Calls(GenericAPIView[Call]):
    rules = {"GET": sees(VIEW_CALL)}
    queryset = Call.objects.with_caller()
    serializer_class = CallSerializer
    filterset_class = CallFilters

    def get_queryset(self) -> QuerySet[Call]:
        return within(self, super().get_queryset(), by_user)

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
    def get(self, request: Request) -> HttpResponseBase:
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset())) or []
        return self.get_paginated_response([exports.of_call(call) for call in page])


class CallExport(Calls):
    pagination_class = None
    more_parameters = frozenset({"form"})

    @extend_schema(
        operation_id="calls_export",
        summary="All calls that the filters leave, as a file",
        tags=["calls"],
        parameters=[LEDGER_FORM],
        filters=True,
        responses={(200, "text/csv"): OpenApiTypes.STR, (200, "application/x-ndjson"): OpenApiTypes.STR},
    )
    def get(self, request: Request) -> HttpResponseBase:
        form, found = form_of(request), cast(CallQuerySet, self.filter_queryset(self.get_queryset()))
        return exports.download("calls", form, exports.CALL_FIELDS, exports.calls(found))


def form_of(request: Request) -> str:
    form = request.query_params.get("form", "csv")
    if form not in exports.TYPES:
        raise bad_value(f"form: one of {', '.join(exports.TYPES)}", {"form": ["No such form."]})
    return form


class OneCall(GenericAPIView[Call]):
    rules = {"GET": sees(VIEW_CALL)}
    queryset = Call.objects.with_caller()
    serializer_class = CallSerializer
    filter_backends = ()
    pagination_class = None

    @extend_schema(operation_id="calls_read", summary="The call of a request id", tags=["calls"])
    def get(self, request: Request, request_id: str) -> Response:
        calls = within(self, self.get_queryset(), by_user)
        if "\0" in request_id or (call := calls.filter(request_id=request_id).first()) is None:
            raise Http404
        return Response(exports.of_call(call))


GROUPS = {  # what usage may be told by: the columns, and what they are called in the answer
    "key": {"key__public_id": "key_id", "key__name": "key"},
    "user": {"user__public_id": "user_id", "user__username": "user"},
    "operation": {"operation": "operation"},
    "status": {"status_class": "status"},
    "day": {"start": "start"},
    "hour": {"start": "start"},
}
MODEL = "model"
MOST_ROWS = 1000
MODEL_DAYS = 31


EARLIEST, LATEST = (datetime.datetime(year, 1, 1, tzinfo=datetime.UTC) for year in (1970, 9000))


class UsageFilters(django_filters.FilterSet):  # type: ignore[misc]
    user = django_filters.CharFilter(method="of_user", label="Name or id (usr_…).")
    key = django_filters.CharFilter(field_name="key__public_id", label="Id (key_…).")
    operation = django_filters.CharFilter(field_name="operation")
    of_user = PeopleFilters.of_user


class UsageQuerySerializer(serializers.Serializer[Any]):
    since = serializers.DateTimeField(required=False, help_text="Default: 30 days ago.")
    until = serializers.DateTimeField(required=False, help_text="Default: now.")
    by = serializers.CharField(
        required=False,
        default="",
        max_length=60,
        help_text="What to tell apart, with commas between: key, user, operation, status, day or hour; or model "
        "alone, which is counted in the log itself, at most 31 days of it.",
    )

    def validate_by(self, text: str) -> list[str]:
        names = [name for name in text.split(",") if name]
        unknown = set(names) - {*GROUPS, MODEL}
        if unknown or {"day", "hour"} <= set(names) or (MODEL in names and len(names) > 1):
            raise serializers.ValidationError(
                f"Some of {', '.join(GROUPS)}, but day or hour, not both; or model alone."
            )
        return names

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        attrs.setdefault("until", timezone.now())
        for name in ("since", "until"):
            if name in attrs and not EARLIEST <= attrs[name] <= LATEST:
                raise serializers.ValidationError({name: ["From 1970 to 9000."]})
        attrs.setdefault("since", attrs["until"] - datetime.timedelta(days=30))
        if attrs["since"] > attrs["until"]:
            raise serializers.ValidationError({"since": ["This is later than until."]})
        if MODEL in attrs["by"] and attrs["until"] - attrs["since"] > datetime.timedelta(days=MODEL_DAYS):
            raise serializers.ValidationError({"since": [f"By model: at most {MODEL_DAYS} days."]})
        return attrs


class UsageRowSerializer(serializers.Serializer[Any]):
    key = serializers.CharField(required=False, allow_null=True)
    key_id = serializers.CharField(required=False, allow_null=True)
    user = serializers.CharField(required=False)
    user_id = serializers.CharField(required=False)
    operation = serializers.CharField(required=False)
    status = serializers.IntegerField(required=False, help_text="Its first digit.")
    start = serializers.DateTimeField(required=False)
    model = serializers.CharField(required=False)
    calls = serializers.IntegerField()
    bytes_in = serializers.IntegerField(required=False)
    bytes_out = serializers.IntegerField(required=False)
    duration_ms = serializers.FloatField(required=False)


class UsageSerializer(serializers.Serializer[Any]):
    """Sums, most calls first."""

    since = serializers.DateTimeField()
    until = serializers.DateTimeField()
    is_cut = serializers.BooleanField(help_text=f"There were more than {MOST_ROWS} rows: ask for less.")
    results = UsageRowSerializer(many=True)


class Usage(GenericAPIView[CallTotal]):
    """From the totals by day and by hour; the hours are kept for some days only."""

    rules = {"GET": sees(VIEW_CALL)}
    queryset = CallTotal.objects.all()
    serializer_class = UsageSerializer
    filterset_class = UsageFilters
    pagination_class = None
    more_parameters = frozenset({"since", "until", "by"})

    @extend_schema(
        operation_id="usage",
        summary="Calls and bytes, summed",
        tags=["calls"],
        parameters=[UsageQuerySerializer],
        filters=True,
    )
    def get(self, request: Request) -> Response:
        sent = UsageQuerySerializer(data=request.query_params.dict())
        sent.is_valid(raise_exception=True)
        asked = sent.validated_data
        model = Call if MODEL in asked["by"] else CallTotal
        rows = usage(
            **asked,
            rows=within(self, model.objects.all(), by_user),
            narrow=self.filter_queryset,
        )
        bounds = {name: asked[name] for name in ("since", "until")}
        is_cut = len(rows) > MOST_ROWS
        return Response({**bounds, "is_cut": is_cut, "results": rows[:MOST_ROWS]})


Narrow = Callable[[Any], Any]


def usage(*, by: list[str], since: Any, until: Any, rows: Any, narrow: Narrow) -> list[dict[str, Any]]:
    """Sums of `rows` by what is asked, most calls first; one more than MOST_ROWS says that there are more.
    `rows` are calls to be told by model, else their totals; `narrow` filters them further."""
    if MODEL in by:
        found = narrow(rows.between(since, until)).top_objects("registered_model", MOST_ROWS + 1)
        return [{"model": row["object_name"], "calls": row["calls"]} for row in found]
    totals = narrow((rows.by_hour() if "hour" in by else rows.by_day()).between(since, until))
    columns = {column: name for group in by for column, name in GROUPS[group].items()}
    if not columns:
        sums = totals.sums()
        names = ("calls", "bytes_in", "bytes_out", "duration_ms")
        return [{name: rounded(sums[name]) for name in names}]
    grouped = totals.grouped(*columns)[: MOST_ROWS + 1]
    return [{columns.get(name, name): rounded(value) for name, value in row.items()} for row in grouped]


def rounded(value: Any) -> Any:
    """Sums of milliseconds carry the noise of floats."""
    return round(value, 3) if isinstance(value, float) else value
