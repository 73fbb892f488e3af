"""Owners of MLflow's objects: who created them through the portal, or received them since."""

from typing import Any

import pgtrigger
from django.db import models
from django.db.models import Exists, OuterRef, Q, Value

from keys.formatting import lookalikes
from keys.models import CHANNEL, SHARED_ID, ApiKey, Namespace, Organisation, User


class OwnerQuerySet(models.QuerySet["Owner"]):
    def within(self, namespace: Namespace) -> "OwnerQuerySet":
        return self.filter(**namespace.columns)

    def of(self, namespace: Namespace, kind: str, name: str) -> "OwnerQuerySet":
        return self.within(namespace).filter(kind=kind, name=name)

    def registered_models(self) -> "OwnerQuerySet":
        return self.filter(kind="registered_model", is_reserved=False).exclude(skeleton="")

    def look_like(self, namespace: Namespace, name: str) -> "OwnerQuerySet":
        """Registered models of other owners whose names look like this one."""
        alike = self.registered_models().within(namespace).filter(skeleton=lookalikes.make_skeleton(name))
        owner = Owner.objects.of(namespace, "registered_model", name).first()
        others = alike.exclude(user=owner.user) if owner and owner.user_id else alike
        return others.exclude(name=name).select_related("user").order_by("created_at")

    def look_like_models_of(self, user: User) -> "OwnerQuerySet":
        """Registered models of others whose names look like the name of one of this user's."""
        own = Owner.objects.registered_models().filter(
            user=user,
            environment=OuterRef("environment"),
            organisation=OuterRef("organisation"),
            skeleton=OuterRef("skeleton"),
        )
        return self.registered_models().filter(Exists(own)).exclude(user=user).order_by("created_at")

    def owned_by_anybody(self, is_owned: bool) -> "OwnerQuerySet":
        """Objects that have an owner, or those that have none."""
        return self.filter(user__isnull=not is_owned)

    def matching(self, text: str) -> "OwnerQuerySet":
        """Objects whose name or id, or whose owner's name, has all words of `text`."""
        owners = self
        for word in text.split():
            owners = owners.filter(Q(name__icontains=word) | Q(user__username__icontains=word))
        return owners


class Owner(models.Model):
    """The owner of an object at MLflow: the user who created it through the portal, or received it since.

    An object without a row, or without a user in it, belongs to nobody.
    """

    environment = models.CharField(max_length=4, choices=ApiKey.Environment)
    organisation = models.ForeignKey(
        Organisation,
        on_delete=models.PROTECT,
        default=SHARED_ID,
        db_default=Value(SHARED_ID),
        related_name="objects_owned",
        help_text="To which it belongs: only its keys and members can read it.",
    )
    kind = models.CharField(
        max_length=20, help_text="experiment, run, logged_model, registered_model, trace, …"
    )
    name = models.CharField(max_length=500, help_text="Its id at MLflow; a registered model's name.")
    skeleton = models.CharField(
        max_length=lookalikes.LONGEST,
        default="",
        db_default="",
        editable=False,
        help_text="Of a registered model's name: names that look alike have the same.",
    )
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
            models.UniqueConstraint(
                name="owner_of_one_object", fields=["environment", "organisation", "kind", "name"]
            ),
            # MLflow has one list of trace ids for all workspaces, and clients choose them.
            models.UniqueConstraint(
                name="owner_of_one_trace", fields=["environment", "name"], condition=Q(kind="trace")
            ),
        ]
        indexes = [
            models.Index(
                name="owner_skeletons",
                fields=["environment", "organisation", "skeleton"],
                condition=Q(kind="registered_model"),
            ),
        ]
        triggers = [
            pgtrigger.Trigger(
                name="announce_owner",
                when=pgtrigger.After,
                operation=pgtrigger.Update | pgtrigger.Delete,
                func=f"""
                    PERFORM pg_notify(
                        '{CHANNEL}',
                        'owner:' || OLD.environment || ' ' || OLD.organisation_id || ' ' || OLD.kind || ' '
                        || OLD.name
                    );
                    RETURN NULL;
                """,
            )
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"

    def save(self, *arguments: Any, **options: Any) -> None:
        if self._state.adding and self.kind == "registered_model":
            self.skeleton = lookalikes.make_skeleton(self.name)
        super().save(*arguments, **options)

    @property
    def spelled_name(self) -> str:
        """With an escape for each character outside of ASCII, by which names that look the same differ."""
        return self.name.encode("ascii", "backslashreplace").decode()
