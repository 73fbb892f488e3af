"""Group rules over the management API. Staff see and change all. Owners see the rules that grant roles in their
organisation, and change those of its own directory."""

from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from keys.api.callers import Rule, actor_of, read_rule, visible_rows, write_rule
from keys.api.once import IDEMPOTENCY, once
from keys.api.serializers import NothingSerializer, StrictSerializer
from keys.directory.rules import add_rule, remove_rule
from keys.formatting.moments import format_rfc3339
from keys.models import GroupRule, Membership, Organisation, User
from keys.models.directories import RULE_ROLES
from keys.pages.frame import row_number
from keys.rights import permissions


class GroupRuleSerializer(serializers.Serializer[Any]):
    id = serializers.CharField(help_text="rule_…")
    group = serializers.CharField(help_text="The group's name or its id in the directory.")
    role = serializers.ChoiceField(choices=RULE_ROLES)
    organisation = serializers.CharField(allow_null=True, help_text="The slug; null: the role is in staff.")
    directory = serializers.CharField(
        help_text="Whose directory and providers name the group; shared: those for all."
    )
    created_at = serializers.DateTimeField()


class NewGroupRuleSerializer(StrictSerializer):
    group = serializers.CharField(max_length=255)
    role = serializers.ChoiceField(choices=RULE_ROLES)
    organisation = serializers.SlugRelatedField(
        slug_field="slug", queryset=Organisation.objects.all(), required=False, allow_null=True, default=None
    )
    directory = serializers.SlugRelatedField(
        slug_field="slug", queryset=Organisation.objects.all(), required=False, allow_null=True, default=None
    )


def serialize_rule(rule: GroupRule) -> dict[str, Any]:
    return {
        "id": f"rule_{rule.pk}",
        "group": rule.group,
        "role": rule.role,
        "organisation": rule.organisation.slug if rule.organisation else None,
        "directory": rule.directory.slug,
        "created_at": format_rfc3339(rule.created_at),
    }


def find_rule(public_id: str) -> GroupRule | None:
    """The rule of an id such as rule_12."""
    number = row_number(public_id.removeprefix("rule_"))
    return None if number is None else GroupRule.objects.with_organisations().filter(pk=number).first()


def own(user: User) -> Q:
    """Those of organisations that the user owns."""
    owned = user.memberships.filter(role=Membership.Role.OWNER).values("organisation")
    return Q(organisation__in=owned, organisation__closed_at=None)


class GroupRules(GenericAPIView[GroupRule]):
    rules: dict[str, Rule] = {
        "GET": read_rule(permissions.SEE_ORGANISATIONS),
        "POST": write_rule(permissions.CHANGE_ORGANISATION, own=True),
    }
    queryset = GroupRule.objects.with_organisations()
    serializer_class: Any = GroupRuleSerializer
    filter_backends = ()

    def get_queryset(self) -> "QuerySet[GroupRule]":
        return visible_rows(self, super().get_queryset(), own)

    @extend_schema(
        operation_id="group_rules_list",
        summary="List group rules, newest first",
        tags=["organisations"],
        responses={200: GroupRuleSerializer(many=True)},
    )
    def get(self, request: Request) -> Response:
        page = self.paginate_queryset(self.get_queryset()) or []
        return self.get_paginated_response([serialize_rule(each) for each in page])

    @extend_schema(
        operation_id="group_rules_add",
        summary="Grant the users in a group a role",
        tags=["organisations"],
        parameters=[IDEMPOTENCY],
        request=NewGroupRuleSerializer,
        responses={201: GroupRuleSerializer},
    )
    def post(self, request: Request) -> Response:
        """Without an organisation, the role is in staff: only a signed-in superuser may do that."""

        def act() -> Response:
            sent = NewGroupRuleSerializer(data=request.data)
            sent.is_valid(raise_exception=True)
            rule = add_rule(**sent.validated_data, actor=actor_of(request))
            return Response(serialize_rule(rule), status=201)

        return once(request, transaction.atomic(act))


class RemoveGroupRule(GroupRules):
    http_method_names = ["post", "options"]
    rules = {"POST": write_rule(permissions.CHANGE_ORGANISATION, own=True)}

    @extend_schema(
        operation_id="group_rules_remove",
        summary="Remove a group rule, and the roles that only it granted",
        tags=["organisations"],
        parameters=[IDEMPOTENCY],
        request=NothingSerializer,
        responses={200: GroupRuleSerializer},
    )
    def post(self, request: Request, group_rule_id: str = "") -> Response:
        def act() -> Response:
            NothingSerializer(data=request.data).is_valid(raise_exception=True)
            found = find_rule(group_rule_id)
            rule = self.get_queryset().filter(pk=found.pk).first() if found else None
            if rule is None:
                raise Http404
            shown = serialize_rule(rule)
            remove_rule(rule=rule, actor=actor_of(request))
            return Response(shown)

        return once(request, transaction.atomic(act))
