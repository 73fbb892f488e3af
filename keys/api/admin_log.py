"""What administrators did to users, and to what users own: Django's own log, as the admin pages show it."""

from django.contrib.admin.models import LogEntry
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.generics import GenericAPIView
from rest_framework.mixins import ListModelMixin
from rest_framework.request import Request
from rest_framework.response import Response

from keys.actions.history import who_did
from keys.api.callers import read_rule
from keys.lists.columns import describe_entry
from keys.lists.filters import AdminLogFilters
from keys.rights.permissions import VIEW_KEY_EVENT


class AdminLogSerializer(serializers.Serializer[LogEntry]):
    at = serializers.DateTimeField(source="action_time")
    actor = serializers.SerializerMethodField(help_text="The user's name, or `command line`.")
    kind = serializers.CharField(
        source="content_type.name", allow_null=True, help_text="Of what it is about."
    )
    about = serializers.CharField(source="object_repr")
    details = serializers.SerializerMethodField()

    def get_actor(self, entry: LogEntry) -> str:
        return who_did(entry)

    def get_details(self, entry: LogEntry) -> str:
        return describe_entry(entry)


class AdminLog(ListModelMixin, GenericAPIView[LogEntry]):
    rules = {"GET": read_rule(VIEW_KEY_EVENT, own=False)}
    queryset = LogEntry.objects.select_related("user", "content_type")
    serializer_class = AdminLogSerializer
    filterset_class = AdminLogFilters

    @extend_schema(
        operation_id="admin_log_list",
        summary="What administrators did to users and owners, newest first",
        tags=["users"],
        responses={200: AdminLogSerializer(many=True)},
    )
    def get(self, request: Request) -> Response:
        return self.list(request)
