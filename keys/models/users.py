"""Users: the people and machines that hold keys."""

from typing import ClassVar

import pgtrigger
from django.contrib.auth.models import AbstractUser
from django.contrib.auth.models import UserManager as DjangoUserManager
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q

from keys.models.changes import CHANNEL
from keys.models.public_ids import new_user_id


def users_matching(text: str) -> Q:
    """Users whose name, id or e-mail address has all words of `text`."""
    condition = Q()
    for word in text.split():
        condition &= Q(username__icontains=word) | Q(public_id__icontains=word) | Q(email__icontains=word)
    return condition


class UserManager(DjangoUserManager["User"]):
    def named(self, text: str) -> "User":
        """The user of this id (`usr_…`), or of this name. Raises User.DoesNotExist."""
        return self.filter(public_id=text).first() or self.get(username=text)


class User(AbstractUser):
    """A person or a machine that holds keys. `public_id` (`usr_…`) is what MLflow and the logs see."""

    public_id = models.CharField(max_length=20, unique=True, default=new_user_id, editable=False)

    objects: ClassVar[UserManager] = UserManager()

    class Meta:
        verbose_name = "user"
        verbose_name_plural = "users"
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

    def has_rights(self) -> bool:
        """Whether the user is more than a holder of keys."""
        return self.is_staff or self.is_superuser or self.groups.exists() or self.user_permissions.exists()
