"""A directory's users and groups as SCIM sent them, the groups that providers named at sign-in, and the rules that turn
groups into roles.

A directory belongs to one organisation. That of the organisation `shared` is the directory for all: its groups may
grant roles in every organisation and in staff, those of another one only roles in that organisation.
"""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower

from keys.models.organisations import SHARED_ID, Membership, Organisation
from keys.models.public_ids import new_directory_group_id
from keys.models.users import User
from keys.rights.roles import Role


class DirectoryRow(models.Model):
    """What the directory's users and groups share."""

    external_id = models.CharField(max_length=255, blank=True, help_text="The directory's own id.")
    document = models.JSONField(default=dict, help_text="All attributes as the directory sent them.")
    version = models.PositiveIntegerField(default=1)
    created_at = models.DateTimeField(auto_now_add=True)
    changed_at = models.DateTimeField(auto_now=True)

    class Meta:
        abstract = True


class DirectoryUser(DirectoryRow):
    """A user whom a directory keeps. A user deleted there has no row; the account stays, deactivated and renamed."""

    directory = models.ForeignKey(Organisation, on_delete=models.PROTECT, related_name="directory_users")
    user = models.OneToOneField(User, on_delete=models.CASCADE, related_name="directory_user")
    name = models.CharField(max_length=150, help_text="SCIM's userName.")
    is_active = models.BooleanField(
        default=True, help_text="In the directory. A user whom staff deactivated stays deactivated."
    )

    class Meta:
        default_permissions = ()
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint("directory", Lower("name"), name="directory_user_name_once"),
        ]
        indexes = [models.Index(fields=["directory", "external_id"], name="directory_user_external_id")]

    def __str__(self) -> str:
        return f"{self.name} of the directory of {self.directory}"


class DirectoryGroup(DirectoryRow):
    """A group of a directory, and which of its users are in it."""

    public_id = models.CharField(max_length=20, unique=True, default=new_directory_group_id, editable=False)
    directory = models.ForeignKey(Organisation, on_delete=models.PROTECT, related_name="directory_groups")
    name = models.CharField(max_length=255, help_text="SCIM's displayName.")
    members = models.ManyToManyField(DirectoryUser, related_name="groups")

    class Meta:
        default_permissions = ()
        ordering = ["id"]
        indexes = [models.Index(fields=["directory", "external_id"], name="directory_group_external_id")]

    def __str__(self) -> str:
        return f"{self.name} of the directory of {self.directory}"


class ClaimedGroups(models.Model):
    """The groups that a provider named at a user's last sign-in."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="claimed_groups")
    provider = models.CharField(max_length=50)
    directory = models.ForeignKey(Organisation, on_delete=models.PROTECT, related_name="+")
    groups = ArrayField(models.CharField(max_length=255), default=list)
    seen_at = models.DateTimeField(auto_now=True)

    class Meta:
        default_permissions = ()
        ordering = ["id"]
        constraints = [models.UniqueConstraint(name="claimed_groups_once", fields=["user", "provider"])]


STAFF_ROLES = (Role.AUDITOR, Role.KEY_ADMIN)
RULE_ROLES = [*Membership.Role.choices, *((role.value, role.label.capitalize()) for role in STAFF_ROLES)]


class GroupRuleQuerySet(models.QuerySet["GroupRule"]):
    def with_organisations(self) -> "GroupRuleQuerySet":
        return self.select_related("organisation", "directory")


class GroupRule(models.Model):
    """Grants the users in a group a role: in an organisation, or in staff. Never that of a superuser."""

    directory = models.ForeignKey(
        Organisation,
        on_delete=models.PROTECT,
        default=SHARED_ID,
        related_name="group_rules",
        help_text="Whose directory and providers name the group; shared: those for all.",
    )
    group = models.CharField(max_length=255, help_text="The group's name or its id in the directory.")
    organisation = models.ForeignKey(
        Organisation,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="granting_rules",
        help_text="Where the role is granted; empty: in staff.",
    )
    role = models.CharField(
        max_length=10,
        choices=RULE_ROLES,
    )
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, blank=True, editable=False, related_name="+"
    )

    objects = GroupRuleQuerySet.as_manager()

    class Meta:
        ordering = ["group", "id"]
        constraints = [
            models.UniqueConstraint(
                name="group_rule_once", fields=["directory", "group", "organisation"], nulls_distinct=False
            ),
            models.CheckConstraint(name="group_rule_names_a_group", condition=~Q(group="")),
            models.CheckConstraint(
                name="group_rule_role_fits",
                condition=Q(organisation=None, role__in=["auditor", "key_admin"])
                | Q(organisation__isnull=False, role__in=["member", "maintainer", "owner"]),
            ),
            models.CheckConstraint(
                name="group_rule_stays_in_its_organisation",
                condition=Q(directory=SHARED_ID)
                | Q(organisation__isnull=False, organisation=models.F("directory")),
            ),
            models.CheckConstraint(
                name="group_rule_grants_nothing_in_shared",
                condition=Q(organisation=None) | ~Q(organisation=SHARED_ID),
            ),
        ]

    def __str__(self) -> str:
        where = self.organisation.slug if self.organisation else "staff"
        return f"{self.group} → {self.get_role_display()} in {where}"
