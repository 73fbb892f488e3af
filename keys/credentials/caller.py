"""The caller of a request: its user, its key if it has one, and the rights that it has."""

from collections.abc import Sequence
from dataclasses import dataclass

from keys.models import ApiKey, Namespace, Organisation, User
from keys.rights.scopes import Preset

SESSION = "session"  # replaces the key's id in attribution tags when a browser made the object


@dataclass(frozen=True, kw_only=True)
class Caller:
    """The user who calls, and the rights of this call: an API key's, or a browser session's (`key` is None).

    `is_previous`: the request carries the secret from before the last rotation. `in_grace`: the key has expired
    and may only finish runs that it started (`proxy.policy.permissions`). `home`: the caller's own organisation, if the
    call reads what `organisation`, another one, has published (`proxy.policy.organisations.published`). `subject`: the
    claim `sub` of the signed token that acts as a trust's key.
    """

    user: User
    organisation: Organisation
    key: ApiKey | None = None
    environment: str = ApiKey.Environment.LIVE
    scopes: Sequence[str] = ()
    networks: Sequence[str] = ()
    patterns: Sequence[str] = ()
    any_owner: bool = False
    only_own: bool = False
    is_previous: bool = False
    in_grace: bool = False
    home: Organisation | None = None
    subject: str = ""

    @classmethod
    def by_key(
        cls, key: ApiKey, *, is_previous: bool = False, in_grace: bool = False, subject: str = ""
    ) -> "Caller":
        return cls(
            user=key.owner,
            key=key,
            organisation=key.organisation,
            environment=key.environment,
            scopes=key.scopes,
            networks=key.networks,
            patterns=key.patterns,
            any_owner=key.any_owner,
            only_own=key.only_own,
            is_previous=is_previous,
            in_grace=in_grace,
            subject=subject,
        )

    @classmethod
    def by_session(
        cls, user: User, *, organisation: Organisation, rights_of: ApiKey | None = None
    ) -> "Caller":
        """A signed-in user's browser. It may read everything; it may write what `rights_of`, one of the user's own
        keys, may write, but only objects that the user owns."""
        reads = Preset.READER.scopes
        if rights_of is None:
            return cls(user=user, organisation=organisation, scopes=reads)
        return cls(
            user=user,
            organisation=organisation,
            only_own=rights_of.only_own,
            scopes=[*reads, *rights_of.scopes],
            networks=rights_of.networks,
            patterns=rights_of.patterns,
        )

    @property
    def namespace(self) -> Namespace:
        return Namespace(self.environment, self.organisation.pk)

    @property
    def key_id(self) -> str:
        """The key's id as MLflow and the attribution tags see it; for a browser, the word `session`."""
        return self.key.public_id if self.key else SESSION

    def __str__(self) -> str:
        return f"The {self.key.title}" if self.key else "Your browser"
