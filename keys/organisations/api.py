"""Organisations over the management API. Staff see and change all; other users see their own, by their role in it."""

from collections.abc import Callable
from typing import Any, TypeVar

from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.generics import GenericAPIView
from rest_framework.mixins import ListModelMixin
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from keys.actions import organisations
from keys.actions.errors import NotAllowed
from keys.alerts.invitation_links import mail_membership
from keys.api.callers import Rule, actor_of, read_rule, user_of, visible_rows, write_rule
from keys.api.once import IDEMPOTENCY, once
from keys.api.serializers import NothingSerializer, ReasonSerializer, StrictSerializer
from keys.models import Membership, Organisation, User
from keys.organisations import maintainers
from keys.rights import permissions

Role = Membership.Role
Method = TypeVar("Method", bound=Callable[..., Response])


class MemberSerializer(serializers.Serializer[Membership]):
    user = serializers.CharField(source="user.username")
    user_id = serializers.CharField(source="user.public_id")
    role = serializers.ChoiceField(choices=Role.choices)
    is_service = serializers.BooleanField(source="user.is_service", help_text="A machine without a person.")
    since = serializers.DateTimeField(source="created_at")


class OrganisationSerializer(serializers.Serializer[Organisation]):
    """An organisation. A member who is no maintainer sees only their own membership."""

    slug = serializers.CharField()
    name = serializers.CharField()
    created_at = serializers.DateTimeField()
    closed_at = serializers.DateTimeField(allow_null=True)
    requests_per_minute = serializers.IntegerField(allow_null=True)
    monthly_requests = serializers.IntegerField(allow_null=True)
    monthly_bytes = serializers.IntegerField(allow_null=True)
    publication_rule = serializers.ChoiceField(
        choices=Organisation.PublicationRule.choices,
        help_text="For versions that are rated dangerous or were not examined: warn, or refuse to publish them.",
    )
    members = MemberSerializer(many=True, source="seen_members")


class LimitsSerializer(StrictSerializer):
    name = serializers.CharField(max_length=100, required=False, help_text="The name that people read.")
    requests_per_minute = serializers.IntegerField(
        required=False, allow_null=True, min_value=1, max_value=2**31 - 1, help_text="null: no limit."
    )
    monthly_requests = serializers.IntegerField(
        required=False, allow_null=True, min_value=1, max_value=2**53, help_text="null: no limit."
    )
    monthly_bytes = serializers.IntegerField(
        required=False, allow_null=True, min_value=1, max_value=2**53, help_text="null: no limit."
    )


class NewOrganisationSerializer(StrictSerializer):
    slug = serializers.CharField(
        max_length=63, help_text="Its name in addresses and at MLflow; it never changes."
    )
    name = serializers.CharField(max_length=100, default="", allow_blank=True, help_text="Default: the slug.")


class NewMemberSerializer(StrictSerializer):
    user = serializers.CharField(max_length=150, help_text="The user's name or id (usr_…).")
    role = serializers.ChoiceField(choices=Role.choices, default=Role.MEMBER.value)

    def validate_user(self, value: str) -> User:
        try:
            return User.objects.named(value)
        except User.DoesNotExist:
            raise serializers.ValidationError("There is no such user.") from None


class RoleSerializer(StrictSerializer):
    role = serializers.ChoiceField(choices=Role.choices)


class InviteSerializer(StrictSerializer):
    email = serializers.EmailField(max_length=254)
    role = serializers.ChoiceField(choices=Role.choices, default=Role.MEMBER.value)


class ServiceUserSerializer(StrictSerializer):
    name = serializers.RegexField(
        r"^[\w.@+-]{1,60}\Z", help_text="Its name becomes SLUG.NAME: letters, digits and @ . + - _"
    )


class InvitedSerializer(serializers.Serializer[Any]):
    email = serializers.CharField()
    role = serializers.ChoiceField(choices=Role.choices)
    expires_at = serializers.DateTimeField()
    is_mailed = serializers.BooleanField()
    link = serializers.CharField(help_text="To send to the person, unless it was mailed.")


def own(user: User) -> Q:
    return Q(memberships__user=user, closed_at=None)


def serialize(organisation: Organisation, user: User) -> dict[str, Any]:
    """As the user may see it."""
    members = organisation.memberships.select_related("user").order_by("user__username")
    is_staff = user.is_staff and any(user.has_perm(name) for name in permissions.SEE_ORGANISATIONS)
    if not (is_staff or maintainers.has_role(user, organisation, Role.MAINTAINER)):
        members = members.filter(user=user)
    organisation.seen_members = list(members)  # type: ignore[attr-defined]
    return dict(OrganisationSerializer(organisation).data)


def find_organisation(view: APIView, slug: str) -> Organisation:
    """The organisation, if the caller may see it. Raises Http404."""
    rows = visible_rows(view, Organisation.objects.all(), own).filter(slug=slug.replace("\0", ""))
    if (found := rows.distinct().first()) is None:
        raise Http404
    return found


class Organisations(ListModelMixin, GenericAPIView[Organisation]):
    rules = {
        "GET": read_rule(permissions.SEE_ORGANISATIONS),
        "POST": write_rule(permissions.ADD_ORGANISATION),
    }
    queryset = Organisation.objects.all()
    serializer_class = OrganisationSerializer
    filter_backends = ()

    def get_queryset(self) -> QuerySet[Organisation]:
        return visible_rows(self, super().get_queryset(), own)

    @extend_schema(
        operation_id="organisations_list",
        summary="List organisations, newest first",
        tags=["organisations"],
        responses={200: OrganisationSerializer(many=True)},
    )
    def get(self, request: Request) -> Response:
        page = self.paginate_queryset(self.get_queryset()) or []
        return self.get_paginated_response([serialize(each, user_of(request)) for each in page])

    @extend_schema(
        operation_id="organisations_create",
        summary="Create an organisation",
        tags=["organisations"],
        parameters=[IDEMPOTENCY],
        request=NewOrganisationSerializer,
        responses={201: OrganisationSerializer},
    )
    def post(self, request: Request) -> Response:
        def act() -> Response:
            sent = NewOrganisationSerializer(data=request.data)
            sent.is_valid(raise_exception=True)
            made = organisations.create_organisation(**sent.validated_data, actor=actor_of(request))
            return Response(serialize(made, user_of(request)), status=201)

        return once(request, transaction.atomic(act))


class OneOrganisation(GenericAPIView[Organisation]):
    """Another organisation's slug gets the same answer as one that does not exist."""

    rules: dict[str, Rule] = {
        "GET": read_rule(permissions.SEE_ORGANISATIONS),
        "PATCH": write_rule(permissions.CHANGE_ORGANISATION),
    }
    queryset = Organisation.objects.all()
    serializer_class: Any = OrganisationSerializer
    filter_backends = ()
    pagination_class = None

    def find(self, slug: str) -> Organisation:
        """Raises Http404."""
        return find_organisation(self, slug)

    @extend_schema(operation_id="organisations_read", summary="Read an organisation", tags=["organisations"])
    def get(self, request: Request, slug: str) -> Response:
        return Response(serialize(self.find(slug), user_of(request)))

    @extend_schema(
        operation_id="organisations_change",
        summary="Change an organisation's name or limits",
        tags=["organisations"],
        parameters=[IDEMPOTENCY],
        request=LimitsSerializer,
    )
    def patch(self, request: Request, slug: str) -> Response:
        """Only what is sent is changed."""

        def change(found: Organisation, **sent: Any) -> None:
            organisations.change_organisation(organisation=found, **sent, actor=actor_of(request))

        return self.act(request, slug, LimitsSerializer, change)

    def act(self, request: Request, slug: str, sent_class: Any, action: Callable[..., Any]) -> Response:
        def act() -> Response:
            found = self.find(slug)
            sent = sent_class(data=request.data)
            sent.is_valid(raise_exception=True)
            answer = action(found, **sent.validated_data)
            found = Organisation.objects.get(pk=found.pk)
            return answer if isinstance(answer, Response) else Response(serialize(found, user_of(request)))

        return once(request, transaction.atomic(act))


def acting(
    name: str, summary: str, sent: Any = NothingSerializer, answer: Any = OrganisationSerializer
) -> Callable[[Method], Method]:
    decorator: Callable[[Method], Method] = extend_schema(
        operation_id=f"organisations_{name}",
        summary=summary,
        tags=["organisations"],
        parameters=[IDEMPOTENCY],
        request=sent,
        responses={200: answer},
    )
    return decorator


class Act(OneOrganisation):
    """What owners, maintainers and staff do by POST. `keys.organisations.maintainers` checks the role."""

    http_method_names = ["post", "options"]
    rules = {"POST": write_rule(permissions.CHANGE_ORGANISATION, own=True)}

    def member(self, found: Organisation, user_id: str) -> Membership:
        """Raises Http404, and NotAllowed for who is no owner."""
        if not maintainers.has_role(user_of(self.request), found, Role.OWNER):
            raise NotAllowed(f"only an owner of {found} may do this")
        rows = found.memberships.select_related("user", "organisation")
        if (membership := rows.filter(user__public_id=user_id.replace("\0", "")).first()) is None:
            raise Http404
        return membership


class Close(OneOrganisation):
    http_method_names = ["post", "options"]
    rules = {"POST": write_rule(permissions.CHANGE_ORGANISATION)}

    @acting("close", "Close an organisation for good, and revoke its keys", ReasonSerializer)
    def post(self, request: Request, slug: str) -> Response:
        def close(found: Organisation, reason: str) -> None:
            organisations.close_organisation(organisation=found, reason=reason, actor=actor_of(request))

        return self.act(request, slug, ReasonSerializer, close)


class AddMember(OneOrganisation):
    http_method_names = ["post", "options"]
    rules = {"POST": write_rule(permissions.CHANGE_ORGANISATION)}

    @acting("add_member", "Add a user to an organisation, as staff", NewMemberSerializer)
    def post(self, request: Request, slug: str) -> Response:
        def add(found: Organisation, user: User, role: str) -> None:
            organisations.add_member(organisation=found, user=user, role=role, actor=actor_of(request))

        return self.act(request, slug, NewMemberSerializer, add)


class InviteMember(Act):
    @acting("invite", "Invite a person by mail, as an owner", InviteSerializer, InvitedSerializer)
    def post(self, request: Request, slug: str) -> Response:
        """The person signs in and accepts. Until then, nothing changes for them."""

        def invite(found: Organisation, email: str, role: str) -> Response:
            made, secret = maintainers.invite_member(
                organisation=found, email=email, role=role, actor=actor_of(request)
            )
            link, is_mailed = mail_membership(made, secret)
            content = {"email": email, "role": role, "expires_at": made.expires_at, "is_mailed": is_mailed}
            return Response(InvitedSerializer({**content, "link": link}).data)

        return self.act(request, slug, InviteSerializer, invite)


class SetMemberRole(Act):
    @acting("set_role", "Change a member's role, as an owner", RoleSerializer)
    def post(self, request: Request, slug: str, user_id: str) -> Response:
        def change(found: Organisation, role: str) -> None:
            membership = self.member(found, user_id)
            organisations.set_member_role(membership=membership, role=role, actor=actor_of(request))

        return self.act(request, slug, RoleSerializer, change)


class RemoveMember(Act):
    @acting("remove_member", "Remove a member, and revoke the member's keys in it, as an owner")
    def post(self, request: Request, slug: str, user_id: str) -> Response:
        def remove(found: Organisation) -> None:
            organisations.remove_member(membership=self.member(found, user_id), actor=actor_of(request))

        return self.act(request, slug, NothingSerializer, remove)


class AddServiceUser(Act):
    @acting("add_service_user", "Add a machine without a person, as a maintainer", ServiceUserSerializer)
    def post(self, request: Request, slug: str) -> Response:
        def add(found: Organisation, name: str) -> None:
            maintainers.add_service_user(organisation=found, name=name, actor=actor_of(request))

        return self.act(request, slug, ServiceUserSerializer, add)
