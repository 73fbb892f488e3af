"""The OpenID providers of the settings: the one of OIDC_ISSUER, and those of OIDC_PROVIDERS beside it."""

from dataclasses import dataclass
from typing import Any

from django.conf import settings

from keys.models.organisations import SHARED

PROVIDER_ID = "provider"  # that of OIDC_ISSUER, in the address that it sends people back to
GROUPS = "groups"


@dataclass(frozen=True, kw_only=True)
class Provider:
    """`domains`: whose addresses only this provider verifies; without any, all that no other provider has.
    `organisation`: for which it names groups; that of `shared` for all."""

    id: str
    name: str
    issuer: str
    client_id: str
    client_secret: str
    domains: tuple[str, ...] = ()
    organisation: str = SHARED
    groups_claim: str = GROUPS

    @property
    def label(self) -> str:
        """With the domains of its addresses, so that people find theirs."""
        return f"{self.name} ({', '.join(self.domains)})" if self.domains else self.name


def providers() -> list[Provider]:
    first = []
    if settings.OIDC_ISSUER:
        first = [
            Provider(
                id=PROVIDER_ID,
                name=settings.OIDC_NAME,
                issuer=settings.OIDC_ISSUER,
                client_id=settings.OIDC_CLIENT_ID,
                client_secret=settings.OIDC_CLIENT_SECRET,
                groups_claim=settings.OIDC_GROUPS_CLAIM,
            )
        ]
    return [*first, *(Provider(**each) for each in settings.OIDC_PROVIDERS)]


def find_provider(provider_id: str) -> Provider | None:
    return next((each for each in providers() if each.id == provider_id), None)


def verifies(provider: Provider, email: str) -> bool:
    """Whether the portal believes this provider about the address: of a domain that has a provider, only that one."""
    domain = email.rpartition("@")[2].lower()
    owners = [each.id for each in providers() if domain in each.domains]
    return provider.id in owners if owners else not provider.domains


def has_domains() -> bool:
    """Whether an e-mail address says with which of several providers its person signs in."""
    found = providers()
    return len(found) > 1 and any(each.domains for each in found)


def provider_of_email(email: str) -> Provider | None:
    """The provider of the address's domain; None unless there is exactly one. It reads only the settings, so the
    response does not reveal whether such a user exists."""
    domain = email.strip().rpartition("@")[2].lower()
    owners = [each for each in providers() if domain in each.domains]
    return owners[0] if len(owners) == 1 else None


def named_groups(provider: Provider, claims: dict[str, Any]) -> list[str] | None:
    """The groups in the provider's claim; None if it says that there are too many for a token (Microsoft Entra)."""
    parts = [claims.get(name) or {} for name in ("userinfo", "id_token")]
    for part in parts:
        if provider.groups_claim in part:
            value = part[provider.groups_claim]
            values = value if isinstance(value, list) else [value]
            return [each for each in values if isinstance(each, str)]
    is_left_out = any(part.get("hasgroups") or GROUPS in (part.get("_claim_names") or {}) for part in parts)
    return None if is_left_out else []
