"""What went through: the usage log."""

import pgtrigger
from django.db import models

from keys.models import CHANNEL, ApiKey, User


class Call(models.Model):
    """One authenticated call, refused ones included. No query string, header or body is kept."""

    request_id = models.CharField(max_length=40, unique=True)
    at = models.DateTimeField(db_index=True, help_text="When the call came in.")
    key = models.ForeignKey(ApiKey, on_delete=models.PROTECT, related_name="calls")
    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="calls")
    operation = models.CharField(max_length=80, blank=True, help_text="Empty: not an operation of MLflow's.")
    method = models.CharField(max_length=16)
    path = models.CharField(max_length=1000, help_text="Without the query.")
    status = models.PositiveSmallIntegerField(
        help_text="What the caller got; 499: it went away before the answer."
    )
    reason = models.CharField(
        max_length=40, blank=True, help_text="Why the portal refused; empty if it did not."
    )
    bytes_in = models.BigIntegerField(default=0)
    bytes_out = models.BigIntegerField(default=0)
    duration_ms = models.FloatField(help_text="From the request's arrival to the last byte of the answer.")
    upstream_ms = models.FloatField(default=0, help_text="Of these, waiting for MLflow's first byte.")
    address = models.GenericIPAddressField(null=True)
    client = models.CharField(max_length=100, blank=True, help_text="The caller's User-Agent.")

    class Meta:
        ordering = ["-at", "-id"]
        constraints = [
            models.CheckConstraint(
                name="call_status_is_http", condition=models.Q(status__gte=100, status__lt=600)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.status}"


class OwnerQuerySet(models.QuerySet["Owner"]):
    def of(self, environment: str, kind: str, name: str) -> "OwnerQuerySet":
        return self.filter(environment=environment, kind=kind, name=name)


class Owner(models.Model):
    """Whose an object of MLflow's is: who created it through the portal, or took it over since.

    An object without a row, or without a user in it, belongs to nobody.
    """

    environment = models.CharField(max_length=4, choices=ApiKey.Environment)
    kind = models.CharField(
        max_length=20, help_text="experiment, run, logged_model, registered_model, trace, …"
    )
    name = models.CharField(max_length=500, help_text="Its id at MLflow; a registered model's name.")
    user = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="objects_owned")
    key = models.ForeignKey(ApiKey, on_delete=models.PROTECT, null=True, related_name="objects_created")
    created_at = models.DateTimeField(auto_now_add=True)
    is_shared = models.BooleanField(default=False, help_text="An experiment in which anyone may create runs.")
    is_reserved = models.BooleanField(
        default=False, help_text="A registered model's former name, kept for its owner after a rename."
    )

    objects = OwnerQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(name="owner_of_one_object", fields=["environment", "kind", "name"]),
        ]
        triggers = [
            pgtrigger.Trigger(
                name="announce_owner",
                when=pgtrigger.After,
                operation=pgtrigger.Update | pgtrigger.Delete,
                func=f"PERFORM pg_notify('{CHANNEL}', 'owner:' || OLD.id); RETURN NULL;",
            )
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"
