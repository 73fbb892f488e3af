"""Which keys, events and users a page, the API or a command asks for."""

import datetime
from typing import TYPE_CHECKING

from django.db import models
from django.db.models import Q
from django.utils import timezone

if TYPE_CHECKING:
    from keys.models import ApiKey, KeyEvent  # noqa: F401  # mypy reads what is in the brackets

UNUSED = datetime.timedelta(days=90)  # after which a key counts as forgotten


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    def with_owner(self) -> "ApiKeyQuerySet":
        return self.select_related("owner")

    def for_digests(self, digests: list[str]) -> "ApiKeyQuerySet":
        """Keys of which one of these is the secret's digest, or the previous secret's."""
        return self.filter(Q(digest__in=digests) | Q(previous_digest__in=digests))

    def owned_by(self, text: str) -> "ApiKeyQuerySet":
        """Keys of the user of this name or id."""
        return self.filter(Q(owner__username=text) | Q(owner__public_id=text))

    def owned_by_similar(self, text: str) -> "ApiKeyQuerySet":
        """Keys of users whose name contains this text."""
        return self.filter(owner__username__icontains=text)

    def in_state(self, state: str, *, now: datetime.datetime | None = None) -> "ApiKeyQuerySet":
        """The keys whose `state` is this one: of the states that apply to a key, the first counts."""
        now = now or timezone.now()
        states = {
            "revoked": Q(revoked_at__isnull=False),
            "expired": Q(expires_at__isnull=False, expires_at__lte=now),
            "paused": Q(paused_at__isnull=False),
            "rotating": Q(previous_ends_at__isnull=False, previous_ends_at__gt=now),
            "active": Q(),
        }
        keys = self.filter(states[state])
        for earlier, condition in states.items():
            if earlier == state:
                break
            keys = keys.exclude(condition)
        return keys

    def active(self, *, now: datetime.datetime | None = None) -> "ApiKeyQuerySet":
        return self.active_but_for_owner(now=now).filter(owner__is_active=True)

    def active_but_for_owner(self, *, now: datetime.datetime | None = None) -> "ApiKeyQuerySet":
        """Keys that work, or would if their owner were not deactivated."""
        now = now or timezone.now()
        return self.filter(revoked_at=None, paused_at=None).filter(Q(expires_at=None) | Q(expires_at__gt=now))

    def matching(self, text: str) -> "ApiKeyQuerySet":
        """Keys whose name, owner, id, beginning or end has all words of `text`; masked keys are found too."""
        found = self
        for word in text.replace("…", " ").split():
            found = found.filter(
                Q(name__icontains=word)
                | Q(owner__username__icontains=word)
                | Q(public_id=word)
                | Q(prefix__istartswith=word)
                | Q(last4__iexact=word)
            )
        return found

    def used_since(self, since: datetime.datetime) -> "ApiKeyQuerySet":
        """Keys either of whose secrets was used since then."""
        return self.filter(Q(last_used_at__gte=since) | Q(previous_used_at__gte=since))

    def expiring(self, within: datetime.timedelta) -> "ApiKeyQuerySet":
        """Keys that still work and will not after that time."""
        return self.expiring_before(timezone.now() + within)

    def expiring_before(self, end: datetime.datetime) -> "ApiKeyQuerySet":
        return self.active().filter(expires_at__lte=end)

    def unused(self, start: datetime.datetime | None = None) -> "ApiKeyQuerySet":
        """Keys that work, are older than that and have not been used since, by either secret."""
        start = start or timezone.now() - UNUSED
        return self.active().filter(
            Q(last_used_at=None) | Q(last_used_at__lt=start),
            Q(previous_used_at=None) | Q(previous_used_at__lt=start),
            created_at__lt=start,
        )


class KeyEventQuerySet(models.QuerySet["KeyEvent"]):
    def with_people(self) -> "KeyEventQuerySet":
        return self.select_related("key__owner", "actor")

    def matching(self, text: str) -> "KeyEventQuerySet":
        """Events of keys whose name, id or owner has all words of `text`."""
        found = self
        for word in text.split():
            found = found.filter(
                Q(key__name__icontains=word)
                | Q(key__public_id__icontains=word)
                | Q(key__owner__username__icontains=word)
            )
        return found


def users_matching(text: str) -> Q:
    """Users whose name, id or e-mail address has all words of `text`."""
    condition = Q()
    for word in text.split():
        condition &= Q(username__icontains=word) | Q(public_id__icontains=word) | Q(email__icontains=word)
    return condition
