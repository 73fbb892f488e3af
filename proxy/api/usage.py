"""Totals of calls and bytes over the management API."""

import datetime
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from keys.api.callers import read_rule, visible_rows
from keys.api.fields import TimeField
from keys.rights.permissions import VIEW_CALL
from proxy.api.calls import by_user
from proxy.lists.filters import UsageFilters
from proxy.lists.read_replica import from_replica
from proxy.lists.usage import GROUPS, MODEL, MOST_ROWS, STEPS, sum_usage
from proxy.models.calls import Call
from proxy.models.totals import CallTotal

MODEL_DAYS = 31


EARLIEST, LATEST = (datetime.datetime(year, 1, 1, tzinfo=datetime.UTC) for year in (1970, 9000))


class UsageQuerySerializer(serializers.Serializer[Any]):
    since = TimeField(required=False, help_text="Default: 30 days ago.")
    until = TimeField(required=False, help_text="Default: now.")
    by = serializers.CharField(
        required=False,
        max_length=60,
        help_text="The columns to group by, separated by commas: key, user, organisation, operation, status, "
        "and day, month or hour; or model alone, which is counted from the log itself, for at most 31 days.",
    )

    def validate_by(self, text: str) -> list[str]:
        names = [name for name in text.split(",") if name]
        unknown = set(names) - {*GROUPS, MODEL}
        if unknown or len(STEPS & set(names)) > 1 or (MODEL in names and len(names) > 1):
            raise serializers.ValidationError(
                f"Some of {', '.join(GROUPS)}, but only one of day, hour and month; or model alone."
            )
        return names

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        attrs.setdefault("by", [])
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
    is_cut = serializers.BooleanField(help_text=f"There were more than {MOST_ROWS} rows: narrow the request.")
    results = UsageRowSerializer(many=True)


class Usage(GenericAPIView[CallTotal]):
    """Sums from the totals by day and by hour. Hourly totals exist only for the last days."""

    rules = {"GET": read_rule(VIEW_CALL)}
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
    @from_replica
    def get(self, request: Request) -> Response:
        sent = UsageQuerySerializer(data=request.query_params.dict())
        sent.is_valid(raise_exception=True)
        asked = sent.validated_data
        model = Call if MODEL in asked["by"] else CallTotal
        rows = sum_usage(
            **asked,
            rows=visible_rows(self, model.objects.all(), by_user),
            narrow=self.filter_queryset,
        )
        bounds = {name: asked[name] for name in ("since", "until")}
        is_cut = len(rows) > MOST_ROWS
        return Response({**bounds, "is_cut": is_cut, "results": rows[:MOST_ROWS]})
