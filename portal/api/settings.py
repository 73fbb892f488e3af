"""The settings in force, over the management API: as on the page, for superusers."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from keys.api.callers import read_rule, user_of
from keys.models import User
from keys.refusals import forbidden
from portal.pages.settings_page import SOURCES, all_in_force


class SettingSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    value = serializers.CharField(help_text="Of a secret: set or not set.")
    source = serializers.ChoiceField(  # type: ignore[assignment]
        choices=SOURCES,
        help_text="Where the value comes from.",
    )
    is_secret = serializers.BooleanField()


class SettingsSerializer(serializers.Serializer[Any]):
    results = SettingSerializer(many=True)


class Settings(GenericAPIView[User]):
    rules = {"GET": read_rule(own=False)}
    serializer_class = SettingsSerializer
    filter_backends = ()
    pagination_class = None

    @extend_schema(
        operation_id="settings",
        summary="The settings in force, without their secrets; for superusers",
        tags=["health"],
    )
    def get(self, request: Request) -> Response:
        if not user_of(request).is_superuser:
            raise forbidden("permission", "Only a superuser sees the settings in force.")
        return Response(SettingsSerializer({"results": all_in_force()}).data)
