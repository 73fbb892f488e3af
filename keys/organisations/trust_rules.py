"""What a trust may say: its issuer, audience and conditions, and the ready-made forms for known issuers."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from keys.actions.errors import ActionError
from keys.credentials.signed_tokens import parse_key_set
from keys.direct_http import is_loopback_host

MOST_CLAIMS, MOST_GLOBS, LONGEST_GLOB = 20, 50, 500
# These say who signed the token, for whom and when, and nothing about who has it.
NO_CONDITIONS = frozenset({"iss", "aud", "exp", "nbf", "iat", "jti"})
ORGANISATION_PATH = re.compile(r"/w/([a-z0-9-]+)")


@dataclass(frozen=True, kw_only=True)
class ReadyMade:
    """A form for an issuer. `conditions`: what its page proposes, one claim and glob a line."""

    title: str
    issuer: str
    conditions: tuple[str, ...]
    advice: str


READY_MADE = {
    "github": ReadyMade(
        title="GitHub Actions",
        issuer="https://token.actions.githubusercontent.com",
        conditions=(
            "repository=OWNER/REPOSITORY",
            "ref=refs/heads/main",
            "environment=production",
            "workflow=train",
        ),
        advice="Keep repository, and remove the lines that do not matter. A repository's name can be taken by "
        "somebody else after its owner gives it up; repository_owner_id=NUMBER cannot.",
    ),
    "gitlab": ReadyMade(
        title="GitLab CI",
        issuer="https://gitlab.com",
        conditions=("project_path=GROUP/PROJECT", "ref=main", "ref_type=branch", "ref_protected=true"),
        advice="For your own GitLab, write its address as the issuer.",
    ),
    "kubernetes": ReadyMade(
        title="Kubernetes service account",
        issuer="https://kubernetes.default.svc.cluster.local",
        conditions=("sub=system:serviceaccount:NAMESPACE:NAME",),
        advice="kubectl get --raw /.well-known/openid-configuration shows the cluster's issuer, and "
        "kubectl get --raw /openid/v1/jwks its key set, to upload if the portal cannot reach the cluster.",
    ),
    "google": ReadyMade(
        title="Google Cloud service account",
        issuer="https://accounts.google.com",
        conditions=("email=NAME@PROJECT.iam.gserviceaccount.com", "email_verified=true"),
        advice="The metadata server gives such a token: …/service-accounts/default/identity?audience=AUDIENCE"
        "&format=full",
    ),
    "azure": ReadyMade(
        title="Azure managed identity",
        issuer="https://login.microsoftonline.com/TENANT/v2.0",
        conditions=("oid=OBJECT-ID",),
        advice="TENANT is the directory's id. The audience is the application id for which the token is requested.",
    ),
    "oidc": ReadyMade(
        title="Any OpenID provider",
        issuer="",
        conditions=("sub=",),
        advice="The portal fetches the issuer's /.well-known/openid-configuration.",
    ),
}
# Issuers whose tokens anybody can get. One of these claims must say whose: a glob without * and ?, or with a
# slash before the first of them.
OF_EVERYBODY = {
    "https://token.actions.githubusercontent.com": (
        *(
            "repository",
            "repository_id",
            "repository_owner",
            "repository_owner_id",
            "job_workflow_ref",
            "sub",
        ),
    ),
    "https://gitlab.com": ("project_path", "project_id", "namespace_path", "namespace_id", "sub"),
    "https://accounts.google.com": ("email", "hd", "sub"),
}


def validate_issuer(issuer: str, *, is_fetched: bool, is_private: bool) -> str:
    """Raises ActionError. `is_fetched`: the portal fetches the key set from it."""
    issuer = issuer.strip()
    if not issuer or len(issuer) > 500 or not issuer.isprintable():
        raise ActionError("issuer: give the claim iss of the tokens, of at most 500 characters")
    try:
        parts = urlsplit(issuer)
        is_loopback = parts.scheme == "http" and is_private and is_loopback_host(parts.hostname or "")
        is_url = parts.scheme == "https" and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_loopback = is_url = False
    if is_fetched and (not (is_url or is_loopback) or parts.query or parts.fragment or parts.username):
        raise ActionError("issuer: give an address that begins with https://, or upload the issuer's key set")
    return issuer


def validate_audience(audience: str, *, slug: str) -> str:
    """Raises ActionError. Another organisation's address is refused: its tokens are for its own trusts."""
    audience = audience.strip()
    if not audience or len(audience) > 500 or not audience.isprintable():
        raise ActionError("audience: give the claim aud of the tokens, of at most 500 characters")
    if any(other != slug for other in ORGANISATION_PATH.findall(audience)):
        raise ActionError("audience: this is the address of another organisation; use that of your own")
    return audience


def validate_conditions(conditions: Mapping[str, Sequence[str]], *, issuer: str) -> dict[str, list[str]]:
    """The conditions in their stored form. Raises ActionError if nothing in them says who may have the token."""
    cleaned = {name.strip(): [glob.strip() for glob in globs] for name, globs in conditions.items()}
    texts = [*cleaned, *(glob for globs in cleaned.values() for glob in globs)]
    if len(cleaned) > MOST_CLAIMS or sum(map(len, cleaned.values())) > MOST_GLOBS:
        raise ActionError(f"conditions: at most {MOST_CLAIMS} claims and {MOST_GLOBS} globs")
    if not all(text and len(text) <= LONGEST_GLOB and text.isprintable() for text in texts):
        raise ActionError(
            f"conditions: each has a claim and a glob of at most {LONGEST_GLOB} printable characters"
        )
    if taken := sorted(cleaned.keys() & {"iss", "aud"}):
        raise ActionError(f"conditions: {taken[0]} is the trust's own field; name another claim")
    if not any(
        globs and not any(set(glob) <= set("*?") for glob in globs)
        for name, globs in cleaned.items()
        if name not in NO_CONDITIONS
    ):
        raise ActionError(
            "conditions: name a claim that says whose token it is, such as sub or repository; with issuer and "
            "audience alone, everybody's token of this issuer would pass"
        )
    needed = OF_EVERYBODY.get(issuer.rstrip("/"), ())
    if needed and not any(name in cleaned and all(map(is_pinned, cleaned[name])) for name in needed):
        raise ActionError(
            f"conditions: anybody can get a token of {issuer}; say whose it must be by one of {', '.join(needed)}, "
            "without * and ? before the first slash"
        )
    return cleaned


def is_pinned(glob: str) -> bool:
    """Whether the glob names an account or a project: nothing in it is open, or only what follows a slash."""
    beginning = re.split(r"[*?]", glob, maxsplit=1)[0]
    return beginning == glob or "/" in beginning


def parse_conditions(lines: Iterable[str]) -> dict[str, list[str]]:
    """Conditions from texts such as `ref=refs/heads/*`. Raises ActionError."""
    conditions: dict[str, list[str]] = {}
    for line in filter(None, map(str.strip, lines)):
        name, equals, glob = line.partition("=")
        if not equals:
            raise ActionError(
                f"conditions: write a claim, = and a glob, such as ref=refs/heads/main, not “{line}”"
            )
        conditions.setdefault(name.strip(), []).append(glob.strip())
    return conditions


def read_key_set(name: str) -> Any:
    """The content of a file with a JWK set. Raises ActionError."""
    try:
        return json.loads(Path(name).read_text())
    except (OSError, ValueError) as error:
        raise ActionError(f"key set: {name} cannot be read as JSON ({type(error).__name__})") from None


def validate_key_set(content: Any) -> dict[str, Any] | None:
    """An uploaded JWK set; None without one. Raises ActionError, also for a set with private or symmetric keys."""
    if not content:
        return None
    try:
        parse_key_set(content)
    except ValueError as error:
        raise ActionError(f"key set: {error}") from None
    if any({"d", "k"} & set(each) for each in content["keys"] if isinstance(each, dict)):
        raise ActionError("key set: it contains a private key; upload public keys only, and replace that one")
    return {"keys": content["keys"]}
