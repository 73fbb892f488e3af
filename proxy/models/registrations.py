"""The ledger's table: one row for each write to the registry."""

import datetime
from typing import Any

import pgtrigger
from django.db import models
from django.db.models import Q, Value

from keys.models import CHANNEL, SHARED_ID, SUBJECT_LENGTH, ApiKey, Namespace, Organisation, User
from proxy.models import chain
from proxy.models.tag_rules import Finding, check_tags

# Who did what no user did, by the actor.
WITHOUT_USER = {"manifest": "the portal", "quarantine": "command line", "publish": "command line"}


class RegistrationQuerySet(models.QuerySet["Registration"]):
    """The ledger's rows. Each method narrows; `page` comes last."""

    def within(self, namespace: Namespace) -> "RegistrationQuerySet":
        return self.filter(**namespace.columns)

    def by_user(self, user: User) -> "RegistrationQuerySet":
        return self.filter(user=user)

    def by_key(self, key: ApiKey) -> "RegistrationQuerySet":
        return self.filter(key=key)

    def between(
        self, since: datetime.datetime | None = None, until: datetime.datetime | None = None
    ) -> "RegistrationQuerySet":
        """Asked for from `since` on and before `until`."""
        rows = self
        if since is not None:
            rows = rows.filter(at__gte=since)
        if until is not None:
            rows = rows.filter(at__lt=until)
        return rows

    def with_outcome(self, *outcomes: str) -> "RegistrationQuerySet":
        return self.filter(outcome__in=outcomes)

    def pending(self) -> "RegistrationQuerySet":
        return self.filter(outcome=Registration.Outcome.PENDING)

    def effective(self) -> "RegistrationQuerySet":
        """What changed the registry, or was found in it."""
        return self.filter(outcome__in=Registration.EFFECTIVE)

    def versions(self) -> "RegistrationQuerySet":
        """The rows by which versions came to be: one for each version there ever was."""
        return self.effective().filter(operation="model-versions.create")

    def quarantine_marks(self, namespace: Namespace) -> "RegistrationQuerySet":
        """The rows that quarantined a version or lifted its quarantine, oldest first; the result may be open."""
        without_effect = (Registration.Outcome.REFUSED, Registration.Outcome.NOT_DONE)
        rows = self.within(namespace).filter(actor=Registration.QUARANTINE)
        return rows.exclude(outcome__in=without_effect).order_by("id")

    def in_chain(self) -> "RegistrationQuerySet":
        return self.filter(sequence__isnull=False).order_by("sequence")

    def with_people(self) -> "RegistrationQuerySet":
        return self.select_related("user", "key", "organisation")

    def of_model(self, namespace: Namespace, name: str) -> "RegistrationQuerySet":
        """The history of the registered model that has this name, or had it last.

        Includes its former names, and every model of that name if one was deleted and created again.
        """
        rows = self.model._default_manager.filter(**namespace.columns, outcome__in=Registration.EFFECTIVE)
        ends = Q(operation="registered-models.delete") | Q(operation="registered-models.rename")
        condition = Q(object_name=name) | Q(new_name=name)
        current, before = name, 2**63 - 1
        while (
            rename := rows.filter(new_name=current, id__lt=before, operation="registered-models.rename")
            .order_by("id")
            .last()
        ):
            current, before = rename.object_name, rename.pk
            ended = rows.filter(ends, object_name=current, id__lt=before).order_by("id").last()
            condition |= Q(object_name=current, id__lte=before, id__gt=ended.pk if ended else 0)
        return self.within(namespace).filter(condition, kind__in=("registered_model", "model_version"))

    def page_before(self, row_id: int, size: int) -> "list[Registration]":
        """The rows just newer than the one with this id, newest first: one page back."""
        return list(self.filter(id__gt=row_id).order_by("id")[:size])[::-1]

    def page(self, size: int, *, before: int | None = None) -> "list[Registration]":
        """The newest rows, or the newest before the row with this id: a page costs the same wherever it is."""
        rows = self.order_by("-id")
        if before is not None:
            rows = rows.filter(id__lt=before)
        return list(rows[:size])


class Registration(models.Model):
    """One write to the registry: the actor, the requested change and the outcome.

    The row is inserted before MLflow is called and completed once, from MLflow's response or by
    `proxy.ledger.reconcile`. Triggers refuse every other change and link what is completed into a chain
    (`proxy.ledger.chain`); they are PostgreSQL's own, because pgtrigger's can be silenced by a setting.
    """

    class Outcome(models.TextChoices):
        PENDING = "pending", "Pending"
        DONE = "done", "Done"
        REFUSED = "refused_by_mlflow", "Refused by MLflow"
        NOT_DONE = "not_done", "Not done"
        UNKNOWN = "unknown", "Unknown"
        IMPORTED = "imported", "Imported"

    EFFECTIVE = (Outcome.DONE, Outcome.IMPORTED)
    QUARANTINE = "quarantine"  # the actor of the portal's marks on versions
    BROWSER = "browser"  # the actor of a signed-in user in MLflow's pages

    request_id = models.CharField(max_length=40)
    at = models.DateTimeField(help_text="When it was asked for.")
    user = models.ForeignKey(
        User, on_delete=models.PROTECT, null=True, related_name="registrations", help_text="Empty: unknown."
    )
    key = models.ForeignKey(ApiKey, on_delete=models.PROTECT, null=True, related_name="registrations")
    actor = models.CharField(
        max_length=100, blank=True, help_text="The portal's own command, or the browser, where no key did it."
    )
    environment = models.CharField(max_length=4, choices=ApiKey.Environment)
    organisation = models.ForeignKey(
        Organisation,
        on_delete=models.PROTECT,
        default=SHARED_ID,
        db_default=Value(SHARED_ID),
        related_name="registrations",
        help_text="In whose registry.",
    )
    operation = models.CharField(max_length=80)
    kind = models.CharField(max_length=20, help_text="registered_model, model_version or logged_model.")
    is_prompt = models.BooleanField(default=False, help_text="Said to be a prompt when it was made.")
    object_name = models.CharField(max_length=500, blank=True, help_text="A logged model's id.")
    new_name = models.CharField(max_length=500, blank=True, help_text="Of a renamed model.")
    version = models.CharField(max_length=20, blank=True)
    run_id = models.CharField(max_length=500, blank=True)
    source = models.TextField(blank=True)
    tags: "models.JSONField[dict[str, str | None], dict[str, str | None]]" = models.JSONField(
        default=dict, help_text="As they went to MLflow; null: deleted."
    )
    detail: "models.JSONField[dict[str, Any], dict[str, Any]]" = models.JSONField(
        default=dict, help_text="Alias, stage, description, …"
    )
    address = models.GenericIPAddressField(null=True)
    subject = models.CharField(
        max_length=SUBJECT_LENGTH,
        blank=True,
        default="",
        db_default="",
        help_text="The claim sub of the signed token with which a trust was used.",
    )
    outcome = models.CharField(max_length=20, choices=Outcome, default=Outcome.PENDING)
    status = models.PositiveSmallIntegerField(null=True, help_text="MLflow's answer.")
    reason = models.CharField(
        max_length=80, blank=True, help_text="MLflow's error code; “reconciled” if no answer was seen."
    )
    completed_at = models.DateTimeField(null=True)
    created_ms = models.BigIntegerField(
        null=True, help_text="When MLflow made the object, in its own words: milliseconds since 1970."
    )
    digest = models.CharField(max_length=64, blank=True, editable=False)
    sequence = models.BigIntegerField(null=True, editable=False)
    hash = models.CharField(max_length=64, blank=True, editable=False)

    objects = RegistrationQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(name="registration_of_one_request", fields=["request_id"]),
            models.UniqueConstraint(name="registration_place_in_chain", fields=["sequence"]),
            models.CheckConstraint(
                name="registration_outcome_known",
                condition=Q(
                    outcome__in=["pending", "done", "refused_by_mlflow", "not_done", "unknown", "imported"]
                ),
            ),
            models.CheckConstraint(
                name="registration_sealed_when_completed",
                condition=Q(outcome="pending", completed_at=None, sequence=None, digest="", hash="")
                | Q(completed_at__isnull=False, sequence__isnull=False)
                & Q(digest__regex="^[0-9a-f]{64}$", hash__regex="^[0-9a-f]{64}$")
                & ~Q(outcome="pending"),
            ),
            models.CheckConstraint(
                name="registration_has_key_or_actor",
                condition=Q(key__isnull=False, user__isnull=False, actor="") | (Q(key=None) & ~Q(actor="")),
            ),
        ]
        indexes = [
            models.Index(name="registration_by_user", fields=["user", "-id"]),
            models.Index(name="registration_by_key", fields=["key", "-id"]),
            models.Index(name="registration_by_name", fields=["object_name", "-id"]),
            models.Index(name="registration_by_new_name", fields=["new_name"], condition=~Q(new_name="")),
            models.Index(name="registration_by_time", fields=["at"]),
            models.Index(
                name="registration_quarantines",
                fields=["environment", "organisation", "id"],
                condition=Q(actor="quarantine"),
            ),
            models.Index(name="registration_pending", fields=["id"], condition=Q(outcome="pending")),
        ]
        triggers = [
            pgtrigger.Trigger(
                name="announce_quarantine",
                when=pgtrigger.After,
                operation=pgtrigger.Insert | pgtrigger.Update,
                condition=pgtrigger.Condition("NEW.actor = 'quarantine'"),
                func=f"""
                    PERFORM pg_notify(
                        '{CHANNEL}', 'quarantine:' || NEW.environment || ' ' || NEW.organisation_id
                    );
                    RETURN NULL;
                """,
            )
        ]

    def __str__(self) -> str:
        return f"{self.operation} {self.object_name}{f' {self.version}' if self.version else ''}"

    @property
    def done_by(self) -> str:
        """Who did it, for people: the user; where no user did, the portal or a command. MLflow knows nobody for a model
        that the ledger lacked."""
        return self.user.username if self.user else WITHOUT_USER.get(self.actor, "unknown")

    @property
    def namespace(self) -> Namespace:
        return Namespace(self.environment, self.organisation_id)  # type: ignore[arg-type]  # never None

    @property
    def computed_digest(self) -> str:
        """The digest of the row's present content; it differs from `digest` if the row was changed."""
        user, key = self.user, self.key
        people = {
            "user": user and user.public_id,
            "key": key and key.public_id,
            "organisation": "" if self.organisation_id == SHARED_ID else self.organisation.slug,
            "subject": self.subject,
        }
        values = {name: getattr(self, name) for name in chain.SEALED if name not in people}
        return chain.compute_digest({**values, **people})

    @property
    def tag_rules(self) -> Finding | None:
        """How the tag rules apply to the tags with which the version was registered; None for other rows.

        `proxy.ledger.compliance.current_versions` applies them to the tags that the version has by now.
        """
        if self.operation != "model-versions.create" or self.is_prompt:
            return None
        return check_tags(self.tags)
