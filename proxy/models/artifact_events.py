"""What the portal knows about the files in MLflow's artifact store: one row for each event of a file."""

import datetime

from django.db import models
from django.db.models import BooleanField, Exists, ExpressionWrapper, OuterRef, Q, Value
from django.db.models.functions import Concat, Substr

from keys.models import ApiKey, User

LONGEST_PATH = 1024  # bytes, the limit of S3; longer paths are not recorded
AFTER_SLASH = "0"  # the character after "/"
BATCH = 2000  # rows


class ArtifactEventQuerySet(models.QuerySet["ArtifactEvent"]):
    def of_path(self, environment: str, path: str) -> "ArtifactEventQuerySet":
        return self.filter(environment=environment, path=path)

    def below(self, environment: str, folder: str) -> "ArtifactEventQuerySet":
        """Events of the files in this folder and in the folders below it."""
        return self.filter(environment=environment, path__gt=f"{folder}/", path__lt=f"{folder}{AFTER_SLASH}")

    def of_tree(self, environment: str, path: str) -> "ArtifactEventQuerySet":
        """Events of the file with this path, and of all files below it if it is a folder."""
        is_below = Q(path__gt=f"{path}/", path__lt=f"{path}{AFTER_SLASH}")
        return self.filter(Q(path=path) | is_below, environment=environment)

    def until(self, at: datetime.datetime) -> "ArtifactEventQuerySet":
        return self.filter(at__lte=at)

    def current(self) -> "ArtifactEventQuerySet":
        """The event of each path that states its present content. Observed differences do not change what is known."""
        rows = self.exclude(kind=ArtifactEvent.Kind.DIFFERENT)
        return rows.order_by("environment", "path", "-at", "-id").distinct("environment", "path")

    def copy_folder(self, environment: str, source: str, target: str) -> None:
        """Repeat the events of the files below `source` for the same files below `target`, where they were moved, with
        the times and people of the former ones. Events that are there already are not repeated."""
        new_path = Concat(Value(target), Substr(OuterRef("path"), len(source) + 1))
        same = ArtifactEvent.objects.filter(
            environment=environment, path=new_path, kind=OuterRef("kind"), at=OuterRef("at")
        )
        rows = []
        for event in self.below(environment, source).filter(~Exists(same)).order_by("id").iterator(BATCH):
            event.pk, event.path = None, f"{target}{event.path[len(source) :]}"
            if len(event.path.encode()) <= LONGEST_PATH:
                rows.append(event)
            if len(rows) == BATCH:
                ArtifactEvent.objects.bulk_create(rows)
                rows = []
        ArtifactEvent.objects.bulk_create(rows)

    def current_and_different(self) -> "ArtifactEventQuerySet":
        """The current event of each path, and the latest difference that was observed at it."""
        is_difference = ExpressionWrapper(Q(kind=ArtifactEvent.Kind.DIFFERENT), output_field=BooleanField())
        rows = self.annotate(is_difference=is_difference)
        names = ("environment", "path", "is_difference")
        return rows.order_by(*names, "-at", "-id").distinct(*names)

    def with_people(self) -> "ArtifactEventQuerySet":
        return self.select_related("user", "key")


class ArtifactEvent(models.Model):
    """Something that happened to one file. Rows are never changed: the latest one states what is known of the file.

    Overwriting and deletion add rows. A write to a file with a known digest adds a `pending` row before MLflow gets the
    request, so that the digest no longer counts if the portal is killed in between.
    """

    class Kind(models.TextChoices):
        UPLOADED = "uploaded", "Uploaded"  # hashed while it passed
        READ = "read", "Read later"  # hashed by `manage.py hash_artifacts`, not when it arrived
        PENDING = "pending", "Being written"  # the outcome is unknown
        KEPT = "kept", "Not changed"  # the write that was pending did not happen
        DIRECT = "direct", "Written directly"  # written to the store without the portal
        DELETED = "deleted", "Deleted"
        DIFFERENT = "different", "Differs in the store"  # a download was not what was recorded

    WITH_DIGEST = (Kind.UPLOADED, Kind.READ, Kind.KEPT, Kind.DIFFERENT)

    environment = models.CharField(max_length=4, choices=ApiKey.Environment)
    path = models.TextField(db_collation="C", help_text="As MLflow stores it, below its artifact root.")
    kind = models.CharField(max_length=10, choices=Kind)
    at = models.DateTimeField()
    size = models.BigIntegerField(null=True, help_text="Bytes.")
    sha256 = models.CharField(max_length=64, blank=True)
    key = models.ForeignKey(ApiKey, on_delete=models.PROTECT, null=True, related_name="+", db_index=False)
    user = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+", db_index=False)
    request_id = models.CharField(max_length=40, blank=True)

    objects = ArtifactEventQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        default_permissions = ()
        constraints = [
            models.CheckConstraint(
                name="artifact_event_has_digest",
                condition=Q(
                    kind__in=["uploaded", "read", "kept", "different"],
                    size__gte=0,
                    sha256__regex="^[0-9a-f]{64}$",
                )
                | Q(kind__in=["pending", "direct", "deleted"], size=None, sha256=""),
            ),
        ]
        indexes = [
            models.Index(name="artifact_event_by_path", fields=["environment", "path", "-at", "-id"]),
            models.Index(name="artifact_event_by_key", fields=["key", "-at"]),
            models.Index(name="artifact_event_by_time", fields=["at"]),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.path}"

    @property
    def has_digest(self) -> bool:
        return bool(self.sha256) and self.kind != self.Kind.DIFFERENT
