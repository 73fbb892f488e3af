"""The ledger of registrations over the management API: its rows, its head and its verification."""

import dataclasses
from itertools import islice
from typing import Any, cast

from django.db.models import Q, QuerySet
from django.http import Http404, HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from keys.api.callers import read_rule, visible_rows
from keys.api.fields import JsonObject
from keys.api.lists import number
from keys.api.serializers import StrictSerializer
from keys.models import ApiKey, User
from keys.rights.permissions import VIEW_REGISTRATION
from proxy.api.calls import LEDGER_FORM, form_of
from proxy.ledger import stamps, verification
from proxy.ledger.authority import AuthorityError
from proxy.ledger.verification import Head
from proxy.lists import exports
from proxy.lists.filters import RegistrationFilters
from proxy.lists.read_replica import from_replica
from proxy.models import Registration, RegistrationQuerySet
from proxy.provenance import verification as provenance


def by_user(user: User) -> Q:
    return Q(user=user)


def keeps_state(state: str | None) -> exports.Keep | None:
    """Whether a version has this label, as `exports.Keep`; None if there is no such filter."""
    return (lambda row, current: current == state) if state else None


class RegistrationSerializer(serializers.Serializer[Registration]):
    """A write to the registry, with the same fields as in the exports."""

    sequence = serializers.IntegerField(
        allow_null=True, help_text="The position in the chain; null: pending."
    )
    request_id = serializers.CharField()
    at = serializers.DateTimeField()
    user = serializers.CharField()
    user_id = serializers.CharField()
    key = serializers.CharField()
    key_id = serializers.CharField()
    actor = serializers.CharField()
    environment = serializers.ChoiceField(choices=ApiKey.Environment.choices)
    operation = serializers.CharField()
    kind = serializers.CharField()
    is_prompt = serializers.BooleanField()
    object_name = serializers.CharField()
    version = serializers.CharField()
    new_name = serializers.CharField()
    run_id = serializers.CharField()
    source = serializers.CharField()  # type: ignore[assignment]
    tags = serializers.DictField(child=serializers.CharField(allow_null=True))
    detail = JsonObject()
    tag_rules = serializers.CharField(help_text="complete, missing, malformed; empty: no version was made.")
    tag_problems = serializers.ListField(child=serializers.CharField())
    address = serializers.CharField(allow_null=True)
    outcome = serializers.ChoiceField(choices=Registration.Outcome.choices)
    status = serializers.IntegerField(allow_null=True)
    reason = serializers.CharField()
    completed_at = serializers.DateTimeField(allow_null=True)
    created_ms = serializers.IntegerField(allow_null=True)
    digest = serializers.CharField()
    hash = serializers.CharField()
    quarantine = serializers.CharField(
        help_text="Since when the version is in quarantine, and why; empty: it is not."
    )
    organisation = serializers.CharField(help_text="In whose registry: its slug.")
    subject = serializers.CharField(
        help_text="The claim sub of the signed token with which a trust was used."
    )


class Registrations(GenericAPIView[Registration]):
    rules = {"GET": read_rule(VIEW_REGISTRATION)}
    queryset = Registration.objects.with_people()
    serializer_class = RegistrationSerializer
    filterset_class = RegistrationFilters

    def get_queryset(self) -> QuerySet[Registration]:
        return visible_rows(self, super().get_queryset(), by_user)

    def page(self, rows: RegistrationQuerySet, size: int, after: str | None) -> list[Registration]:
        before = number(after) if after is not None else None
        if (keep := self.keep()) is None:
            return rows.page(size, before=before)
        return [row for row, _ in islice(exports.with_findings(rows, keep, before=before), size)]

    def keep(self) -> exports.Keep | None:
        return keeps_state(self.request.query_params.get("rules"))

    @extend_schema(
        operation_id="registrations_list",
        summary="List registrations, latest first",
        tags=["registrations"],
        responses={200: RegistrationSerializer(many=True)},
    )
    @from_replica
    def get(self, request: Request) -> HttpResponseBase:
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset())) or []
        findings = exports.rules(page)
        return self.get_paginated_response(
            [exports.of_registration(row, findings.get(row.pk)) for row in page]
        )


class RegistrationExport(Registrations):
    pagination_class = None
    more_parameters = frozenset({"form"})

    @extend_schema(
        operation_id="registrations_export",
        summary="Export the registrations that match the filters as a file",
        tags=["registrations"],
        parameters=[LEDGER_FORM],
        filters=True,
        responses={(200, "text/csv"): OpenApiTypes.STR, (200, "application/x-ndjson"): OpenApiTypes.STR},
    )
    @from_replica
    def get(self, request: Request) -> HttpResponseBase:
        form, matching = form_of(request), self.filter_queryset(self.get_queryset())
        rows = exports.registrations(cast(RegistrationQuerySet, matching), keep=self.keep())
        return exports.download("registrations", form, exports.REGISTRATION_FIELDS, rows)


class OneRegistration(GenericAPIView[Registration]):
    rules = {"GET": read_rule(VIEW_REGISTRATION)}
    queryset = Registration.objects.with_people()
    serializer_class = RegistrationSerializer
    filter_backends = ()
    pagination_class = None

    @extend_schema(
        operation_id="registrations_read", summary="The registration of a request id", tags=["registrations"]
    )
    def get(self, request: Request, request_id: str) -> Response:
        rows = visible_rows(self, self.get_queryset(), by_user)
        if "\0" in request_id or (row := rows.filter(request_id=request_id).first()) is None:
            raise Http404
        return Response(exports.of_registration(row, exports.rules([row]).get(row.pk)))


@extend_schema_field(OpenApiTypes.DATETIME)
class HeadTime(serializers.CharField):
    """A time that nothing is computed from: heads that were exported long ago may have it in another form."""


class HeadSerializer(StrictSerializer):
    """The end of the chain at some time. Its hash covers every row before it."""

    sequence = serializers.IntegerField(min_value=1, max_value=2**62)
    hash = serializers.RegexField(r"^[0-9a-f]{64}$")
    at = HeadTime(max_length=40, help_text="When this was the head.")


class LedgerSerializer(serializers.Serializer[Any]):
    head = HeadSerializer(allow_null=True)
    pending = serializers.IntegerField(help_text="Rows that are not completed, and so not in the chain yet.")


class StampSerializer(serializers.Serializer[Any]):
    sequence = serializers.IntegerField(help_text="The chain's last row at that time.")
    at = serializers.DateTimeField(help_text="By the authority's clock.")
    authority = serializers.CharField()


class StampsSerializer(serializers.Serializer[Any]):
    """Time-stamps of heads by an RFC 3161 authority. Each is checked against its head; `untrusted` counts those whose
    signatures were not."""

    count = serializers.IntegerField()
    untrusted = serializers.IntegerField(
        help_text="How many have signatures that were not verified, because TIMESTAMP_CERTIFICATES is not set."
    )
    earliest = StampSerializer(allow_null=True)
    latest = StampSerializer(allow_null=True)


class Ledger(GenericAPIView[Registration]):
    rules = {"GET": read_rule(VIEW_REGISTRATION, own=False)}
    serializer_class = LedgerSerializer
    filter_backends = ()
    pagination_class = None

    @extend_schema(
        operation_id="ledger_head", summary="The ledger's head, to store elsewhere", tags=["ledger"]
    )
    def get(self, request: Request) -> Response:
        head = verification.read_head()
        pending = Registration.objects.pending().count()
        return Response({"head": head and dataclasses.asdict(head), "pending": pending})


class StoredHeadSerializer(HeadSerializer):
    """A head, or a line of `stamp_ledger --json`."""

    authority = serializers.CharField(required=False, help_text="Which authority time-stamped it.")
    time_stamp = serializers.CharField(
        required=False, help_text="The authority's response in base64, which is verified too."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        head = {name: attrs[name] for name in ("sequence", "hash", "at")}
        try:
            stamps.verify_stored(attrs.get("time_stamp"), Head(**head))
        except AuthorityError as error:
            raise serializers.ValidationError({"time_stamp": [f"It is not valid: {error}."]}) from None
        except ValueError:
            raise serializers.ValidationError({"time_stamp": ["It is not base64."]}) from None
        return head


class VerifySerializer(StrictSerializer):
    heads = StoredHeadSerializer(
        many=True, required=False, help_text="Stored heads, to check that they are still in the chain."
    )


class VerificationSerializer(serializers.Serializer[Any]):
    ok = serializers.BooleanField()
    rows = serializers.IntegerField(help_text="The number of correct rows, counted from the first.")
    pending = serializers.IntegerField()
    head = HeadSerializer(allow_null=True)
    problem = serializers.CharField(help_text="The first problem; empty: none.")
    time_stamps = StampsSerializer()


class Verification(GenericAPIView[Registration]):
    rules = {"POST": read_rule(VIEW_REGISTRATION, own=False)}
    serializer_class = VerifySerializer

    @extend_schema(
        operation_id="ledger_verify",
        summary="Check every row of the ledger against its chain",
        tags=["ledger"],
        responses={200: VerificationSerializer},
    )
    def post(self, request: Request) -> Response:
        sent = VerifySerializer(data=request.data)
        sent.is_valid(raise_exception=True)
        verdict = provenance.verify([Head(**head) for head in sent.validated_data.get("heads", ())])
        return Response(
            {
                "ok": not verdict.problem,
                "rows": verdict.rows,
                "pending": Registration.objects.pending().count(),
                "head": verdict.head and dataclasses.asdict(verdict.head),
                "problem": verdict.problem,
                "time_stamps": verdict.stamps.as_json(),
            }
        )
