"""Trusts over the management API: an organisation's owner and administrators add, change and try them."""

from typing import Any

from django.db.models import Q, QuerySet
from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from keys.api.callers import actor_of, is_over_all, read_rule, visible_rows, write_rule
from keys.api.once import IDEMPOTENCY
from keys.api.serializers import KeySerializer, RightsSerializer, StrictSerializer
from keys.lists.filters import TrustFilters
from keys.models import ApiKey, Membership, Organisation, Trust, User
from keys.organisations import maintainers
from keys.organisations.api import Act, OneOrganisation, Role
from keys.organisations.trust_trial import Trial, try_token
from keys.organisations.trusts import change_trust, create_trust
from keys.rights import permissions

CONDITIONS = serializers.DictField(
    child=serializers.ListField(child=serializers.CharField(max_length=500), max_length=50),
    help_text="Claims and their globs: each claim must match one of its globs.",
)


class TrustSerializer(KeySerializer):
    """A trust: its key, without a secret, and whose tokens act as it."""

    issuer = serializers.CharField(source="trust.issuer", help_text="The claim iss of the tokens.")
    audience = serializers.CharField(source="trust.audience", help_text="The claim aud of the tokens.")
    conditions = serializers.DictField(
        source="trust.conditions",
        child=serializers.ListField(child=serializers.CharField()),
        help_text="Claims and their globs: each claim must match one of its globs.",
    )
    has_key_set = serializers.SerializerMethodField(help_text="Whether the issuer's key set was uploaded.")
    is_private = serializers.BooleanField(
        source="trust.is_private",
        help_text="Whether the portal may fetch the key set from a private address.",
    )

    def get_has_key_set(self, key: Any) -> bool:
        return key.trust.key_set is not None


def serialize_trust(trust: Trust) -> dict[str, Any]:
    return dict(TrustSerializer(trust.key).data)


class TrustFieldsSerializer(StrictSerializer):
    issuer = serializers.CharField(max_length=500, help_text="The claim iss of the tokens.")
    audience = serializers.CharField(max_length=500, help_text="The claim aud of the tokens.")
    conditions = CONDITIONS
    key_set = serializers.JSONField(
        required=False, allow_null=True, help_text="The issuer's JWK set, if the portal cannot fetch it."
    )
    is_private = serializers.BooleanField(
        required=False,
        help_text="The portal may fetch the key set from a private address; for administrators.",
    )
    ca = serializers.CharField(
        required=False,
        allow_blank=True,
        max_length=100_000,
        help_text="PEM certificates with which the issuer's server is verified; for administrators.",
    )


class NewTrustSerializer(TrustFieldsSerializer, RightsSerializer):
    name = serializers.CharField(max_length=100)
    environment = serializers.ChoiceField(choices=ApiKey.Environment.choices, required=False)
    user = serializers.CharField(
        required=False,
        max_length=150,
        help_text="Name or id of the key's owner; default: a service user named after the trust.",
    )

    def validate_user(self, value: str) -> User:
        try:
            return User.objects.named(value)
        except User.DoesNotExist:
            raise serializers.ValidationError("There is no such user.") from None


class TrialTextSerializer(StrictSerializer):
    token = serializers.CharField(
        max_length=10_000, help_text="A signed token, or its claims as JSON text. It is not stored."
    )


class CheckSerializer(serializers.Serializer[Any]):
    name = serializers.CharField(help_text="What is checked: a claim, the signature, or the trust's state.")
    passes = serializers.BooleanField(allow_null=True, help_text="null: claims alone do not show it.")
    text = serializers.CharField()


class TrialSerializer(serializers.Serializer[Any]):
    id = serializers.CharField(source="trust.key.public_id")
    trust = serializers.CharField(source="trust.key.name")
    passes = serializers.BooleanField()
    checks = CheckSerializer(many=True)


class TrialsSerializer(serializers.Serializer[Any]):
    trials = TrialSerializer(many=True, help_text="One for each trust of the organisation.")


class TrustsSerializer(serializers.Serializer[Any]):
    trusts = TrustSerializer(many=True)


def serialize_trials(trials: list[Trial]) -> dict[str, Any]:
    return {"trials": TrialSerializer(trials, many=True).data}


def trusts_of(organisation: Organisation) -> "QuerySet[Trust]":
    return Trust.objects.filter(key__organisation=organisation).with_key().order_by("-pk")


def managed_by(user: User) -> Q:
    """The trusts of organisations in which the user may list them."""
    managed = Membership.objects.filter(
        user=user, role__in=(Role.MAINTAINER, Role.OWNER), organisation__closed_at=None
    )
    return Q(key__organisation__in=managed.values("organisation"))


class AllTrusts(GenericAPIView[Any]):
    rules = {"GET": read_rule(permissions.SEE_ORGANISATIONS)}
    queryset = Trust.objects.with_key()
    serializer_class = TrustSerializer
    filterset_class = TrustFilters

    def get_queryset(self) -> QuerySet[Trust]:
        return visible_rows(self, super().get_queryset(), managed_by)

    @extend_schema(
        operation_id="trusts_list",
        summary="List trusts of all organisations, newest first; as a maintainer, those of one's own",
        tags=["organisations"],
        responses={200: TrustSerializer(many=True)},
    )
    def get(self, request: Request) -> Response:
        trusts = self.paginate_queryset(self.filter_queryset(self.get_queryset())) or []
        return self.get_paginated_response([serialize_trust(each) for each in trusts])


class Trusts(Act):
    http_method_names = ["get", "post", "options"]
    rules = {
        "GET": read_rule(permissions.SEE_ORGANISATIONS),
        "POST": write_rule(permissions.CHANGE_ORGANISATION, own=True),
    }

    @extend_schema(
        operation_id="organisations_trusts",
        summary="List an organisation's trusts, as a maintainer",
        tags=["organisations"],
        responses={200: TrustsSerializer},
    )
    def get(self, request: Request, slug: str) -> Response:
        found = find_managed(self, request, slug)
        return Response({"trusts": [serialize_trust(each) for each in trusts_of(found)]})

    @extend_schema(
        operation_id="organisations_add_trust",
        summary="Add a trust: a key without a secret, which signed tokens act as, as an owner",
        tags=["organisations"],
        parameters=[IDEMPOTENCY],
        request=NewTrustSerializer,
        responses={201: TrustSerializer},
    )
    def post(self, request: Request, slug: str) -> Response:
        def add(found: Organisation, **sent: Any) -> Response:
            owner = sent.pop("user", None)
            made = create_trust(organisation=found, owner=owner, **sent, actor=actor_of(request))
            return Response(serialize_trust(made), status=201)

        return self.act(request, slug, NewTrustSerializer, add)


class OneTrust(OneOrganisation):
    http_method_names = ["get", "patch", "options"]
    rules = {
        "GET": read_rule(permissions.SEE_ORGANISATIONS),
        "PATCH": write_rule(permissions.CHANGE_ORGANISATION, own=True),
    }

    def trust(self, found: Organisation, key_id: str) -> Trust:
        """Raises Http404."""
        if (trust := trusts_of(found).filter(key__public_id=key_id.replace("\0", "")).first()) is None:
            raise Http404
        return trust

    @extend_schema(
        operation_id="organisations_read_trust",
        summary="Read a trust, as a maintainer",
        tags=["organisations"],
        responses={200: TrustSerializer},
    )
    def get(self, request: Request, slug: str, key_id: str) -> Response:  # type: ignore[override]
        return Response(serialize_trust(self.trust(find_managed(self, request, slug), key_id)))

    @extend_schema(
        operation_id="organisations_change_trust",
        summary="Change whose tokens a trust accepts, as an owner",
        tags=["organisations"],
        parameters=[IDEMPOTENCY],
        request=TrustFieldsSerializer(partial=True),
        responses={200: TrustSerializer},
    )
    def patch(self, request: Request, slug: str, key_id: str) -> Response:  # type: ignore[override]
        """Only what is sent is changed. The key's state and rights are changed as those of any key."""

        def change(found: Organisation, **sent: Any) -> Response:
            changed = change_trust(trust=self.trust(found, key_id), actor=actor_of(request), **sent)
            return Response(serialize_trust(changed))

        def partial(**options: Any) -> TrustFieldsSerializer:
            return TrustFieldsSerializer(**options, partial=True)

        return self.act(request, slug, partial, change)


class TryToken(Act):
    @extend_schema(
        operation_id="organisations_try_token",
        summary="Would this token pass, and if not, why not, as a maintainer",
        tags=["organisations"],
        request=TrialTextSerializer,
        responses={200: TrialsSerializer},
    )
    def post(self, request: Request, slug: str) -> Response:
        """Checks it against each trust of the organisation. The portal does not store the token."""
        found = find_managed(self, request, slug)
        sent = TrialTextSerializer(data=request.data)
        sent.is_valid(raise_exception=True)
        return Response(serialize_trials(try_token(found, sent.validated_data["token"])))


def find_managed(view: OneOrganisation, request: Request, slug: str) -> Organisation:
    """The organisation, for a maintainer or an administrator; to read, for auditors too. Raises Http404, NotAllowed."""
    found = view.find(slug)
    if not is_over_all(request, view.rules[request.method or ""]):
        maintainers.require_role(actor_of(request), found, Role.MAINTAINER)
    return found
