"""An organisation's publications over the management API: list, publish, withdraw; and what others publish for it."""

from typing import Any

from django.db.models import QuerySet
from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.generics import GenericAPIView
from rest_framework.mixins import ListModelMixin
from rest_framework.request import Request
from rest_framework.response import Response

from keys.api.callers import actor_of, read_rule
from keys.api.fields import JsonObject
from keys.api.serializers import NothingSerializer, StrictSerializer
from keys.models import ApiKey, Membership, Namespace, Organisation
from keys.organisations import maintainers
from keys.organisations.api import Act, acting, find_organisation
from keys.rights import permissions
from proxy.ledger import publication_rules, publishing
from proxy.models import Publication, PublicationReader

EVERY_READER = "The slug of the organisation that may read it; empty: every organisation."
EVERY_VERSION = "One version's number; empty: every version, later ones too."


class ReaderSerializer(serializers.Serializer[PublicationReader]):
    organisation = serializers.CharField(source="organisation.slug")
    reads = serializers.IntegerField(help_text="Calls about the model or a version of it.")
    loads = serializers.IntegerField(help_text="Of these, the calls that asked for a version's files.")
    since = serializers.DateTimeField(source="first_at")
    last = serializers.DateTimeField(source="last_at")


class ReadableSerializer(serializers.Serializer[Publication]):
    environment = serializers.ChoiceField(choices=ApiKey.Environment.choices)
    organisation = serializers.CharField(source="organisation.slug", help_text="The publisher.")
    name = serializers.CharField(help_text="The registered model's name.")
    version = serializers.CharField(help_text=EVERY_VERSION)
    published_at = serializers.DateTimeField()


class PublicationSerializer(ReadableSerializer):
    id = serializers.IntegerField()
    reader = serializers.CharField(help_text=EVERY_READER)
    published_by = serializers.CharField(
        source="published_by.username", allow_null=True, default=None, help_text="null: a command."
    )
    withdrawn_at = serializers.DateTimeField(allow_null=True)
    readers = ReaderSerializer(many=True, source="readers.all", help_text="Who has read it.")


class VisibleVersionSerializer(serializers.Serializer[publishing.VisibleVersion]):
    version = serializers.CharField()
    run_id = serializers.CharField()
    source = serializers.CharField()  # type: ignore[assignment]
    description = serializers.CharField()
    tags = JsonObject()
    files = serializers.CharField(help_text="Where they are; empty: no other organisation can load them.")
    warning = serializers.CharField(
        help_text="Only for the publisher: why it may not be safe to load; empty: no warning."
    )


class VisibleSerializer(serializers.Serializer[publishing.Visible]):
    """What readers see. Of the model itself only if every version is published."""

    name = serializers.CharField()
    description = serializers.CharField()
    tags = JsonObject()
    versions = VisibleVersionSerializer(many=True, help_text="At most 200, the newest first.")


class PublishedSerializer(serializers.Serializer[Any]):
    publication = PublicationSerializer(allow_null=True, help_text="null after a dry run.")
    visible = VisibleSerializer()


class PublishSerializer(StrictSerializer):
    name = serializers.CharField(max_length=500, help_text="The registered model's name.")
    version = serializers.CharField(max_length=20, default="", allow_blank=True, help_text=EVERY_VERSION)
    reader = serializers.CharField(max_length=63, allow_blank=True, help_text=EVERY_READER)
    environment = serializers.ChoiceField(choices=ApiKey.Environment.choices, default="live")
    dry_run = serializers.BooleanField(default=False, help_text="Only return what readers would see.")


class RuleSerializer(StrictSerializer):
    rule = serializers.ChoiceField(
        choices=Organisation.PublicationRule.choices,
        help_text="For versions that are rated dangerous or were not examined: warn, or refuse to publish them.",
    )


class Publications(ListModelMixin, GenericAPIView[Publication]):
    """Publications of the organisation, withdrawn ones too."""

    rules = {"GET": read_rule(permissions.SEE_ORGANISATIONS)}
    queryset = Publication.objects.with_readers()
    serializer_class: Any = PublicationSerializer
    filter_backends = ()

    def get_queryset(self) -> QuerySet[Publication]:
        found = find_organisation(self, self.kwargs["slug"])
        return super().get_queryset().filter(organisation=found)

    @extend_schema(
        operation_id="organisations_publications",
        summary="List an organisation's publications, newest first, with who reads them",
        tags=["organisations"],
        responses={200: PublicationSerializer(many=True)},
    )
    def get(self, request: Request, slug: str) -> Response:
        return self.list(request)


class Readable(ListModelMixin, GenericAPIView[Publication]):
    rules = {"GET": read_rule(permissions.SEE_ORGANISATIONS)}
    queryset = Publication.objects.with_publisher()
    serializer_class: Any = ReadableSerializer
    filter_backends = ()

    def get_queryset(self) -> QuerySet[Publication]:
        return Publication.objects.with_publisher().readable_by(find_organisation(self, self.kwargs["slug"]))

    @extend_schema(
        operation_id="organisations_readable",
        summary="List the models that other organisations publish for this one",
        tags=["organisations"],
        responses={200: ReadableSerializer(many=True)},
    )
    def get(self, request: Request, slug: str) -> Response:
        return self.list(request)


class Publish(Act):
    @acting("publish", "Publish a registered model, as an owner", PublishSerializer, PublishedSerializer)
    def post(self, request: Request, slug: str) -> Response:
        """Other organisations then read it below `/api/mlflow/w/SLUG`. Whether there is a `reader` of this slug is not
        stated. Publishing is a row of the ledger."""

        def publish(found: Organisation, dry_run: bool, **asked: Any) -> Response:
            actor = actor_of(request)
            if dry_run:
                maintainers.require_role(actor, found, Membership.Role.OWNER)
                namespace = Namespace.of(asked["environment"], found)
                visible = publishing.preview(namespace, asked["name"], asked["version"])
                return Response(PublishedSerializer({"publication": None, "visible": visible}).data)
            publication, visible = publishing.publish(organisation=found, actor=actor, **asked)
            return Response(PublishedSerializer({"publication": publication, "visible": visible}).data)

        return self.act(request, slug, PublishSerializer, publish)


class Withdraw(Act):
    @acting("withdraw", "Withdraw a publication, as an owner", NothingSerializer, PublicationSerializer)
    def post(self, request: Request, slug: str, publication_id: str) -> Response:
        """Within a second, every process refuses the readers' calls. Withdrawal is a row of the ledger."""

        def withdraw(found: Organisation) -> Response:
            rows = Publication.objects.with_readers().filter(organisation=found)
            is_number = publication_id.isascii() and publication_id.isdecimal() and len(publication_id) < 19
            if not is_number or (row := rows.filter(pk=int(publication_id)).first()) is None:
                raise Http404
            publishing.withdraw(publication=row, actor=actor_of(request))
            return Response(PublicationSerializer(rows.get(pk=row.pk)).data)

        return self.act(request, slug, NothingSerializer, withdraw)


class SetPublicationRule(Act):
    @acting("set_publication_rule", "Set which versions may be published, as an owner", RuleSerializer)
    def post(self, request: Request, slug: str) -> Response:
        """With `refuse`, only single versions are published whose pickles were all examined to their end, and none of
        whose files is rated dangerous. While something else is published, the rule cannot be set."""

        def set_rule(found: Organisation, rule: str) -> None:
            publication_rules.set_rule(organisation=found, rule=rule, actor=actor_of(request))

        return self.act(request, slug, RuleSerializer, set_rule)
