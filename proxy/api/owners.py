"""Owners of objects over the management API: list, hand over, share."""

from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.generics import GenericAPIView
from rest_framework.mixins import ListModelMixin
from rest_framework.request import Request
from rest_framework.response import Response

from keys.api.callers import actor_of, read_rule, visible_rows, write_rule
from keys.api.fields import OrganisationField
from keys.api.once import IDEMPOTENCY, once
from keys.api.people import one_user
from keys.api.serializers import StrictSerializer
from keys.models import ApiKey, Namespace, Organisation, User
from keys.organisations.api import Act, acting
from keys.refusals import bad_value
from keys.rights.permissions import CHANGE_OWNER, SEE_OWNERS
from proxy.lists.filters import OwnerFilters
from proxy.models import Owner
from proxy.policy import owner_actions
from proxy.request.messages import CANONICAL_INTEGER


def by_user(user: User) -> Q:
    return Q(user=user)


class OwnerSerializer(serializers.Serializer[Owner]):
    kind = serializers.CharField()
    name = serializers.CharField(help_text="Its id at MLflow; a registered model's name.")
    environment = serializers.ChoiceField(choices=ApiKey.Environment.choices)
    user = serializers.CharField(
        source="user.username", allow_null=True, default=None, help_text="null: nobody."
    )
    user_id = serializers.CharField(source="user.public_id", allow_null=True, default=None)
    is_shared = serializers.BooleanField()
    is_reserved = serializers.BooleanField(help_text="A model's former name, kept for its owner.")
    created_at = serializers.DateTimeField()
    organisation = serializers.CharField(source="organisation.slug", help_text="Its slug.")


class Owners(ListModelMixin, GenericAPIView[Owner]):
    rules = {"GET": read_rule(SEE_OWNERS)}
    queryset = Owner.objects.select_related("user", "organisation")
    serializer_class = OwnerSerializer
    filterset_class = OwnerFilters

    def get_queryset(self) -> "QuerySet[Owner]":
        return visible_rows(self, super().get_queryset(), by_user)

    @extend_schema(
        operation_id="owners_list",
        summary="List objects with their owners, latest first",
        tags=["owners"],
        responses={200: OwnerSerializer(many=True)},
    )
    def get(self, request: Request) -> Response:
        return self.list(request)


class HandOverSerializer(StrictSerializer):
    to = serializers.CharField(max_length=150, help_text="The new owner's name or id (usr_…).")

    def validate_to(self, value: str) -> User:
        try:
            taker = User.objects.named(value)
        except User.DoesNotExist:
            raise serializers.ValidationError("There is no such user.") from None
        if not taker.is_active:
            raise serializers.ValidationError("This account is deactivated.")
        return taker


class HandedOverSerializer(serializers.Serializer[Any]):
    objects = serializers.IntegerField(help_text="How many experiments, runs, models, … got the new owner.")


class HandOver(GenericAPIView[User]):
    rules = {"POST": write_rule(CHANGE_OWNER)}
    serializer_class = HandOverSerializer

    @extend_schema(
        operation_id="users_hand_over",
        summary="Hand over all objects of a user to another",
        tags=["users"],
        parameters=[IDEMPOTENCY],
        responses={200: HandedOverSerializer},
    )
    def post(self, request: Request, user_id: str) -> Response:
        giver = one_user(User.objects.all(), user_id)

        def act() -> Response:
            sent = HandOverSerializer(data=request.data)
            sent.is_valid(raise_exception=True)
            taker = sent.validated_data["to"]
            if giver == taker:
                raise bad_value("to: this is the same user", {"to": ["Choose another one."]})
            return Response(
                {"objects": owner_actions.hand_over(giver=giver, taker=taker, actor=actor_of(request))}
            )

        return once(request, transaction.atomic(act))


class MembersHandOverSerializer(HandOverSerializer):
    giver = serializers.CharField(max_length=150, help_text="The present owner's name or id (usr_…).")

    def validate_giver(self, value: str) -> User:
        try:
            return User.objects.named(value)
        except User.DoesNotExist:
            raise serializers.ValidationError("There is no such user.") from None


class HandOverWithin(Act):
    @acting(
        "hand_over",
        "Hand over a user's objects in an organisation to a member, as a maintainer",
        MembersHandOverSerializer,
        HandedOverSerializer,
    )
    def post(self, request: Request, slug: str) -> Response:
        def hand_over(found: Organisation, giver: User, to: User) -> Response:
            if giver == to:
                raise bad_value("to: this is the same user", {"to": ["Choose another one."]})
            count = owner_actions.hand_over(
                giver=giver, taker=to, organisation=found, actor=actor_of(request)
            )
            return Response({"objects": count})

        return self.act(request, slug, MembersHandOverSerializer, hand_over)


class ShareSerializer(StrictSerializer):
    experiment_id = serializers.RegexField(rf"^(?:{CANONICAL_INTEGER.pattern})\Z", max_length=18)
    environment = serializers.ChoiceField(choices=ApiKey.Environment.choices, default="live")
    organisation = OrganisationField()
    is_shared = serializers.BooleanField(help_text="Whether anyone may create runs in it.")


class SharedSerializer(serializers.Serializer[Owner]):
    experiment_id = serializers.CharField(source="name")
    environment = serializers.CharField()
    is_shared = serializers.BooleanField()
    owner = serializers.CharField(source="user.username", allow_null=True, default=None)


class Share(GenericAPIView[Owner]):
    rules = {"POST": write_rule(CHANGE_OWNER)}
    serializer_class = ShareSerializer

    @extend_schema(
        operation_id="experiments_share",
        summary="Share an experiment, or end the sharing",
        tags=["owners"],
        parameters=[IDEMPOTENCY],
        responses={200: SharedSerializer},
    )
    def post(self, request: Request) -> Response:
        def act() -> Response:
            sent = ShareSerializer(data=request.data)
            sent.is_valid(raise_exception=True)
            asked = dict(sent.validated_data)
            namespace = Namespace.of(asked.pop("environment"), asked.pop("organisation"))
            owner = owner_actions.mark_shared(namespace=namespace, **asked, actor=actor_of(request))
            return Response(SharedSerializer(owner).data)

        return once(request, transaction.atomic(act))
