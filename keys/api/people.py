"""The caller, users, and introspection of keys that are shown to other services."""

from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers as framework
from rest_framework.generics import GenericAPIView
from rest_framework.mixins import ListModelMixin
from rest_framework.request import Request
from rest_framework.response import Response

from keys import actions
from keys.actions import invitations
from keys.actions.history import log
from keys.alerts.invitation_links import link_to, mail_link
from keys.api import serializers
from keys.api.callers import Rule, actor_of, key_of, read_rule, user_of, visible_rows, write_rule
from keys.api.once import IDEMPOTENCY, once
from keys.credentials import authentication
from keys.formatting.moments import format_rfc3339
from keys.lists.filters import UserFilters
from keys.models import ApiKey, User
from keys.refusals import Refusal, forbidden
from keys.rights import permissions
from keys.rights.scopes import Scope


class Me(GenericAPIView[User]):
    """Any good key may ask whose it is."""

    rules = {"GET": Rule()}
    serializer_class = serializers.MeSerializer
    filter_backends = ()
    pagination_class = None

    @extend_schema(operation_id="me", summary="Who am I, and what may I do?", tags=["me"])
    def get(self, request: Request) -> Response:
        user, key = user_of(request), key_of(request)
        permissions = sorted(user.get_all_permissions()) if user.is_staff else []
        return Response(
            {
                "user": serializers.UserSerializer(user).data,
                "key": serializers.serialize_key(ApiKey.objects.with_owner().get(pk=key.pk)) if key else None,
                "permissions": [name for name in permissions if name.startswith(("keys.", "proxy."))],
            }
        )


def oneself(user: User) -> Q:
    return Q(pk=user.pk)


class Users(ListModelMixin, GenericAPIView[User]):
    rules = {"GET": read_rule(permissions.SEE_USERS), "POST": write_rule(permissions.ADD_USER)}
    queryset = User.objects.with_roles()
    serializer_class = serializers.UserSerializer
    filterset_class = UserFilters

    def get_queryset(self) -> "QuerySet[User]":
        return visible_rows(self, super().get_queryset(), oneself)

    @extend_schema(
        operation_id="users_list",
        summary="List users, newest first",
        tags=["users"],
        responses={200: serializers.UserSerializer(many=True)},
    )
    def get(self, request: Request) -> Response:
        return self.list(request)

    @extend_schema(
        operation_id="users_add",
        summary="Add a user who holds keys",
        tags=["users"],
        parameters=[IDEMPOTENCY],
        request=serializers.NewUserSerializer,
        responses={201: serializers.UserSerializer},
    )
    def post(self, request: Request) -> Response:
        """Without a password: it holds keys, and signs in once somebody invites it."""

        def act() -> Response:
            sent = serializers.NewUserSerializer(data=request.data)
            sent.is_valid(raise_exception=True)
            user = invitations.add_user(**sent.validated_data)
            log(user, "Added.", actor=actor_of(request))
            return Response(serializers.UserSerializer(user).data, status=201)

        return once(request, transaction.atomic(act))


def one_user(users: "QuerySet[User]", user_id: str) -> User:
    """Raises Http404."""
    if "\0" in user_id or (user := users.filter(public_id=user_id).first()) is None:
        raise Http404
    return user


class OneUser(GenericAPIView[User]):
    rules = {"GET": read_rule(permissions.SEE_USERS)}
    queryset = User.objects.all()
    serializer_class = serializers.UserSerializer
    filter_backends = ()
    pagination_class = None

    def get_user(self, user_id: str) -> User:
        return one_user(visible_rows(self, self.get_queryset(), oneself), user_id)

    @extend_schema(operation_id="users_read", summary="Read a user", tags=["users"])
    def get(self, request: Request, user_id: str) -> Response:
        return Response(serializers.UserSerializer(self.get_user(user_id)).data)


class Invite(OneUser):
    """The link is as good as a password until it is used."""

    http_method_names = ["post", "options"]
    rules = {"POST": write_rule(permissions.CHANGE_USER)}

    @extend_schema(
        operation_id="users_invite",
        summary="Make a link with which a user sets a password",
        tags=["users"],
        parameters=[IDEMPOTENCY],
        request=serializers.NothingSerializer,
        responses={200: serializers.InvitationSerializer},
    )
    def post(self, request: Request, user_id: str) -> Response:
        """It works once, for a week; older links end."""
        user = self.get_changeable(user_id)

        def act() -> Response:
            serializers.NothingSerializer(data=request.data).is_valid(raise_exception=True)
            made, secret = invitations.invite(user=user, actor=actor_of(request))
            log(user, "Invited.", actor=actor_of(request))
            link = link_to(secret)
            answer = {
                "user": serializers.UserSerializer(user).data,
                "link": link,
                "is_mailed": mail_link(user, link),
                "expires_at": format_rfc3339(made.expires_at),
                "notice": "Send it to the user: it is shown only now.",
            }
            return Response(answer)

        return once(request, act)

    def get_changeable(self, user_id: str) -> User:
        """The user; who is more than a holder only for superusers, as in the admin pages."""
        user = self.get_user(user_id)
        if user.has_rights() and not user_of(self.request).is_superuser:
            raise forbidden("permission", "Only a superuser changes those who have rights of their own.")
        return user


class Withdraw(Invite):
    @extend_schema(
        operation_id="users_withdraw_invitation",
        summary="End a user's open sign-in link",
        tags=["users"],
        parameters=[IDEMPOTENCY],
        request=serializers.NothingSerializer,
        responses={200: serializers.WithdrawnSerializer},
    )
    def post(self, request: Request, user_id: str) -> Response:
        user = self.get_changeable(user_id)

        def act() -> Response:
            serializers.NothingSerializer(data=request.data).is_valid(raise_exception=True)
            withdrawn = invitations.withdraw(user=user, actor=actor_of(request))
            if withdrawn:
                log(user, "Sign-in link withdrawn.", actor=actor_of(request))
            return Response({"withdrawn": withdrawn})

        return once(request, act)


class Deactivate(Invite):
    """Only superusers deactivate staff, as in the admin pages."""

    http_method_names = ["post", "options"]
    rules = {"POST": write_rule(permissions.CHANGE_USER)}

    @extend_schema(
        operation_id="users_deactivate",
        summary="Shut a user out, and pause all their keys",
        tags=["users"],
        parameters=[IDEMPOTENCY],
        request=serializers.ReasonSerializer,
        responses={200: serializers.ShutOutSerializer},
    )
    def post(self, request: Request, user_id: str) -> Response:
        user = self.get_changeable(user_id)

        def act() -> Response:
            sent = serializers.ReasonSerializer(data=request.data)
            sent.is_valid(raise_exception=True)
            keys = actions.deactivate(user=user, **sent.validated_data, actor=actor_of(request))
            log(user, f"Deactivated; {len(keys)} keys are paused.", actor=actor_of(request))
            return self.answered(user, keys)

        return once(request, transaction.atomic(act))

    def answered(self, user: User, keys: list[ApiKey]) -> Response:
        user.refresh_from_db()
        return Response(
            {"user": serializers.UserSerializer(user).data, "paused": [key.public_id for key in keys]}
        )


class Reactivate(Deactivate):
    @extend_schema(
        operation_id="users_reactivate",
        summary="Let a user in again; the keys stay paused",
        tags=["users"],
        parameters=[IDEMPOTENCY],
        request=serializers.NothingSerializer,
        responses={200: serializers.ShutOutSerializer},
    )
    def post(self, request: Request, user_id: str) -> Response:
        user = self.get_changeable(user_id)

        def act() -> Response:
            serializers.NothingSerializer(data=request.data).is_valid(raise_exception=True)
            keys = actions.reactivate(user=user, actor=actor_of(request))
            log(user, "Reactivated.", actor=actor_of(request))
            return self.answered(user, keys)

        return once(request, transaction.atomic(act))


class IntrospectSerializer(serializers.StrictSerializer):
    token = framework.CharField(max_length=200, help_text="The key that a caller showed to your service.")
    address = framework.IPAddressField(
        required=False, help_text="The caller's IP address, for keys that are limited to networks."
    )


class IntrospectionSerializer(framework.Serializer[Any]):
    """As RFC 7662 has it, and what the portal knows besides. A key that is not good says why to nobody but who
    has its real secret."""

    active = framework.BooleanField()
    reason = framework.CharField(required=False, help_text="Why it is not valid: a reason of docs/errors.md.")
    scope = framework.CharField(required=False, help_text="Its scopes, separated by spaces.")
    client_id = framework.CharField(required=False, help_text="The key's id.")
    sub = framework.CharField(required=False, help_text="Its user's id.")
    username = framework.CharField(required=False)
    exp = framework.IntegerField(required=False, help_text="Seconds since 1970.")
    iat = framework.IntegerField(required=False)
    environment = framework.ChoiceField(choices=ApiKey.Environment.choices, required=False)
    patterns = framework.ListField(child=framework.CharField(), required=False)
    any_owner = framework.BooleanField(required=False)
    organisation = framework.CharField(required=False, help_text="The slug of its organisation.")
    only_own = framework.BooleanField(required=False)


class Introspect(GenericAPIView[ApiKey]):
    """For other services of Hokusai's, which are shown keys of the portal's."""

    rules = {"POST": Rule(scopes=(Scope.PORTAL_INTROSPECT,), by_session=False)}
    serializer_class = IntrospectSerializer

    @extend_schema(
        operation_id="introspect",
        summary="Is this key good, for whom, and what may it do?",
        tags=["introspect"],
        responses={200: IntrospectionSerializer},
    )
    def post(self, request: Request) -> Response:
        """Answered from what the process knows of the key: a revocation shows within a second. Ask each time,
        or keep the answer as short."""
        sent = IntrospectSerializer(data=request.data)
        sent.is_valid(raise_exception=True)
        try:
            answer = introspect(sent.validated_data["token"], sent.validated_data.get("address", ""))
        except Refusal as refusal:
            if refusal.is_not_sent:
                raise
            answer = {"active": False, "reason": refusal.reason}
        return Response(answer)


def introspect(secret: str, address: str) -> dict[str, Any]:
    """What is known of a good key. Raises Refusal for any other."""
    key, is_previous = authentication.find_caller_key(authentication.parse_credential(secret))
    if key.is_canary:
        authentication.refuse_canary(key, address=address, client="a service that asked about the key")
    caller = authentication.check_state(key, is_previous)
    if caller.in_grace:
        raise authentication.key_ended(key, "expired_key", "expired", key.expires_at)
    if key.environment == ApiKey.Environment.TEST and not settings.MLFLOW_TEST_URL:
        raise forbidden("no_test_registry", "This portal has no test registry.")
    if address:
        authentication.check_network(caller, address)
    exchanged_until = key.exchanged.expires_at if key.exchanged else None
    ends = [end for end in (key.expires_at, exchanged_until) if end]
    return {
        "active": True,
        "scope": " ".join(key.scopes),
        "client_id": key.public_id,
        "sub": key.owner.public_id,
        "username": key.owner.username,
        **({"exp": int(min(ends).timestamp())} if ends else {}),
        "iat": int(key.created_at.timestamp()),
        "environment": key.environment,
        "patterns": key.patterns,
        "any_owner": key.any_owner,
        "organisation": key.organisation.slug,
        "only_own": key.only_own,
    }
