"""Users: the people and machines that hold keys."""

from typing import ClassVar

import pgtrigger
from django.contrib.auth.models import AbstractUser, Group
from django.contrib.auth.models import UserManager as DjangoUserManager
from django.contrib.postgres.expressions import ArraySubquery
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import OuterRef, Q

from keys.models.changes import CHANNEL
from keys.models.public_ids import new_user_id
from keys.rights.groups import AUDITORS, KEY_ADMINS
from keys.rights.roles import Role, find_faults, role_from


def users_matching(text: str) -> Q:
    """Users whose name, id or e-mail address has all words of `text`."""
    condition = Q()
    for word in text.split():
        condition &= Q(username__icontains=word) | Q(public_id__icontains=word) | Q(email__icontains=word)
    return condition


def users_in_role(role: Role) -> Q:
    """Users whose `role` this is."""
    if not role.is_staff:
        return Q(is_superuser=False, is_staff=False)
    if role is Role.SUPERUSER:
        return Q(is_superuser=True)
    staff = Q(is_superuser=False, is_staff=True)
    if role is Role.KEY_ADMIN:
        return staff & Q(groups__name=KEY_ADMINS)
    others = staff & ~Q(groups__name=KEY_ADMINS)
    return others & (Q(groups__name=AUDITORS) if role is Role.AUDITOR else ~Q(groups__name=AUDITORS))


class UserManager(DjangoUserManager["User"]):
    def named(self, text: str) -> "User":
        """The user of this id (`usr_…`), or of this name. Raises User.DoesNotExist."""
        return self.filter(public_id=text).first() or self.get(username=text)

    def with_roles(self) -> "models.QuerySet[User]":
        """Users that know their `role` without another query each."""
        groups = Group.objects.filter(user=OuterRef("pk")).order_by("name").values("name")
        return self.annotate(group_names=ArraySubquery(groups))


class User(AbstractUser):
    """A person or a machine that holds keys. `public_id` (`usr_…`) is what MLflow and the logs see."""

    public_id = models.CharField(max_length=20, unique=True, default=new_user_id, editable=False)
    is_service = models.BooleanField(
        default=False,
        db_default=False,
        editable=False,
        help_text="A machine of one organisation, without a person: it only holds keys, and cannot sign in.",
    )

    rule_role = models.CharField(
        max_length=10,
        blank=True,
        default="",
        db_default="",
        editable=False,
        help_text="The role in staff that group rules granted; empty if a person gave the role.",
    )

    objects: ClassVar[UserManager] = UserManager()

    class Meta:
        verbose_name = "user"
        verbose_name_plural = "users"
        constraints = [
            models.CheckConstraint(
                name="user_service_has_no_rights",
                condition=Q(is_service=False) | Q(is_staff=False, is_superuser=False, email=""),
            ),
            models.CheckConstraint(
                name="user_rules_grant_no_superuser",
                condition=Q(rule_role="")
                | Q(rule_role__in=["auditor", "key_admin"], is_staff=True, is_superuser=False),
            ),
        ]
        triggers = [
            pgtrigger.Trigger(
                name="announce_user",
                when=pgtrigger.After,
                operation=pgtrigger.UpdateOf("is_active", "username", "public_id"),  # type: ignore[no-untyped-call]
                func=f"PERFORM pg_notify('{CHANNEL}', 'user:' || NEW.id); RETURN NEW;",
            )
        ]

    def clean(self) -> None:
        super().clean()
        if self.username.startswith("usr_"):
            raise ValidationError(
                {"username": "A user's name does not begin with usr_: that is how ids begin."}
            )

    @property
    def can_sign_in(self) -> bool:
        """Whether the user has a password, or has signed in before, as with a provider's account."""
        return self.has_usable_password() or self.last_login is not None

    @property
    def is_machine(self) -> bool:
        """Whether the user only holds keys: they cannot sign in, and nobody has invited them to."""
        return not (self.can_sign_in or self.email or self.invitations.exists())

    @property
    def role(self) -> Role:
        return role_from(
            is_staff=self.is_staff, is_superuser=self.is_superuser, groups=self.names_of_groups()
        )

    def role_faults(self) -> list[str]:
        """What of the account does not fit its role: `keys.actions.set_role` mends it."""
        return find_faults(
            is_staff=self.is_staff,
            is_superuser=self.is_superuser,
            groups=self.names_of_groups(),
            permissions=set(self.user_permissions.values_list("codename", flat=True)),
        )

    def names_of_groups(self) -> set[str]:
        if "group_names" in self.__dict__:  # by `with_roles`
            return set(self.__dict__["group_names"])
        return {group.name for group in self.groups.all()}

    def has_rights(self) -> bool:
        """Whether the user is more than a holder of keys."""
        return self.is_staff or self.is_superuser or self.groups.exists() or self.user_permissions.exists()
