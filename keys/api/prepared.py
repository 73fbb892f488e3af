"""Keys that wait to be collected, over the management API. Only the holder collects one, signed in, on a page."""

from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework.generics import GenericAPIView
from rest_framework.mixins import ListModelMixin
from rest_framework.request import Request
from rest_framework.response import Response

from keys.actions import collecting
from keys.alerts.key_messages import write_message
from keys.api import serializers
from keys.api.callers import actor_of, read_rule, visible_rows, write_rule
from keys.api.once import IDEMPOTENCY, once
from keys.api.prepared_serializers import (
    PreparedKeySerializer,
    PrepareSerializer,
    ReadyKeySerializer,
    serialize_prepared_key,
)
from keys.models import PreparedKey, User
from keys.rights import permissions


def owned(user: User) -> Q:
    return Q(owner=user)


class PreparedKeys(ListModelMixin, GenericAPIView[PreparedKey]):
    rules = {"GET": read_rule(permissions.SEE_KEYS), "POST": write_rule(permissions.ADD_KEY)}
    queryset = PreparedKey.objects.with_people()
    serializer_class = PreparedKeySerializer
    filter_backends = ()

    def get_queryset(self) -> QuerySet[PreparedKey]:
        return visible_rows(self, super().get_queryset(), owned)

    @extend_schema(
        operation_id="prepared_keys_list",
        summary="List keys that holders are to collect, or have collected, newest first",
        tags=["prepared keys"],
        responses={200: PreparedKeySerializer(many=True)},
    )
    def get(self, request: Request) -> Response:
        return self.list(request)

    @extend_schema(
        operation_id="prepared_keys_prepare",
        summary="Prepare a key that its holder collects",
        tags=["prepared keys"],
        parameters=[IDEMPOTENCY],
        request=PrepareSerializer,
        responses={201: ReadyKeySerializer},
    )
    def post(self, request: Request) -> Response:
        """The key is issued when the holder collects it, within a week. The message has a link and no secret."""
        return once(request, transaction.atomic(lambda: self.prepare(request)))

    def prepare(self, request: Request) -> Response:
        sent = PrepareSerializer(data=request.data)
        sent.is_valid(raise_exception=True)
        actor = actor_of(request)
        prepared, secret = collecting.prepare(**sent.rights(), actor=actor)
        message = write_message(prepared, secret, actor=actor)
        answer: dict[str, Any] = {
            **serialize_prepared_key(prepared),
            **message.serialize(),
            "notice": "Send the message to the holder, unless it was mailed: it is shown only now.",
        }
        return Response(answer, status=201)


class Withdraw(GenericAPIView[PreparedKey]):
    rules = {"POST": write_rule(permissions.ADD_KEY)}
    queryset = PreparedKey.objects.with_people()
    serializer_class = serializers.NothingSerializer
    filter_backends = ()
    pagination_class = None

    @extend_schema(
        operation_id="prepared_keys_withdraw",
        summary="Withdraw a prepared key before it is collected",
        tags=["prepared keys"],
        parameters=[IDEMPOTENCY],
        request=serializers.NothingSerializer,
        responses={200: PreparedKeySerializer},
    )
    def post(self, request: Request, prepared_id: str) -> Response:
        def act() -> Response:
            serializers.NothingSerializer(data=request.data).is_valid(raise_exception=True)
            prepared = (
                self.get_queryset().filter(public_id=prepared_id).first() if "\0" not in prepared_id else None
            )
            if prepared is None:
                raise Http404
            return Response(
                serialize_prepared_key(collecting.withdraw(prepared=prepared, actor=actor_of(request)))
            )

        return once(request, transaction.atomic(act))
