"""Keys over the management API. Each write calls one of `keys.actions`."""

import datetime
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import Http404
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.generics import GenericAPIView
from rest_framework.mixins import ListModelMixin
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer

from keys import actions
from keys.actions import self_service
from keys.actions.actor import Actor
from keys.alerts.key_messages import write_rotation_message
from keys.api import serializers
from keys.api.callers import Rule, actor_of, is_over_all, not_permitted, read_rule, visible_rows, write_rule
from keys.api.lists import Pages
from keys.api.once import IDEMPOTENCY, once
from keys.lists.filters import EventFilters, KeyFilters
from keys.lists.old_secret import read_old_secret_use
from keys.models import ApiKey, KeyEvent, User
from keys.refusals import Refusal, bad_value
from keys.rights import permissions
from keys.rights.scopes import find_preset

Method = TypeVar("Method", bound=Callable[..., Response])
SHOWN_ONCE = "Keep it where secrets are kept: it is shown only now."
FOR_HOLDER = (
    "The leaked secret never works again. Only the holder sees the new one: send them the message, unless it was "
    "mailed. It is shown only now."
)
IF_MATCH = OpenApiParameter(
    "If-Match", str, OpenApiParameter.HEADER, description="The ETag you saw: 412 if the key changed since."
)


def owned_by(user: User) -> Q:
    return Q(owner=user)


class Keys(ListModelMixin, GenericAPIView[ApiKey]):
    rules = {"GET": read_rule(permissions.SEE_KEYS), "POST": write_rule(permissions.ADD_KEY, own=True)}
    queryset = ApiKey.objects.with_owner()
    serializer_class = serializers.KeySerializer
    filterset_class = KeyFilters

    def get_queryset(self) -> QuerySet[ApiKey]:
        return visible_rows(self, super().get_queryset(), owned_by)

    @extend_schema(
        operation_id="keys_list",
        summary="List keys, newest first",
        tags=["keys"],
        responses={200: serializers.KeySerializer(many=True)},
    )
    def get(self, request: Request) -> Response:
        return self.list(request)

    @extend_schema(
        operation_id="keys_issue",
        summary="Issue a key",
        tags=["keys"],
        parameters=[IDEMPOTENCY],
        request=serializers.IssueSerializer,
        responses={201: serializers.NewKeySerializer},
    )
    def post(self, request: Request) -> Response:
        """The secret is in this answer and nowhere else."""
        return once(request, lambda: self.issued(request))

    def issued(self, request: Request) -> Response:
        may_for_all = is_over_all(request, self.rules["POST"])
        if not may_for_all and not self_service.is_offered():
            raise not_permitted(self.rules["POST"])
        sent = serializers.IssueSerializer(data=request.data)
        sent.is_valid(raise_exception=True)
        issue = actions.issue if may_for_all else issue_to_oneself
        return secret_response(201, *issue(**sent.rights(), actor=actor_of(request)))


def issue_to_oneself(
    *,
    owner: User,
    actor: Actor,
    scopes: Sequence[str],
    expires_at: datetime.datetime | None = None,
    **rights: Any,
) -> tuple[ApiKey, str]:
    """What a holder may issue, where SELF_SERVICE lets holders: as on the account page, for nobody else."""
    if owner != actor.user:
        raise not_permitted(Keys.rules["POST"])
    preset = find_preset(scopes)
    if preset is None or expires_at is None:
        raise bad_value(
            "preset: your own key has a preset and an expiry", {"preset": ["Give one, and expires_in."]}
        )
    expires_in = expires_at - timezone.now()
    return self_service.issue(actor=actor, preset=preset, expires_in=expires_in, **rights)


def secret_response(status: int, key: ApiKey, secret: str | None, **more: Any) -> Response:
    """A key with its new secret, which nobody on the way may keep."""
    answer = {**serializers.serialize_key(key), "key": secret, "notice": SHOWN_ONCE, **more}
    return with_etag(key, Response(answer, status=status))


def with_etag(key: ApiKey, response: Response) -> Response:
    response["ETag"] = serializers.etag(key)
    return response


class OneKey(GenericAPIView[ApiKey]):
    """What is common to the addresses under one key."""

    rules: dict[str, Rule] = {}
    queryset = ApiKey.objects.with_owner()
    serializer_class: type[Serializer[Any]] = serializers.KeySerializer
    filter_backends = ()
    pagination_class: type[Pages] | None = None

    def get_key(self, key_id: str, *, locked: bool = False) -> ApiKey:
        """The key, if the caller may see it; `locked` for who goes on to change it."""
        keys = visible_rows(self, self.get_queryset(), owned_by)
        if locked:
            keys = keys.select_for_update(of=("self",))
        return one_of(keys, key_id)


def one_of(keys: QuerySet[ApiKey], key_id: str) -> ApiKey:
    """Raises Http404."""
    if "\0" in key_id or (key := keys.filter(public_id=key_id).first()) is None:
        raise Http404
    return key


def check_if_match(request: Request, key: ApiKey) -> None:
    """Raise Refusal (412) if the caller changes what it saw, and that is not what is there any more."""
    wanted = request.headers.get("If-Match")
    if wanted is None or wanted.strip() == "*":
        return
    if serializers.etag(key) not in [tag.strip() for tag in wanted.split(",")]:
        raise Refusal(
            status=412,
            error_code="PRECONDITION_FAILED",
            reason="key_changed",
            message="The key was changed since you read it. Read it again, and decide anew.",
        )


class Key(OneKey):
    rules = {"GET": read_rule(permissions.SEE_KEYS), "PATCH": write_rule(*permissions.KEY_ACTIONS["rights"])}
    sent_class: type[Serializer[Any]] = serializers.ChangeSerializer

    @extend_schema(operation_id="keys_read", summary="Read a key", tags=["keys"])
    def get(self, request: Request, key_id: str) -> Response:
        key = self.get_key(key_id)
        return with_etag(key, Response(serializers.serialize_key(key)))

    @extend_schema(
        operation_id="keys_change",
        summary="Change a key's rights, name or purpose",
        tags=["keys"],
        parameters=[IF_MATCH, IDEMPOTENCY],
        request=serializers.ChangeSerializer,
    )
    def patch(self, request: Request, key_id: str) -> Response:
        """Only what is sent is changed."""
        return self.act(request, key_id, actions.change)

    def act(self, request: Request, key_id: str, action: Any) -> Response:
        def act() -> Response:
            key = self.get_key(key_id, locked=True)
            sent = self.sent_class(data=request.data)
            sent.is_valid(raise_exception=True)
            check_if_match(request, key)  # only what would be done depends on it (RFC 9110, 13.2.1)
            return self.done(action(key=key, **sent.validated_data, actor=actor_of(request)))

        return once(request, transaction.atomic(act))

    def done(self, result: Any) -> Response:
        return self.answered(result.public_id)

    def answered(self, key_id: str) -> Response:
        key = self.queryset.get(public_id=key_id)
        return with_etag(key, Response(serializers.serialize_key(key)))


class KeyAct(Key):
    """What is done to a key by POST."""

    http_method_names = ["post", "options"]
    rules: dict[str, Rule] = {}
    sent_class: type[Serializer[Any]] = serializers.ReasonSerializer


def act_schema(name: str, summary: str, **more: Any) -> Callable[[Method], Method]:
    settings: dict[str, Any] = {"request": serializers.ReasonSerializer, **more}
    decorator: Callable[[Method], Method] = extend_schema(
        operation_id=f"keys_{name}",
        summary=summary,
        tags=["keys"],
        parameters=[IF_MATCH, IDEMPOTENCY],
        **{"responses": {200: serializers.KeySerializer}, **settings},
    )
    return decorator


class Pause(KeyAct):
    rules = {"POST": write_rule(*permissions.KEY_ACTIONS["pause"])}

    @act_schema("pause", "Stop a key until it is resumed")
    def post(self, request: Request, key_id: str) -> Response:
        return self.act(request, key_id, actions.pause)


class Resume(KeyAct):
    rules = {"POST": write_rule(*permissions.KEY_ACTIONS["resume"])}
    sent_class = serializers.NothingSerializer

    @act_schema("resume", "Let a paused key work again", request=serializers.NothingSerializer)
    def post(self, request: Request, key_id: str) -> Response:
        return self.act(request, key_id, actions.resume)


class Revoke(KeyAct):
    """End a key for good. A holder may end his own."""

    rules = {"POST": write_rule(*permissions.KEY_ACTIONS["revoke"], own=True)}

    @act_schema("revoke", "End a key for good")
    def post(self, request: Request, key_id: str) -> Response:
        return self.act(request, key_id, actions.revoke)


class Rotate(KeyAct):
    rules = {"POST": write_rule(*permissions.KEY_ACTIONS["rotate"], own=True)}
    sent_class = serializers.RotateSerializer

    @act_schema(
        "rotate",
        "Give a key a new secret",
        request=serializers.RotateSerializer,
        responses={200: serializers.RotatedKeySerializer},
    )
    def post(self, request: Request, key_id: str) -> Response:
        """The secret is in this answer and nowhere else; the old one works until the overlap has passed. The expiry
        stays, unless another one is sent. If somebody else's key was found in the open, `key` is null, and `message` is
        what to send to its holder, who signs in and creates the secret that works."""
        rotate = actions.rotate if is_over_all(request, self.rules["POST"]) else self_service.rotate

        def act(*, key: ApiKey, actor: Actor, **sent: Any) -> Response:
            rotated, secret = rotate(key=key, actor=actor, **sent)
            if secret is not None:
                return secret_response(200, rotated, secret, link=None, message=None, is_mailed=False)
            message = write_rotation_message(rotated, actor=actor)
            return secret_response(200, rotated, None, **message.serialize(), notice=FOR_HOLDER)

        return self.act(request, key_id, act)

    def done(self, result: Any) -> Response:
        response: Response = result
        return response


class OldSecret(OneKey):
    """Who still uses the old secret. It is read from the usage log, so staff need the right to see calls."""

    rules = {"GET": read_rule(permissions.SEE_KEYS, permissions.VIEW_CALL)}
    serializer_class = serializers.OldSecretUseSerializer

    @extend_schema(
        operation_id="keys_old_secret", summary="Who still uses a key's old secret?", tags=["keys"]
    )
    def get(self, request: Request, key_id: str) -> Response:
        """The calls with it since the last rotation, by address and client."""
        key = self.get_key(key_id)
        return Response(serializers.serialize_old_secret_use(key, read_old_secret_use(key)))


class EndOldSecret(KeyAct):
    """A holder may end the old secret of his own key."""

    rules = {"POST": write_rule(*permissions.KEY_ACTIONS["end_old_secret"], own=True)}
    sent_class = serializers.NothingSerializer

    @act_schema(
        "end_old_secret",
        "End a key's old secret before the overlap has passed",
        request=serializers.NothingSerializer,
    )
    def post(self, request: Request, key_id: str) -> Response:
        return self.act(request, key_id, actions.end_old_secret)


class Events(GenericAPIView[KeyEvent]):
    rules = {"GET": read_rule(permissions.SEE_KEYS)}
    queryset = KeyEvent.objects.select_related("actor")
    serializer_class = serializers.EventSerializer
    filter_backends = ()

    @extend_schema(
        operation_id="keys_events",
        summary="What happened to a key, newest first",
        tags=["keys"],
        responses={200: serializers.EventSerializer(many=True)},
    )
    def get(self, request: Request, key_id: str) -> Response:
        key = one_of(visible_rows(self, ApiKey.objects.all(), owned_by), key_id)
        page = self.paginate_queryset(self.get_queryset().filter(key=key))
        return self.get_paginated_response(self.get_serializer(page, many=True).data)


class Activity(ListModelMixin, GenericAPIView[KeyEvent]):
    rules = {"GET": read_rule(permissions.VIEW_KEY_EVENT)}
    queryset = KeyEvent.objects.select_related("key__owner", "actor")
    serializer_class = serializers.ActivitySerializer
    filterset_class = EventFilters

    def get_queryset(self) -> QuerySet[KeyEvent]:
        return visible_rows(self, super().get_queryset(), lambda user: Q(key__owner=user))

    @extend_schema(
        operation_id="events_list",
        summary="What happened to keys, newest first",
        tags=["keys"],
        responses={200: serializers.ActivitySerializer(many=True)},
    )
    def get(self, request: Request) -> Response:
        return self.list(request)
