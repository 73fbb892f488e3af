"""What a version's files were when it was registered, over the management API: manifest, signature and public keys."""

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.views.decorators.http import require_safe
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from keys.api.callers import Rule, is_over_all, key_of, user_of
from keys.api.lists import refuse_unknown
from keys.models import ApiKey, Namespace, Organisation
from keys.models.organisations import SHARED
from keys.rights.permissions import VIEW_REGISTRATION
from keys.rights.scopes import Scope
from proxy.api.calls import form_of
from proxy.lists import exports
from proxy.models import Manifest, VersionScan
from proxy.provenance import comparison, presentation, signing
from proxy.provenance.comparison import FileState
from proxy.provenance.presentation import name_of_author

# Those who can read the version in MLflow can read what its files were.
READERS = Rule(scopes=(Scope.REGISTRY_READ, Scope.PORTAL_READ, Scope.PORTAL_ADMIN))
ALL = Rule(permissions=(VIEW_REGISTRATION,))
VERSION = [
    OpenApiParameter("name", str, required=True, description="The registered model's name."),
    OpenApiParameter("version", str, required=True),
    OpenApiParameter("environment", str, enum=ApiKey.Environment.values, description="live if left out."),
    OpenApiParameter("organisation", str, description=f"Its slug; {SHARED} if left out."),
]

FORM = OpenApiParameter("form", str, enum=list(exports.TYPES), description="csv if left out.")


class FileSerializer(serializers.Serializer[FileState]):
    path = serializers.CharField(help_text="In the version's folder.")
    size = serializers.IntegerField(allow_null=True, help_text="Bytes; null: unknown.")
    sha256 = serializers.CharField(help_text="As registered; empty: not seen.")
    origin = serializers.CharField(
        help_text="seen: hashed while uploaded; read: hashed later; not_seen; empty: added since."
    )
    state = serializers.ChoiceField(choices=comparison.STATES)
    changed_at = serializers.DateTimeField(source="event.at", default=None, allow_null=True)
    changed_by = serializers.SerializerMethodField(help_text="Only for staff who see all registrations.")
    found_sha256 = serializers.CharField(source="event.sha256", default="", help_text="What it is by now.")

    def get_changed_by(self, state: FileState) -> str:
        return name_of_author(state) if self.context.get("shows_people") else ""


class RatingSerializer(serializers.Serializer[Any]):
    path = serializers.CharField()
    rating = serializers.ChoiceField(choices=VersionScan.Rating.choices)
    note = serializers.CharField(help_text="Why.")
    imports = serializers.ListField(child=serializers.CharField(), help_text="Of a pickle: those to look at.")
    is_examined = serializers.BooleanField(
        required=False,
        help_text="false: a file that was not examined to its end. Missing in older ratings.",
    )


class ManifestSerializer(serializers.Serializer[Manifest]):
    name = serializers.CharField(source="object_name")
    version = serializers.CharField()
    environment = serializers.ChoiceField(choices=ApiKey.Environment.choices)
    registered_at = serializers.DateTimeField(source="registration.at")
    request_id = serializers.CharField(source="registration.request_id")
    extent = serializers.ChoiceField(choices=Manifest.Extent.choices)
    digest = serializers.CharField(help_text="SHA-256 of the manifest, which its row of the ledger contains.")
    ledger_sequence = serializers.IntegerField(source="row.sequence", allow_null=True)
    is_signed = serializers.SerializerMethodField()
    state = serializers.SerializerMethodField(help_text="The worst state of a file; empty: no files.")
    rating = serializers.CharField(
        source="scan.rating",
        default="",
        help_text="What the files can do when loaded: harmless, unusual, dangerous; empty: not scanned yet.",
    )
    ratings = serializers.SerializerMethodField(help_text="Of each file.")
    files = serializers.SerializerMethodField()

    def get_is_signed(self, manifest: Manifest) -> bool:
        return bool(manifest.signature)

    def get_state(self, manifest: Manifest) -> str:
        return comparison.worst(self.context["states"])

    @extend_schema_field(RatingSerializer(many=True))
    def get_ratings(self, manifest: Manifest) -> list[dict[str, Any]]:
        scan = getattr(manifest, "scan", None)
        return scan.files if scan else []

    @extend_schema_field(FileSerializer(many=True))
    def get_files(self, manifest: Manifest) -> list[dict[str, Any]]:
        return list(FileSerializer(self.context["states"], many=True, context=self.context).data)


class OfVersion(GenericAPIView[Manifest]):
    rules = {"GET": READERS}
    serializer_class = ManifestSerializer
    filter_backends = ()
    pagination_class = None
    more_parameters = frozenset({"name", "version", "environment", "organisation"})

    def manifest(self, request: Request) -> Manifest:
        """The manifest of the version that the query names. Raises Http404, and Refusal (400)."""
        refuse_unknown(request, set(self.more_parameters))
        name, version = request.query_params.get("name", ""), request.query_params.get("version", "")
        environment = request.query_params.get("environment", "live")
        slug = request.query_params.get("organisation", SHARED)
        is_text = "\0" not in f"{name}{version}{environment}{slug}"
        namespace = readable_namespace(request, environment, slug) if is_text else None
        manifest = Manifest.objects.of_version(namespace, name, version) if namespace else None
        if manifest is None:
            raise Http404
        return manifest


def readable_namespace(request: Request, environment: str, slug: str) -> Namespace | None:
    """Where the caller may read: a key for MLflow in its own organisation, whatever the query names; a session, or a
    key for the portal, in the organisations of its user, and in all for staff who see all registrations."""
    key = key_of(request)
    if key is not None and not is_of_portal(key):
        return key.namespace
    organisations = Organisation.objects
    rows = organisations.all() if sees_all(request) else organisations.of_user(user_of(request))
    organisation = rows.filter(slug=slug).first()
    return Namespace.of(environment, organisation) if organisation else None


def sees_all(request: Request) -> bool:
    """Whether the caller sees each registration, and who changed a file: staff, as on the pages."""
    key = key_of(request)
    return is_over_all(request, ALL) and (key is None or is_of_portal(key))


def is_of_portal(key: ApiKey) -> bool:
    return bool({Scope.PORTAL_READ, Scope.PORTAL_ADMIN} & set(key.scopes))


class VersionManifest(OfVersion):
    @extend_schema(
        operation_id="manifests_read",
        summary="The files of a version as registered, and their state now",
        tags=["manifests"],
        parameters=VERSION,
    )
    def get(self, request: Request) -> Response:
        manifest = self.manifest(request)
        context = {"states": comparison.compare(manifest), "shows_people": sees_all(request)}
        return Response(ManifestSerializer(manifest, context=context).data)


class ManifestExport(OfVersion):
    more_parameters = OfVersion.more_parameters | {"form"}

    @extend_schema(
        operation_id="manifests_export",
        summary="Export the files of a version as a file",
        tags=["manifests"],
        parameters=[*VERSION, FORM],
        responses={(200, "text/csv"): OpenApiTypes.STR, (200, "application/x-ndjson"): OpenApiTypes.STR},
    )
    def get(self, request: Request) -> HttpResponseBase:
        form, states = form_of(request), comparison.compare(self.manifest(request))
        rows = presentation.rows(states, shows_people=sees_all(request))
        return exports.download("manifest", form, presentation.FIELDS, rows)


class VersionSignature(OfVersion):
    @extend_schema(
        operation_id="manifests_signature",
        summary="The signature of a version, for `model_signing verify key`",
        tags=["manifests"],
        parameters=VERSION,
        responses={(200, "application/json"): OpenApiTypes.BINARY},
    )
    def get(self, request: Request) -> HttpResponse:
        manifest = self.manifest(request)
        if not manifest.signature:
            raise Http404
        headers = {"Content-Disposition": 'attachment; filename="model.sig"'}
        return HttpResponse(manifest.signature, content_type="application/json", headers=headers)


@require_safe
def public_keys(request: HttpRequest) -> HttpResponse:
    """Every public key with which this portal signs or has signed, the current one first."""
    return JsonResponse({"keys": signing.public_keys()})


@require_safe
def public_key(request: HttpRequest) -> HttpResponse:
    """The current public key, or with `?key_id=` another one, as PEM."""
    wanted = request.GET.get("key_id", "")
    for key in signing.public_keys():
        if wanted in ("", key["key_id"]):
            return HttpResponse(key["public_key"], content_type="application/x-pem-file")
    raise Http404
