"""Alerts over the management API: the list, marking one as settled, and a test alert."""

import dataclasses
from typing import Any

from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.generics import GenericAPIView
from rest_framework.mixins import ListModelMixin
from rest_framework.request import Request
from rest_framework.response import Response

from keys.alerts.settling import settle
from keys.alerts.trial import send_test_alert
from keys.alerts.wording import describe_alert
from keys.api.callers import actor_of, read_rule, write_rule
from keys.api.serializers import StrictSerializer
from keys.lists.filters import AlertFilters
from keys.models import Alert
from keys.rights import permissions


class AlertSerializer(serializers.Serializer[Alert]):
    id = serializers.SerializerMethodField()
    kind = serializers.ChoiceField(choices=Alert.Kind.choices)
    at = serializers.DateTimeField()
    text = serializers.SerializerMethodField()
    advice = serializers.SerializerMethodField()
    key = serializers.CharField(source="key.name", default="")
    key_id = serializers.CharField(source="key.public_id", default="")
    user = serializers.CharField(source="key.owner.username", default="")
    user_id = serializers.CharField(source="key.owner.public_id", default="")
    mailed_at = serializers.DateTimeField(allow_null=True)
    mailed_to = serializers.ListField(child=serializers.CharField())
    posted_at = serializers.DateTimeField(allow_null=True, help_text="When the webhook confirmed it.")
    settled_at = serializers.DateTimeField(
        allow_null=True, help_text="When somebody marked it as settled; null: nobody did."
    )
    settled_by = serializers.CharField(source="settled_by.username", default="")

    def get_id(self, alert: Alert) -> str:
        return f"alert_{alert.pk}"

    def get_text(self, alert: Alert) -> str:
        return describe_alert(alert)[0]

    def get_advice(self, alert: Alert) -> str:
        return describe_alert(alert)[1]


def find_alert(public_id: str) -> Alert | None:
    """The alert of an id such as alert_12, as lists and the webhook's body have it."""
    number = public_id.removeprefix("alert_")
    if not (number.isascii() and number.isdigit() and len(number) < 19):
        return None
    return Alert.objects.with_people().filter(pk=int(number)).first()


class Alerts(ListModelMixin, GenericAPIView[Alert]):
    rules = {"GET": read_rule(permissions.SEE_KEYS, own=False)}
    queryset = Alert.objects.with_people()
    serializer_class = AlertSerializer
    filterset_class = AlertFilters

    @extend_schema(
        operation_id="alerts_list",
        summary="List alerts, newest first, with who was notified of each",
        tags=["alerts"],
        responses={200: AlertSerializer(many=True)},
    )
    def get(self, request: Request) -> Response:
        return self.list(request)


class SettleAlert(GenericAPIView[Alert]):
    rules = {"POST": write_rule(permissions.CHANGE_KEY)}
    serializer_class = StrictSerializer

    @extend_schema(
        operation_id="alerts_settle",
        summary="Mark an alert as settled",
        tags=["alerts"],
        request=None,
        responses={200: AlertSerializer},
    )
    def post(self, request: Request, alert_id: str) -> Response:
        """A repeated request changes nothing."""
        StrictSerializer(data=request.data).is_valid(raise_exception=True)
        alert = find_alert(alert_id)
        if alert is None:
            raise Http404
        settle(alert=alert, actor=actor_of(request))
        return Response(AlertSerializer(find_alert(alert_id)).data)


class TestResultSerializer(serializers.Serializer[Any]):
    channel = serializers.CharField(help_text="mail or webhook.")
    result = serializers.CharField(help_text="sent, failed or not set up.")
    text = serializers.CharField()


class TestResultsSerializer(serializers.Serializer[Any]):
    results = TestResultSerializer(many=True)


class TestAlert(GenericAPIView[Any]):
    rules = {"POST": write_rule(permissions.CHANGE_KEY)}
    serializer_class = StrictSerializer

    @extend_schema(
        operation_id="alerts_test",
        summary="Send a test alert by mail, to you and ALERT_EMAILS, and to the webhook",
        tags=["alerts"],
        request=None,
        responses={200: TestResultsSerializer},
    )
    def post(self, request: Request) -> Response:
        StrictSerializer(data=request.data).is_valid(raise_exception=True)
        results = send_test_alert(actor=actor_of(request))
        return Response({"results": [dataclasses.asdict(result) for result in results]})
