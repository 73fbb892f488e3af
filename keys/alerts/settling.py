"""Mark an alert as settled."""

from django.db import transaction
from django.utils import timezone

from keys.actions.actor import Actor
from keys.actions.history import log
from keys.models import Alert


@transaction.atomic
def settle(*, alert: Alert, actor: Actor) -> bool:
    """Record that nobody needs to act on the alert any more. Returns False if somebody did so before."""
    is_first = Alert.objects.filter(pk=alert.pk, settled_at=None).update(
        settled_at=timezone.now(), settled_by=actor.user
    )
    if is_first:
        log(alert, "Marked the alert as settled.", actor=actor)
    return bool(is_first)
