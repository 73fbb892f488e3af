"""API keys, and the selections of them that pages, API and commands show."""

import datetime
import re
from typing import Any

import pgtrigger
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, OuterRef, Q, Subquery, Sum, Value
from django.db.models.fields.json import KeyTextTransform
from django.utils import timezone
from django.utils.functional import cached_property

from keys.models.changes import CHANNEL
from keys.models.organisations import LIMITS, SHARED_ID, Namespace, Organisation
from keys.models.public_ids import new_key_id
from keys.models.users import User
from keys.rights.scopes import DEFAULT_PRESET, Scope, describe_missing_reads

EXPIRES_SOON = datetime.timedelta(days=14)  # before the expiry, from when on a key is listed as expiring
UNUSED = datetime.timedelta(days=90)  # without use, after which an older key counts as unused


ENDS = re.compile(r"(?:hk_(?:live|test)_)?[0-9A-Za-z]{4}")  # of a secret, as the pages show it


def words_of(text: str) -> list[str]:
    return text.replace("…", " ").replace("...", " ").split()


def beginnings(word: str) -> list[str]:
    """The prefixes of keys whose first four random characters are this word."""
    if not re.fullmatch("[0-9A-Za-z]{4}", word):
        return []
    return [f"hk_{environment}_{word}" for environment in ("live", "test")]


def default_scopes() -> list[str]:
    return list(DEFAULT_PRESET.scopes)


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    def with_owner(self) -> "ApiKeyQuerySet":
        return self.select_related("owner", "organisation")

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
        """Keys whose name, owner, id, or whose secret's beginning or end has all words of `text`. Masked keys are
        found too, the four characters after `hk_live_`, and the ends of secrets that a rotation replaced."""
        keys = self
        for word in words_of(text):
            ends = Q(prefix__istartswith=word) | Q(last4__iexact=word) | Q(previous_last4__iexact=word)
            ends |= Q(previous_prefix__iexact=word)
            for prefix in beginnings(word):
                ends |= Q(prefix__iexact=prefix) | Q(previous_prefix__iexact=prefix)
            if ENDS.fullmatch(word):
                ends |= Q(pk__in=self.with_former_secret(word).values("pk"))
            keys = keys.filter(
                Q(name__icontains=word) | Q(owner__username__icontains=word) | Q(public_id=word) | ends
            )
        return keys

    def with_former_secret(self, word: str) -> "ApiKeyQuerySet":
        """Keys with a rotation that replaced a secret with this beginning, or these last four characters."""
        rotations = self.model._default_manager.filter(events__kind="rotated").annotate(
            old_prefix=KeyTextTransform("old_prefix", "events__detail"),
            old_last4=KeyTextTransform("old_last4", "events__detail"),
        )
        return rotations.filter(Q(old_prefix__in=[word, *beginnings(word)]) | Q(old_last4=word)).order_by()

    def with_calls(self) -> "ApiKeyQuerySet":
        """With `calls_in_month`: the calls of the last 30 days (UTC) from the totals, None if there are none. A list
        asks it of the rows of a page only, unless it sorts by it: then of all keys (docs/scale.md has the time)."""
        today = timezone.now().astimezone(datetime.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        recent = self.model._default_manager.filter(
            pk=OuterRef("pk"),
            call_totals__span="day",
            call_totals__start__gte=today - datetime.timedelta(days=29),
        )
        sums = recent.order_by().values("pk").annotate(total=Sum("call_totals__calls")).values("total")
        return self.annotate(calls_in_month=Subquery(sums))

    def used_since(self, since: datetime.datetime) -> "ApiKeyQuerySet":
        """Keys either of whose secrets was used since then."""
        return self.filter(Q(last_used_at__gte=since) | Q(previous_used_at__gte=since))

    def expiring(self, within: datetime.timedelta) -> "ApiKeyQuerySet":
        """Keys that still work and will not after that time."""
        return self.expiring_before(timezone.now() + within)

    def expiring_soon(self, *, now: datetime.datetime | None = None) -> "ApiKeyQuerySet":
        """Keys that still work and expire within 14 days: the same ones on the dashboard, in lists and for alerts."""
        now = now or timezone.now()
        return self.active(now=now).filter(expires_at__lte=now + EXPIRES_SOON)

    def expiring_before(self, end: datetime.datetime) -> "ApiKeyQuerySet":
        return self.active().filter(expires_at__lte=end)

    def unused(self, start: datetime.datetime | None = None) -> "ApiKeyQuerySet":
        """Keys that work, were issued before `start` (90 days ago if None), and whose secrets have both not been
        used since. Canaries do not count: nobody is meant to use one."""
        start = start or timezone.now() - UNUSED
        return self.active().filter(
            Q(last_used_at=None) | Q(last_used_at__lt=start),
            Q(previous_used_at=None) | Q(previous_used_at__lt=start),
            created_at__lt=start,
            is_canary=False,
        )


class ApiKey(models.Model):
    """One key. The secret is not here: only its HMAC, and enough of its ends to recognise it.

    While a rotation overlaps, the previous secret's stand beside it.
    """

    class Environment(models.TextChoices):
        LIVE = "live", "Live"
        TEST = "test", "Test"

    class State(models.TextChoices):
        ACTIVE = "active", "Active"
        ROTATING = "rotating", "Rotating"
        PAUSED = "paused", "Paused"
        EXPIRED = "expired", "Expired"
        REVOKED = "revoked", "Revoked"

    public_id = models.CharField("id", max_length=20, unique=True, default=new_key_id, editable=False)
    name = models.CharField(
        max_length=100, help_text="What you will recognise it by, such as 'nightly training'."
    )
    purpose = models.CharField(max_length=500, blank=True, help_text="Who uses it, where and for what.")
    owner = models.ForeignKey(User, on_delete=models.PROTECT, related_name="api_keys")
    organisation = models.ForeignKey(
        Organisation,
        on_delete=models.PROTECT,
        default=SHARED_ID,
        db_default=Value(SHARED_ID),
        related_name="api_keys",
        help_text="To which everything that the key creates belongs. It never changes.",
    )
    environment = models.CharField(max_length=4, choices=Environment, default=Environment.LIVE)
    scopes = ArrayField(models.CharField(max_length=20), default=default_scopes)
    networks = ArrayField(
        models.CharField(max_length=50), default=list, blank=True, help_text="CIDR; empty: from anywhere."
    )
    patterns = ArrayField(
        models.CharField(max_length=256),
        default=list,
        blank=True,
        help_text="Names of registered models it may write, with * and ?; empty: any.",
    )
    any_owner = models.BooleanField(
        default=False, help_text="May write what belongs to others, or to nobody."
    )
    only_own = models.BooleanField(
        default=False,
        db_default=False,
        help_text="May write only what its own user created, not what others of the organisation did.",
    )
    also_organisations = ArrayField(
        models.CharField(max_length=63),
        default=list,
        db_default=[],
        blank=True,
        help_text="Slugs of other organisations in which a key of staff may act; the call states which.",
    )
    requests_per_minute = models.IntegerField(
        null=True,
        blank=True,
        help_text="Calls a minute, artifact transfers apart; empty: the portal's default.",
    )
    monthly_requests = models.BigIntegerField(
        null=True, blank=True, help_text="Calls a calendar month (UTC); empty: as many as it likes."
    )
    monthly_bytes = models.BigIntegerField(
        null=True,
        blank=True,
        help_text="Bytes in and out a calendar month (UTC); empty: as many as it likes.",
    )
    is_canary = models.BooleanField(
        default=False,
        editable=False,
        help_text="Laid out to be found: it opens nothing, and its use is told.",
    )
    digest = models.CharField(max_length=64, unique=True, editable=False)
    prefix = models.CharField(max_length=12, editable=False)
    last4 = models.CharField("last 4", max_length=4, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, blank=True, editable=False, related_name="issued_keys"
    )
    expires_at = models.DateTimeField(null=True, blank=True, help_text="Empty: it does not expire.")
    paused_at = models.DateTimeField(null=True, blank=True, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    revoked_reason = models.CharField(max_length=500, blank=True, editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_used_address = models.GenericIPAddressField(null=True, blank=True, editable=False)
    last_used_client = models.CharField(max_length=100, blank=True, editable=False)
    previous_digest = models.CharField(max_length=64, unique=True, null=True, blank=True, editable=False)
    previous_prefix = models.CharField(max_length=12, blank=True, editable=False)
    previous_last4 = models.CharField(max_length=4, blank=True, editable=False)
    previous_ends_at = models.DateTimeField(null=True, blank=True, editable=False)
    previous_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    previous_used_address = models.GenericIPAddressField(null=True, blank=True, editable=False)
    previous_used_client = models.CharField(max_length=100, blank=True, editable=False)

    exchanged: Any = None  # the ExchangedKey that acts as this trust's key, on the row that a call got for it

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        verbose_name = "API key"
        ordering = ["-created_at", "-id"]
        constraints = [
            models.CheckConstraint(
                name="key_digest_is_hmac_sha256", condition=Q(digest__regex=r"^[0-9a-f]{64}$")
            ),
            models.CheckConstraint(
                name="key_prefix_names_environment",
                condition=Q(environment="live", prefix__startswith="hk_live_")
                | Q(environment="test", prefix__startswith="hk_test_"),
            ),
            models.CheckConstraint(name="key_name_not_empty", condition=~Q(name="")),
            models.CheckConstraint(
                name="key_scopes_known", condition=Q(scopes__contained_by=[scope.value for scope in Scope])
            ),
            models.CheckConstraint(
                name="key_previous_secret_has_end",
                condition=Q(previous_digest=None, previous_ends_at=None)
                | Q(previous_digest__isnull=False, previous_ends_at__isnull=False),
            ),
            models.CheckConstraint(
                name="key_secrets_differ",
                condition=Q(previous_digest=None) | ~Q(previous_digest=F("digest")),
            ),
            *(
                models.CheckConstraint(
                    name=f"key_{limit}_positive", condition=Q(**{limit: None}) | Q(**{f"{limit}__gte": 1})
                )
                for limit in LIMITS
            ),
        ]
        triggers = [
            pgtrigger.Trigger(
                name="announce_key",
                when=pgtrigger.After,
                operation=pgtrigger.UpdateOf(  # type: ignore[no-untyped-call]
                    "digest",
                    "previous_digest",
                    "previous_ends_at",
                    "owner_id",
                    "scopes",
                    "networks",
                    "patterns",
                    "any_owner",
                    "only_own",
                    "also_organisations",
                    *LIMITS,
                    "name",
                    "environment",
                    "expires_at",
                    "paused_at",
                    "revoked_at",
                )
                | pgtrigger.Delete,
                func=f"PERFORM pg_notify('{CHANNEL}', 'key:' || OLD.id); RETURN NULL;",
            ),
            pgtrigger.Protect(
                name="key_keeps_organisation",
                operation=pgtrigger.Update,
                condition=pgtrigger.Condition("OLD.organisation_id IS DISTINCT FROM NEW.organisation_id"),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.masked})"

    @property
    def namespace(self) -> Namespace:
        return Namespace(self.environment, self.organisation_id)  # type: ignore[arg-type]  # never None

    @property
    def has_secret(self) -> bool:
        """Whether it is a key; a trust's has none."""
        return self.last4 != ""

    @property
    def title(self) -> str:
        """What messages call it."""
        return f"{'API key' if self.has_secret else 'trust'} “{self.name}”"

    @property
    def masked(self) -> str:
        return f"{self.prefix}…{self.last4}" if self.has_secret else "trust, no secret"

    def matches_old_secret(self, text: str) -> bool:
        """Whether `text`, by which `matching` found this key, has an end of a former secret and not of the present."""
        texts = f"{self.name} {self.owner.username} {self.public_id}".lower()
        ends = {self.prefix.lower(), self.prefix[-4:].lower(), self.last4.lower()}
        words = [word.lower() for word in words_of(text)]
        return any(
            word not in texts and word not in ends and not self.prefix.lower().startswith(word)
            for word in words
        )

    @property
    def expires_soon(self) -> bool:
        """Whether the key is one of `ApiKeyQuerySet.expiring_soon`, apart from its owner's state."""
        now = timezone.now()
        is_stopped = self.revoked_at is not None or self.paused_at is not None
        return not is_stopped and self.expires_at is not None and now < self.expires_at <= now + EXPIRES_SOON

    @property
    def previous_masked(self) -> str:
        """The old secret of the last rotation, as pages show it."""
        return f"{self.previous_prefix}…{self.previous_last4}"

    @property
    def missing_reads(self) -> list[str]:
        """Warnings about scopes without which MLflow's client cannot finish what it begins."""
        return [] if self.is_canary else describe_missing_reads(self.scopes)

    @property
    def has_old_secret(self) -> bool:
        """Whether the secret from before the last rotation still works, if the key does."""
        return self.previous_ends_at is not None and self.previous_ends_at > timezone.now()

    @property
    def used_at(self) -> datetime.datetime | None:
        """When either secret was last used."""
        return max(filter(None, (self.last_used_at, self.previous_used_at)), default=None)

    @cached_property
    def leak(self) -> Any:
        """The KeyEvent of the first report that a secret of this key was found in the open, if no rotation has replaced
        that secret since: it never works again. Cached; an action reads the row anew under a lock."""
        return self.events.leaks().first()

    @cached_property
    def is_secret_unseen(self) -> bool:
        """Whether the key works, and others replaced its leaked secret, which the holder has yet to do. Cached."""
        return self.state not in ("revoked", "expired") and self.events.unseen_secrets().exists()

    @property
    def is_paused_by_report(self) -> bool:
        """Whether the key is paused because somebody reported that they found it."""
        pause = self.events.filter(kind="paused").order_by("-pk").first()
        return bool(self.paused_at and pause and pause.is_by_report)

    @property
    def state(self) -> str:
        """What the key is now; revocation outlives expiry, expiry a pause, a pause a rotation."""
        now = timezone.now()
        if self.revoked_at:
            return self.State.REVOKED
        if self.expires_at and self.expires_at <= now:
            return self.State.EXPIRED
        if self.paused_at:
            return self.State.PAUSED
        if self.has_old_secret:
            return self.State.ROTATING
        return self.State.ACTIVE
