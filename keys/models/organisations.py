"""Organisations: third parties whose objects at MLflow only their own keys and members can read."""

import datetime
import re
from dataclasses import dataclass
from typing import Any

import pgtrigger
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Count, OuterRef, Q, Subquery, Sum
from django.db.models.functions import Coalesce
from django.utils import timezone

from keys.models.changes import CHANNEL
from keys.models.users import User

SHARED_ID = 1  # the row of SHARED, which a migration creates, so that columns can have it as their default
SHARED = "shared"
# MLflow's own rule and reserved words for the names of workspaces (store/workspace/abstract_store.py).
SLUG = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])$"
RESERVED = frozenset({"default", "workspaces", "api", "ajax-api", "static-files"})


# Of a key, and of an organisation; None: the default, or none.
LIMITS = ("requests_per_minute", "monthly_requests", "monthly_bytes")


def validate_slug(slug: str) -> None:
    """Raises ValidationError for a slug that MLflow would not accept as the name of a workspace."""
    if not re.fullmatch(SLUG, slug):
        raise ValidationError(
            "Use 2 to 63 characters from a-z, 0-9 and -, with a letter or digit first and last."
        )
    if slug in RESERVED:
        raise ValidationError(f"“{slug}” is a reserved word of MLflow's. Choose another slug.")


class OrganisationQuerySet(models.QuerySet["Organisation"]):
    def open(self) -> "OrganisationQuerySet":
        return self.filter(closed_at=None)

    def shared(self) -> "Organisation":
        """The one of users without any."""
        return self.get(pk=SHARED_ID)

    def matching(self, text: str) -> "OrganisationQuerySet":
        """Organisations whose slug or name has all words of `text`."""
        organisations = self
        for word in text.split():
            organisations = organisations.filter(Q(slug__icontains=word) | Q(name__icontains=word))
        return organisations

    def of_user(self, user: User) -> "OrganisationQuerySet":
        """Open organisations in which the user works: those with a membership, and `shared` for a user without any,
        or with a key in it."""
        member = Q(memberships__user=user)
        holder = Q(pk=SHARED_ID, api_keys__owner=user, api_keys__revoked_at=None)
        in_shared = Q(pk=SHARED_ID) if not Membership.objects.filter(user=user).exists() else holder
        return self.open().filter(member | in_shared).distinct()

    def with_counts(self) -> "OrganisationQuerySet":
        """With `member_count`, `key_count` (without revoked keys) and `calls_in_month` (of the last 30 days in UTC,
        from the totals), for lists."""
        today = timezone.now().astimezone(datetime.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        since = today - datetime.timedelta(days=29)
        rows = self.model._default_manager.filter(pk=OuterRef("pk")).order_by().values("pk")
        sums = {
            "member_count": rows.annotate(count=Count("memberships")),
            "key_count": rows.filter(api_keys__revoked_at=None).annotate(count=Count("api_keys")),
            "calls_in_month": rows.filter(call_totals__span="day", call_totals__start__gte=since).annotate(
                count=Sum("call_totals__calls")
            ),
        }
        counts = {name: Coalesce(Subquery(sum_.values("count")), 0) for name, sum_ in sums.items()}
        return self.annotate(**counts)


class Organisation(models.Model):
    """A third party: its members, its keys, and what they create. At MLflow it is the workspace named by its slug.

    The slug never changes and is never used again, because a new workspace of the same name would read the files of
    the former one. So an organisation is closed, and never deleted.
    """

    class PublicationRule(models.TextChoices):
        WARN = "warn", "Warn"
        REFUSE = "refuse", "Refuse"

    slug = models.CharField(
        max_length=63,
        unique=True,
        validators=[validate_slug],
        help_text="Its name in addresses and at MLflow: 2 to 63 characters from a-z, 0-9 and -. It never changes.",
    )
    name = models.CharField(max_length=100, help_text="The name that people read.")
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, blank=True, editable=False, related_name="+"
    )
    closed_at = models.DateTimeField(null=True, blank=True, editable=False)
    requests_per_minute = models.IntegerField(
        null=True, blank=True, help_text="Calls a minute of all keys together; empty: no limit."
    )
    monthly_requests = models.BigIntegerField(
        null=True, blank=True, help_text="Calls a calendar month (UTC) of all keys together; empty: no limit."
    )
    monthly_bytes = models.BigIntegerField(
        null=True, blank=True, help_text="Bytes in and out a calendar month (UTC); empty: no limit."
    )

    publication_rule = models.CharField(
        max_length=10,
        choices=PublicationRule,
        default=PublicationRule.WARN,
        db_default=PublicationRule.WARN,
        editable=False,
        help_text="For versions that are rated dangerous or were not examined.",
    )

    objects = OrganisationQuerySet.as_manager()

    class Meta:
        ordering = ["slug"]
        constraints = [
            models.CheckConstraint(
                name="organisation_publication_rule_known",
                condition=Q(publication_rule__in=["warn", "refuse"]),
            ),
            models.CheckConstraint(
                name="organisation_slug_fits_mlflow",
                condition=Q(slug__regex=SLUG) & ~Q(slug__in=sorted(RESERVED)),
            ),
            models.CheckConstraint(name="organisation_name_not_empty", condition=~Q(name="")),
            models.CheckConstraint(
                name="organisation_shared_is_first",
                condition=Q(pk=SHARED_ID, slug=SHARED) | (~Q(pk=SHARED_ID) & ~Q(slug=SHARED)),
            ),
            models.CheckConstraint(
                name="organisation_shared_stays_open", condition=~Q(pk=SHARED_ID) | Q(closed_at=None)
            ),
            *(
                models.CheckConstraint(
                    name=f"organisation_{limit}_positive",
                    condition=Q(**{limit: None}) | Q(**{f"{limit}__gte": 1}),
                )
                for limit in LIMITS
            ),
        ]
        triggers = [
            pgtrigger.Protect(name="organisation_stays", operation=pgtrigger.Delete),
            pgtrigger.Protect(
                name="organisation_keeps_slug",
                operation=pgtrigger.Update,
                condition=pgtrigger.Condition("OLD.slug IS DISTINCT FROM NEW.slug"),
            ),
            pgtrigger.Trigger(
                name="announce_organisation",
                when=pgtrigger.After,
                operation=pgtrigger.Update,
                func=f"PERFORM pg_notify('{CHANNEL}', 'organisation:' || OLD.id); RETURN NULL;",
            ),
        ]

    def __str__(self) -> str:
        return self.slug

    def clean(self) -> None:
        super().clean()
        validate_slug(self.slug)

    @property
    def is_shared(self) -> bool:
        """Whether it is the organisation of users without one, in which each user's objects are the user's own."""
        return self.pk == SHARED_ID


class Membership(models.Model):
    """A user's role in an organisation."""

    class Role(models.TextChoices):
        MEMBER = "member", "Member"
        MAINTAINER = "maintainer", "Maintainer"
        OWNER = "owner", "Owner"

    organisation = models.ForeignKey(Organisation, on_delete=models.PROTECT, related_name="memberships")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role, default=Role.MEMBER)
    # With a rule's role, `role` is the higher one of these two. Without one, a person gave `role`.
    rule_role = models.CharField(
        max_length=10,
        choices=Role,
        blank=True,
        default="",
        db_default="",
        editable=False,
        help_text="Granted by group rules.",
    )
    hand_role = models.CharField(
        max_length=10,
        choices=Role,
        blank=True,
        default="",
        db_default="",
        editable=False,
        help_text="Given by a person besides that of group rules.",
    )
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, blank=True, editable=False, related_name="+"
    )

    class Meta:
        ordering = ["organisation", "user"]
        constraints = [
            models.UniqueConstraint(name="membership_once", fields=["organisation", "user"]),
            models.CheckConstraint(
                name="membership_role_known", condition=Q(role__in=["member", "maintainer", "owner"])
            ),
            models.CheckConstraint(
                name="membership_sources_fit_role",
                condition=Q(rule_role="", hand_role="")
                | Q(role=models.F("rule_role"))
                | (~Q(rule_role="") & Q(role=models.F("hand_role"))),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user} in {self.organisation}: {self.get_role_display()}"

    @property
    def manages_keys(self) -> bool:
        """Whether the member issues and revokes the organisation's keys."""
        return self.has_role(Membership.Role.MAINTAINER)

    @property
    def manages_members(self) -> bool:
        return self.has_role(Membership.Role.OWNER)

    def has_role(self, role: "Membership.Role") -> bool:
        """Whether the member may do what this role may: an owner is a maintainer as well, and both are members."""
        order = [choice.value for choice in Membership.Role]
        return order.index(self.role) >= order.index(role)


class MemberInvitationQuerySet(models.QuerySet["MemberInvitation"]):
    def open(self) -> "MemberInvitationQuerySet":
        """Those that can still be accepted."""
        return self.filter(ended_at=None, expires_at__gt=timezone.now(), organisation__closed_at=None)


class MemberInvitation(models.Model):
    """An owner's invitation of a user into an organisation, which the user accepts or declines, signed in."""

    organisation = models.ForeignKey(
        Organisation, on_delete=models.PROTECT, related_name="member_invitations"
    )
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="member_invitations")
    role = models.CharField(max_length=10, choices=Membership.Role, default=Membership.Role.MEMBER)
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    expires_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, help_text="When it was accepted, declined or withdrawn.")

    objects = MemberInvitationQuerySet.as_manager()

    class Meta:
        default_permissions = ()
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                name="member_invitation_one_open",
                fields=["organisation", "user"],
                condition=Q(ended_at=None),
            ),
            models.CheckConstraint(
                name="member_invitation_role_known", condition=Q(role__in=["member", "maintainer", "owner"])
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user} into {self.organisation}: {self.get_role_display()}"


@dataclass(frozen=True)
class Namespace:
    """Where names and ids are unique: one organisation's part of one environment's MLflow server."""

    environment: str  # "live" or "test"
    organisation_id: int

    @classmethod
    def of(cls, environment: str, organisation: Organisation) -> "Namespace":
        return cls(environment, organisation.pk)

    @classmethod
    def shared(cls, environment: str) -> "Namespace":
        """That of users without an organisation."""
        return cls(environment, SHARED_ID)

    @classmethod
    def find(cls, environment: str, slug: str = SHARED) -> "Namespace":
        """Raises Organisation.DoesNotExist for an unknown slug."""
        if slug == SHARED:
            return cls.shared(environment)
        return cls.of(environment, Organisation.objects.get(slug=slug))

    @property
    def columns(self) -> dict[str, Any]:
        """The columns with which rows state it."""
        return {"environment": self.environment, "organisation_id": self.organisation_id}

    def __str__(self) -> str:
        """As PostgreSQL's notifications name it."""
        return f"{self.environment} {self.organisation_id}"


def create_shared(**_: Any) -> None:
    """Create the organisation of users without one, after migrations and after Django's tests emptied the tables."""
    Organisation.objects.get_or_create(pk=SHARED_ID, defaults={"slug": SHARED, "name": "Shared"})
