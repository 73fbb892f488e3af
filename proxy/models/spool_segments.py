"""How much of each spool segment is in PostgreSQL."""

from django.db import models
from django.db.models.functions import Now


class SpoolSegment(models.Model):
    """How much of a spool segment (`proxy.usage.spool`) is in PostgreSQL, so that no call is written twice."""

    name = models.CharField(max_length=40, primary_key=True)
    taken = models.BigIntegerField(help_text="Bytes.")
    at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"{self.name} {self.taken}"
