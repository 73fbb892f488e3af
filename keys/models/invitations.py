"""Links with which users set their password."""

from django.db import models
from django.db.models import Q

from keys.models.users import User


class Invitation(models.Model):
    """A link with which its user sets a password, once. The link's secret is not here, only its SHA-256."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="invitations")
    digest = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True)
    accepted_address = models.GenericIPAddressField(null=True)
    withdrawn_at = models.DateTimeField(null=True)

    class Meta:
        default_permissions = ()
        ordering = ["-created_at", "-id"]
        constraints = [
            models.CheckConstraint(
                name="invitation_digest_is_sha256", condition=Q(digest__regex=r"^[0-9a-f]{64}$")
            ),
            models.CheckConstraint(
                name="invitation_ends_once", condition=Q(accepted_at=None) | Q(withdrawn_at=None)
            ),
            models.UniqueConstraint(
                name="invitation_one_open_a_user",
                fields=["user"],
                condition=Q(accepted_at=None, withdrawn_at=None),
            ),
        ]

    def __str__(self) -> str:
        return f"Link for {self.user_id}, {self.created_at:%Y-%m-%d %H:%M} UTC"
