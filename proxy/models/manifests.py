"""What each version's files were when it was registered, and the keys that signed it."""

import hashlib
import json
from typing import Any

from django.db import models
from django.db.models import Q

from keys.models import ApiKey, Namespace
from proxy.models.registrations import Registration

OPERATION = "model-versions.manifest"  # of the ledger's row
ACTOR = "manifest"
READ_LATER = "read_later"  # what a manifest is about that `manage.py hash_artifacts` made


class ManifestQuerySet(models.QuerySet["Manifest"]):
    def of_version(self, namespace: Namespace, name: str, version: str) -> "Manifest | None":
        """The latest manifest of the version that has, or had last, this model's name and this number."""
        rows = Registration.objects.of_model(namespace, name).versions().filter(version=version)
        registration = rows.order_by("-id").first()
        manifests = self.filter(registration=registration) if registration else self.none()
        return (
            manifests.select_related("registration__user", "registration__organisation", "row", "scan")
            .order_by("-id")
            .first()
        )


class Manifest(models.Model):
    """The files below a version's source, frozen. PostgreSQL refuses to change or delete it; its digest is in the
    ledger.

    `files` lists each file as `{"path", "size", "sha256", "state"}`. The state is `seen` (hashed while it was
    uploaded), `read` (hashed later by `manage.py hash_artifacts`) or `not_seen`, without a digest.
    """

    class Extent(models.TextChoices):
        LISTED = "listed", "All files"  # MLflow listed the folder
        UNLISTED = "unlisted", "Files that passed through the portal"  # MLflow did not list it
        NO_FILES = "no_files", "No files"  # a prompt, or a source without files

    registration = models.ForeignKey(Registration, on_delete=models.PROTECT, related_name="manifests")
    row = models.OneToOneField(Registration, on_delete=models.PROTECT, related_name="manifest_of_row")
    at = models.DateTimeField()
    environment = models.CharField(max_length=4, choices=ApiKey.Environment)
    object_name = models.CharField(max_length=500)
    version = models.CharField(max_length=20)
    root = models.TextField(help_text="The folder below MLflow's artifact root; empty: not in its own store.")
    extent = models.CharField(max_length=10, choices=Extent)
    files: "models.JSONField[list[dict[str, Any]], list[dict[str, Any]]]" = models.JSONField(default=list)
    about: "models.JSONField[dict[str, Any], dict[str, Any]]" = models.JSONField(
        default=dict, help_text="What a prompt is: the SHA-256 of its tags."
    )
    digest = models.CharField(max_length=64, help_text="SHA-256 of the content.")
    signature = models.TextField(blank=True, help_text="A Sigstore bundle; empty: not signed.")

    objects = ManifestQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        default_permissions = ()
        constraints = [
            models.CheckConstraint(name="manifest_digest", condition=Q(digest__regex="^[0-9a-f]{64}$")),
            models.CheckConstraint(
                name="manifest_extent_known", condition=Q(extent__in=["listed", "unlisted", "no_files"])
            ),
        ]
        indexes = [models.Index(name="manifest_by_version", fields=["object_name", "version", "-id"])]

    def __str__(self) -> str:
        return f"{self.object_name} {self.version}"

    @property
    def computed_digest(self) -> str:
        """The digest of the present content; it differs from `digest` if the row was changed."""
        names = ("environment", "object_name", "version", "root", "extent", "files", "about")
        content = {name: getattr(self, name) for name in names}
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def is_complete(self) -> bool:
        """Whether every file has a digest, so that the manifest can be signed."""
        return (
            self.extent == self.Extent.LISTED
            and bool(self.files)
            and all(file["sha256"] for file in self.files)
        )


class SigningKey(models.Model):
    """The public half of a key that signed manifests. It stays after the key was replaced."""

    key_id = models.CharField(max_length=64, primary_key=True, help_text="SHA-256 of the PEM.")
    public_pem = models.TextField()
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-at"]
        default_permissions = ()

    def __str__(self) -> str:
        return self.key_id
