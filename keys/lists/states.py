"""The state of a key as pages show it: a key that is paused because somebody found it is not merely paused."""

from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from keys.models import ApiKey, ApiKeyQuerySet, KeyEvent

LEAKED = "leaked"


def with_leaks(keys: ApiKeyQuerySet) -> ApiKeyQuerySet:
    """The keys, each with `is_leaked`, which spares `shown_state` a query for each paused key of a list."""
    return keys.annotate(is_leaked=Exists(KeyEvent.objects.leaks().filter(key=OuterRef("pk"))))


def with_unseen_secret(keys: ApiKeyQuerySet) -> ApiKeyQuerySet:
    """The unended keys whose holders have yet to create the secret that works (`ApiKey.is_secret_unseen`)."""
    unseen = KeyEvent.objects.unseen_secrets().filter(key=OuterRef("pk"))
    is_ended = Q(revoked_at__isnull=False) | Q(expires_at__lte=timezone.now())
    return keys.exclude(is_ended).filter(Exists(unseen))


def shown_state(key: ApiKey) -> str:
    """The key's state; "leaked" for a paused key whose secret was found in the open."""
    if key.state != ApiKey.State.PAUSED:
        return str(key.state)
    is_leaked = key.is_leaked if hasattr(key, "is_leaked") else key.leak is not None
    return LEAKED if is_leaked else str(key.state)
