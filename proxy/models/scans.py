"""What a version's files can do when they are loaded, as the scanner found it."""

from typing import Any

from django.db import models

from proxy.models.manifests import Manifest

# How the note of such a file begins in rows that were stored before files had `is_examined`.
UNEXAMINED = "a pickle that was not examined"


class VersionScan(models.Model):
    """The rating of a version's files. A scan looks at the files as they are in the store when it runs; `files` has the
    digest that it read of each."""

    class Rating(models.TextChoices):
        HARMLESS = "harmless", "Harmless"
        UNUSUAL = "unusual", "Unusual"
        DANGEROUS = "dangerous", "Dangerous"

    manifest = models.OneToOneField(Manifest, on_delete=models.PROTECT, related_name="scan")
    at = models.DateTimeField(auto_now_add=True)
    rating = models.CharField(max_length=10, choices=Rating)
    scanner = models.CharField(
        max_length=40, blank=True, help_text="Empty: there was no pickle, or no scanner."
    )
    files: "models.JSONField[list[dict[str, Any]], list[dict[str, Any]]]" = models.JSONField(default=list)

    class Meta:
        default_permissions = ()
        constraints = [
            models.CheckConstraint(
                name="scan_rating_known", condition=models.Q(rating__in=["harmless", "unusual", "dangerous"])
            )
        ]

    def __str__(self) -> str:
        return f"{self.manifest} {self.rating}"

    @property
    def is_whole(self) -> bool:
        """Whether MLflow listed the version's files, and every pickle among them was examined to its end."""
        if self.manifest.extent == Manifest.Extent.UNLISTED:
            return False
        return all(file.get("is_examined", not file["note"].startswith(UNEXAMINED)) for file in self.files)
