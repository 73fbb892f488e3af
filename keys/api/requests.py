"""Requests of holders over the management API: a new key, a later expiry, more rights; and the decisions."""

from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.generics import GenericAPIView
from rest_framework.mixins import ListModelMixin
from rest_framework.request import Request
from rest_framework.response import Response

from keys.actions import requests
from keys.alerts.key_messages import notify_administrators, notify_holder, write_message
from keys.api.callers import (
    Rule,
    actor_of,
    is_over_all,
    key_of,
    not_permitted,
    read_rule,
    user_of,
    visible_rows,
    write_rule,
)
from keys.api.fields import OrganisationField
from keys.api.once import IDEMPOTENCY, once
from keys.api.serializers import SCOPES, NothingSerializer, StrictSerializer
from keys.models import ApiKey, KeyRequest, User
from keys.models.key_requests import MOST_DAYS
from keys.refusals import forbidden
from keys.rights import permissions
from keys.rights.scopes import Preset


class KeyRequestSerializer(serializers.Serializer[KeyRequest]):
    """What a holder requests, and what was decided."""

    id = serializers.CharField(source="public_id")
    kind = serializers.ChoiceField(choices=KeyRequest.Kind.choices)
    user = serializers.CharField(source="user.username")
    user_id = serializers.CharField(source="user.public_id")
    key_id = serializers.CharField(source="key.public_id", allow_null=True, default=None)
    organisation = serializers.CharField(source="organisation.slug", help_text="The key's organisation.")
    name = serializers.CharField(help_text="Of a new key.")
    scopes = SCOPES
    days = serializers.IntegerField(
        allow_null=True, help_text="How long the key is to work from the approval on."
    )
    note = serializers.CharField()
    state = serializers.ChoiceField(choices=KeyRequest.State.choices)
    created_at = serializers.DateTimeField()
    decided_at = serializers.DateTimeField(allow_null=True)
    decided_by = serializers.CharField(source="decided_by.username", allow_null=True, default=None)
    reason = serializers.CharField(help_text="Why it was declined.")
    prepared_key_id = serializers.CharField(
        source="prepared.public_id",
        allow_null=True,
        default=None,
        help_text="Of a new key, once it is approved.",
    )


class NewRequestSerializer(StrictSerializer):
    kind = serializers.ChoiceField(choices=KeyRequest.Kind.choices)
    key_id = serializers.CharField(
        max_length=20, required=False, help_text="For a later expiry and more rights."
    )
    name = serializers.CharField(max_length=100, required=False, help_text="For a new key.")
    organisation = OrganisationField(
        required=False,
        default=serializers.empty,
        help_text="For a new key of a user in several organisations: the slug of one of them.",
    )
    preset = serializers.ChoiceField(
        choices=[preset.value for preset in Preset],
        required=False,
        help_text="For a new key and more rights.",
    )
    days = serializers.IntegerField(
        min_value=1, max_value=MOST_DAYS, required=False, help_text="For a new key and a later expiry."
    )
    note = serializers.CharField(max_length=500, allow_blank=True, default="", help_text="Why you need it.")


class DeclineSerializer(StrictSerializer):
    reason = serializers.CharField(max_length=500, help_text="The holder reads it.")


class ApprovalSerializer(KeyRequestSerializer):
    """An approved request. For a new key, also the message for its holder, in the one answer that shows it."""

    link = serializers.CharField(allow_null=True, help_text="Works once; shown once, not stored.")
    message = serializers.CharField(
        allow_null=True, help_text="The text to send. It has the link and no secret."
    )
    is_mailed = serializers.BooleanField(help_text="Whether the holder was told by mail.")
    notice = serializers.CharField()


def serialize_request(row: KeyRequest) -> dict[str, Any]:
    """A request as the API and the command show it."""
    return dict(KeyRequestSerializer(row).data)


def owned(user: User) -> Q:
    return Q(user=user)


class KeyRequests(ListModelMixin, GenericAPIView[KeyRequest]):
    rules = {"GET": read_rule(permissions.SEE_KEYS), "POST": write_rule(own=True)}
    queryset = KeyRequest.objects.with_people()
    serializer_class = KeyRequestSerializer
    filter_backends = ()

    def get_queryset(self) -> QuerySet[KeyRequest]:
        return visible_rows(self, super().get_queryset(), owned)

    @extend_schema(
        operation_id="key_requests_list",
        summary="List requests of key holders, newest first",
        tags=["key requests"],
        responses={200: KeyRequestSerializer(many=True)},
    )
    def get(self, request: Request) -> Response:
        return self.list(request)

    @extend_schema(
        operation_id="key_requests_ask",
        summary="Request a key, a later expiry or more rights for oneself",
        tags=["key requests"],
        parameters=[IDEMPOTENCY],
        request=NewRequestSerializer,
        responses={201: KeyRequestSerializer},
    )
    def post(self, request: Request) -> Response:
        """A key requests later expiries only. Who finds a key cannot ask for more in its holder's name."""
        return once(request, transaction.atomic(lambda: self.create_request(request)))

    def create_request(self, request: Request) -> Response:
        sent = NewRequestSerializer(data=request.data)
        sent.is_valid(raise_exception=True)
        if key_of(request) and sent.validated_data["kind"] != KeyRequest.Kind.RENEWAL:
            raise forbidden(
                "permission",
                "With a key, only a later expiry can be requested. Sign in to request a key or more rights.",
            )
        fields = dict(sent.validated_data)
        key_id, preset = fields.pop("key_id", None), fields.pop("preset", None)
        key = None
        if key_id is not None:
            key = ApiKey.objects.filter(owner=user_of(request), public_id=key_id.replace("\0", "")).first()
            if key is None:
                raise Http404
        scopes = Preset(preset).scopes if preset else ()
        made = requests.request(key=key, scopes=scopes, **fields, actor=actor_of(request))
        notify_administrators(made)
        return Response(serialize_request(made), status=201)


class OneRequest(GenericAPIView[KeyRequest]):
    """A request that exists: what is done to it."""

    rules: dict[str, Rule] = {"POST": write_rule(own=True)}
    queryset = KeyRequest.objects.with_people()
    serializer_class: Any = KeyRequestSerializer
    filter_backends = ()
    pagination_class = None


class Withdraw(OneRequest):
    @extend_schema(
        operation_id="key_requests_withdraw",
        summary="Withdraw one's own request",
        tags=["key requests"],
        parameters=[IDEMPOTENCY],
        request=NothingSerializer,
        responses={200: KeyRequestSerializer},
    )
    def post(self, request: Request, key_request_id: str) -> Response:
        def act() -> Response:
            rows = self.get_queryset().filter(user=user_of(request))
            row = rows.filter(public_id=key_request_id.replace("\0", "")).first()
            if row is None:
                raise Http404
            NothingSerializer(data=request.data).is_valid(raise_exception=True)
            return Response(serialize_request(requests.withdraw(request=row, actor=actor_of(request))))

        return once(request, transaction.atomic(act))


class Decision(OneRequest):
    """What is common to the two decisions: finding the request, which the caller must be allowed to decide."""

    def get_request(self, request: Request, key_request_id: str) -> KeyRequest:
        """Raises Http404, and Refusal for who may not do what is requested."""
        user = user_of(request)
        rows = self.get_queryset().filter(public_id=key_request_id.replace("\0", ""))
        if not is_over_all(request, read_rule(permissions.SEE_KEYS)):
            rows = rows.filter(user=user)
        if (row := rows.first()) is None:
            raise Http404
        rule = write_rule(*permissions.REQUESTS[row.kind])
        if not is_over_all(request, rule):
            raise not_permitted(rule)
        return row


class Approve(Decision):
    @extend_schema(
        operation_id="key_requests_approve",
        summary="Do what a holder requested",
        tags=["key requests"],
        parameters=[IDEMPOTENCY],
        request=NothingSerializer,
        responses={200: ApprovalSerializer},
    )
    def post(self, request: Request, key_request_id: str) -> Response:
        """A new key is prepared: its holder collects it with the message's link."""

        def act() -> Response:
            open_request = self.get_request(request, key_request_id)
            NothingSerializer(data=request.data).is_valid(raise_exception=True)
            actor = actor_of(request)
            row, made = requests.approve(request=open_request, actor=actor)
            told: dict[str, Any] = {"link": None, "message": None, "notice": "The holder is told."}
            if made:
                message = write_message(*made, actor=actor)
                told = message.serialize()
                told["notice"] = "Send the message to the holder, unless it was mailed: it is shown only now."
            else:
                told["is_mailed"] = notify_holder(row)
            return Response({**serialize_request(row), **told})

        return once(request, transaction.atomic(act))


class Decline(Decision):
    @extend_schema(
        operation_id="key_requests_decline",
        summary="Decline what a holder requested",
        tags=["key requests"],
        parameters=[IDEMPOTENCY],
        request=DeclineSerializer,
        responses={200: KeyRequestSerializer},
    )
    def post(self, request: Request, key_request_id: str) -> Response:
        def act() -> Response:
            open_request = self.get_request(request, key_request_id)
            sent = DeclineSerializer(data=request.data)
            sent.is_valid(raise_exception=True)
            row = requests.decline(request=open_request, **sent.validated_data, actor=actor_of(request))
            notify_holder(row)
            return Response(serialize_request(row))

        return once(request, transaction.atomic(act))
