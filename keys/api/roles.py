"""Give a user a role."""

from django.db import transaction
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from keys import actions
from keys.api.callers import actor_of, write_rule
from keys.api.once import IDEMPOTENCY, once
from keys.api.people import OneUser
from keys.api.serializers import StrictSerializer, UserSerializer
from keys.rights.permissions import CHANGE_USER, DESCRIPTIONS
from keys.rights.roles import Role


class RoleSerializer(StrictSerializer):
    role = serializers.ChoiceField(choices=[role.value for role in Role])
    permissions = serializers.ListField(
        child=serializers.ChoiceField(choices=list(DESCRIPTIONS)),
        default=list,
        max_length=len(DESCRIPTIONS),
        help_text="Single permissions: all that `custom` has, and in addition to what `auditor` and `key_admin` have.",
    )


class SetRole(OneUser):
    """Only signed-in superusers give roles: whoever finds a key must not become one."""

    http_method_names = ["post", "options"]
    rules = {"POST": write_rule(CHANGE_USER)}

    @extend_schema(
        operation_id="users_role",
        summary="Give a user a role",
        tags=["users"],
        parameters=[IDEMPOTENCY],
        request=RoleSerializer,
        responses={200: UserSerializer},
    )
    def post(self, request: Request, user_id: str) -> Response:
        """By a superuser's session; keys are refused. Replaces the role and the single permissions."""
        user = self.get_user(user_id)

        def act() -> Response:
            sent = RoleSerializer(data=request.data)
            sent.is_valid(raise_exception=True)
            role = Role(sent.validated_data["role"])
            permissions = sent.validated_data["permissions"]
            changed = actions.set_role(user=user, role=role, permissions=permissions, actor=actor_of(request))
            return Response(UserSerializer(changed).data)

        return once(request, transaction.atomic(act))
