"""The management API for a leaked key: what it created or changed, and the quarantine of its versions."""

import dataclasses
from typing import Any

from django.http import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from keys.api.callers import read_rule, user_of, write_rule
from keys.api.fields import OrganisationField, TimeField
from keys.api.keys import one_of
from keys.api.lists import refuse_unknown
from keys.api.serializers import StrictSerializer
from keys.models import ApiKey, Namespace
from keys.refusals import Refusal, conflict, unavailable
from keys.rights import permissions
from proxy.api.calls import LEDGER_FORM, form_of
from proxy.ledger import incident
from proxy.ledger.incident import FileChange
from proxy.lists import exports
from proxy.models import ArtifactEvent, ArtifactEventQuerySet
from proxy.upstream import registry


class SinceSerializer(serializers.Serializer[Any]):
    since = TimeField()


class TouchSerializer(serializers.Serializer[Any]):
    at = serializers.DateTimeField(help_text="The first time.")
    where = serializers.CharField(help_text="Which record it comes from: ledger, owners or calls.")
    operation = serializers.CharField()
    kind = serializers.CharField()
    name = serializers.CharField()
    version = serializers.CharField()
    new_name = serializers.CharField()
    outcome = serializers.CharField()
    times = serializers.IntegerField()
    user = serializers.CharField()
    key = serializers.CharField()
    address = serializers.CharField()
    request_id = serializers.CharField()
    last = serializers.DateTimeField(
        allow_null=True, help_text="The last time, of what the usage log has; null: only once."
    )
    bytes = serializers.IntegerField(help_text="Of a download: how many bytes the responses contained.")


class TouchedSerializer(serializers.Serializer[Any]):
    results = TouchSerializer(many=True)


class Touched(GenericAPIView[ApiKey]):
    rules = {"GET": read_rule(permissions.SEE_KEYS, permissions.VIEW_REGISTRATION, own=False)}
    serializer_class = TouchedSerializer
    filter_backends = ()
    pagination_class = None

    @extend_schema(
        operation_id="keys_touched",
        summary="Everything that a key created, changed or downloaded since a time, oldest first",
        tags=["incidents"],
        parameters=[SinceSerializer],
        responses={200: TouchedSerializer},
    )
    def get(self, request: Request, key_id: str) -> Response:
        refuse_unknown(request, {"since"})
        key = one_of(ApiKey.objects.with_owner(), key_id)
        sent = SinceSerializer(data=request.query_params.dict())
        sent.is_valid(raise_exception=True)
        touches = incident.blast_radius(since=sent.validated_data["since"], key=key)
        return Response({"results": [dataclasses.asdict(touch) for touch in touches]})


class FileChangeSerializer(serializers.Serializer[FileChange]):
    at = serializers.DateTimeField()
    event = serializers.ChoiceField(choices=ArtifactEvent.Kind.choices)
    environment = serializers.ChoiceField(choices=ApiKey.Environment.choices)
    path = serializers.CharField(help_text="In MLflow's artifact store.")
    bytes = serializers.IntegerField(allow_null=True, help_text="null: the event has no digest.")
    sha256 = serializers.CharField(help_text="Empty: the event has no digest.")
    user = serializers.CharField()
    key = serializers.CharField()
    request_id = serializers.CharField()


class Files(GenericAPIView[ArtifactEvent]):
    rules = {"GET": read_rule(permissions.SEE_KEYS, permissions.VIEW_REGISTRATION, own=False)}
    queryset = ArtifactEvent.objects.none()
    serializer_class: Any = FileChangeSerializer
    filter_backends = ()

    def events(self, request: Request, key_id: str) -> ArtifactEventQuerySet:
        """Raises Http404, and ValidationError for `since`."""
        key = one_of(ApiKey.objects.with_owner(), key_id)
        sent = SinceSerializer(data=request.query_params.dict())
        sent.is_valid(raise_exception=True)
        return incident.file_events(since=sent.validated_data["since"], key=key)

    @extend_schema(
        operation_id="keys_files",
        summary="The files that a key wrote since a time, with their SHA-256, latest first",
        tags=["incidents"],
        parameters=[SinceSerializer],
        responses={200: FileChangeSerializer(many=True)},
    )
    def get(self, request: Request, key_id: str) -> HttpResponseBase:
        refuse_unknown(request, {"since", "cursor", "size"})
        page = self.paginate_queryset(self.events(request, key_id)) or []
        return self.get_paginated_response([dataclasses.asdict(incident.describe_file(row)) for row in page])


class FilesExport(Files):
    pagination_class = None

    @extend_schema(
        operation_id="keys_files_export",
        summary="Export the files that a key wrote since a time as a file",
        tags=["incidents"],
        parameters=[SinceSerializer, LEDGER_FORM],
        responses={(200, "text/csv"): OpenApiTypes.STR, (200, "application/x-ndjson"): OpenApiTypes.STR},
    )
    def get(self, request: Request, key_id: str) -> HttpResponseBase:
        refuse_unknown(request, {"since", "form"})
        form, events = form_of(request), self.events(request, key_id).order_by("at", "id")
        rows = (dataclasses.asdict(incident.describe_file(row)) for row in events.iterator(chunk_size=2000))
        return exports.download(f"{key_id}-files", form, incident.FILE_FIELDS, rows)


class QuarantineSerializer(StrictSerializer):
    since = TimeField()
    reason = serializers.CharField(max_length=200, default="", allow_blank=True, help_text="The tag's value.")


class MarkSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    version = serializers.CharField()
    result = serializers.CharField(help_text="marked, marked before, gone or failed; lifted or not marked.")
    problem = serializers.CharField()


class MarksSerializer(serializers.Serializer[Any]):
    results = MarkSerializer(many=True)


class Quarantine(GenericAPIView[ApiKey]):
    rules = {"POST": write_rule(permissions.CHANGE_KEY, permissions.VIEW_REGISTRATION)}
    serializer_class = QuarantineSerializer

    @extend_schema(
        operation_id="keys_quarantine",
        summary="Set hokusai.quarantine on every version that a key registered since a time",
        tags=["incidents"],
        responses={200: MarksSerializer},
    )
    def post(self, request: Request, key_id: str) -> Response:
        """Versions that are marked stay marked. A repeated request marks the remaining ones."""
        key = one_of(ApiKey.objects.with_owner(), key_id)
        sent = QuarantineSerializer(data=request.data)
        sent.is_valid(raise_exception=True)
        upstream = registry_of(key.namespace)
        try:
            marks = incident.quarantine(
                key=key, registry=upstream, by=user_of(request), **sent.validated_data
            )
        except (registry.RegistryError, Refusal) as error:
            raise unavailable("upstream_unreachable", f"{error} What is marked stays marked.") from None
        return Response({"results": [dataclasses.asdict(mark) for mark in marks]})


class LiftSerializer(StrictSerializer):
    name = serializers.CharField(help_text="The registered model's name.")
    version = serializers.CharField()
    environment = serializers.ChoiceField(choices=ApiKey.Environment.choices, default="live")
    organisation = OrganisationField()
    reason = serializers.CharField(max_length=200, help_text="Why it is lifted, for the ledger.")


class LiftQuarantine(GenericAPIView[Any]):
    rules = {"POST": write_rule(permissions.CHANGE_KEY, permissions.VIEW_REGISTRATION)}
    serializer_class = LiftSerializer

    @extend_schema(
        operation_id="quarantine_lift",
        summary="Lift the quarantine of one version, so that keys may change and copy it again",
        tags=["incidents"],
        responses={200: MarkSerializer},
    )
    def post(self, request: Request) -> Response:
        """The result is `lifted`, `not marked` or `failed`."""
        sent = LiftSerializer(data=request.data)
        sent.is_valid(raise_exception=True)
        asked = dict(sent.validated_data)
        upstream = registry_of(Namespace.of(asked.pop("environment"), asked.pop("organisation")))
        try:
            result = incident.lift(registry=upstream, by=user_of(request), **asked)
        except (registry.RegistryError, Refusal) as error:
            raise unavailable("upstream_unreachable", f"{error} Send the call again.") from None
        return Response(dataclasses.asdict(result))


def registry_of(namespace: Namespace) -> registry.Registry:
    """An organisation's registry at MLflow. Raises Refusal (409) if there is none."""
    upstream = registry.registry_of(namespace)
    if upstream is None:
        raise conflict("not_possible", "This is a test key, and there is no test registry (MLFLOW_TEST_URL).")
    return upstream
