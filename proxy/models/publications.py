"""Publications: registered models that other organisations may read, and who reads them."""

from typing import Any

import pgtrigger
from django.db import models
from django.db.models import Q

from keys.formatting.moments import format_rfc3339
from keys.models import CHANNEL, ApiKey, Namespace, Organisation, User
from keys.models.organisations import SLUG

ALL = ""  # `version`: every version of the model, later ones too. `reader`: every organisation
LONGEST_LOCATION = 1000  # characters


class PublicationQuerySet(models.QuerySet["Publication"]):
    def within(self, namespace: Namespace) -> "PublicationQuerySet":
        """Those of this publisher."""
        return self.filter(**namespace.columns)

    def in_force(self) -> "PublicationQuerySet":
        return self.filter(withdrawn_at=None, organisation__closed_at=None)

    def readable_by(self, reader: Organisation) -> "PublicationQuerySet":
        """Those of others that this organisation may read."""
        return self.in_force().filter(reader__in=[ALL, reader.slug]).exclude(organisation=reader)

    def with_publisher(self) -> "PublicationQuerySet":
        return self.select_related("organisation", "published_by")

    def with_readers(self) -> "PublicationQuerySet":
        return self.with_publisher().prefetch_related("readers__organisation")


class Publication(models.Model):
    """A registered model, or one version of it, that an organisation lets another one read, or all.

    `reader` is a slug and no reference: the portal does not state which other organisations exist.
    """

    environment = models.CharField(max_length=4, choices=ApiKey.Environment)
    organisation = models.ForeignKey(
        Organisation, on_delete=models.PROTECT, related_name="publications", help_text="The publisher."
    )
    name = models.CharField(max_length=500, help_text="The registered model's name.")
    version = models.CharField(max_length=20, blank=True, default=ALL, help_text="Empty: every version.")
    reader = models.CharField(
        max_length=63, blank=True, default=ALL, help_text="The slug of who may read it; empty: all."
    )
    published_at = models.DateTimeField(auto_now_add=True)
    published_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    withdrawn_at = models.DateTimeField(null=True, editable=False)
    withdrawn_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")

    objects = PublicationQuerySet.as_manager()

    class Meta:
        default_permissions = ()
        ordering = ["-published_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                name="publication_once",
                fields=["environment", "organisation", "name", "version", "reader"],
                condition=Q(withdrawn_at=None),
            ),
            models.CheckConstraint(name="publication_has_name", condition=~Q(name="")),
            models.CheckConstraint(
                name="publication_version_number", condition=Q(version="") | Q(version__regex="^[1-9][0-9]*$")
            ),
            models.CheckConstraint(
                name="publication_reader_slug", condition=Q(reader="") | Q(reader__regex=SLUG)
            ),
        ]
        indexes = [models.Index(name="publication_by_reader", fields=["reader", "environment"])]
        triggers = [
            pgtrigger.Protect(name="publication_stays", operation=pgtrigger.Delete),
            pgtrigger.Trigger(
                name="announce_publication",
                when=pgtrigger.After,
                operation=pgtrigger.Insert | pgtrigger.Update,
                func=f"PERFORM pg_notify('{CHANNEL}', 'publication:' || NEW.id); RETURN NULL;",
            ),
        ]

    def __str__(self) -> str:
        what = f"version {self.version} of {self.name}" if self.version else self.name
        return f"{what} to {self.reader or 'all organisations'}"

    @property
    def namespace(self) -> Namespace:
        return Namespace.of(self.environment, self.organisation)

    @property
    def loads(self) -> int:
        """How often the files were asked for, by all readers together."""
        return sum(each.loads for each in self.readers.all())

    def covers(self, name: str, version: str) -> bool:
        return self.name == name and self.version in (ALL, version)


class PublishedFiles(models.Model):
    """Where MLflow has the files of a version that was published when it was read."""

    environment = models.CharField(max_length=4, choices=ApiKey.Environment)
    organisation = models.ForeignKey(Organisation, on_delete=models.PROTECT, related_name="+")
    name = models.CharField(max_length=500)
    version = models.CharField(max_length=20)
    location = models.CharField(
        max_length=LONGEST_LOCATION, help_text="A path in MLflow's store, with the workspace."
    )

    class Meta:
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                name="published_files_once", fields=["environment", "organisation", "name", "version"]
            ),
        ]
        indexes = [models.Index(name="published_files_location", fields=["location"])]

    def __str__(self) -> str:
        return self.location


class PublicationReader(models.Model):
    """How often an organisation read a publication, and since when."""

    publication = models.ForeignKey(Publication, on_delete=models.PROTECT, related_name="readers")
    organisation = models.ForeignKey(Organisation, on_delete=models.PROTECT, related_name="+")
    reads = models.BigIntegerField(default=0, help_text="Calls about the model or a version of it.")
    loads = models.BigIntegerField(
        default=0, help_text="Of these, the calls that asked for a version's files."
    )
    first_at = models.DateTimeField(auto_now_add=True)
    last_at = models.DateTimeField(auto_now=True)

    class Meta:
        default_permissions = ()
        ordering = ["-last_at"]
        constraints = [
            models.UniqueConstraint(name="publication_reader_once", fields=["publication", "organisation"]),
        ]

    def __str__(self) -> str:
        return f"{self.organisation}: {self.reads}"

    def as_json(self) -> dict[str, Any]:
        return {
            "organisation": self.organisation.slug,
            "reads": self.reads,
            "loads": self.loads,
            "since": format_rfc3339(self.first_at),
            "last": format_rfc3339(self.last_at),
        }
