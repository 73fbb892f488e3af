"""Signed tokens (JWT, RFC 7519) of other issuers: their form, their signature and their claims. Pure.

PyJWT verifies the signatures; the portal has it anyway, because django-allauth uses it for sign-in. What PyJWT reads
more generously than two programs would agree on is refused first: each part must be canonical base64url, and a name
may stand only once in a JSON object. PyJWT is imported with the first token: many portals have none.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from keys.formatting import strict_json
from keys.refusals import Refusal, unauthenticated

LONGEST = 8192  # characters of a token
LONGEST_HEADER = 1024  # of its first part
LONGEST_KEY_ID, LONGEST_SUBJECT = 200, 500
MOST_KEYS = 100  # of one issuer
RSA_BITS = range(2048, 4097)
LEEWAY = 60.0  # seconds by which the issuer's clock may differ
STARTS = ("ey", "ew")  # of a JSON object in base64url; no API key has a dot
# The key type and curve that each algorithm needs. No symmetric one, and no "none".
ALGORITHMS = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), ("RSA", None)),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
}


@dataclass(frozen=True, kw_only=True)
class SignedToken:
    """A well-formed token whose signature has not been verified. Its `repr` shows nothing of it."""

    text: str
    algorithm: str
    key_id: str
    claims: Mapping[str, Any]

    def __repr__(self) -> str:
        return "SignedToken(…)"


@dataclass(frozen=True, kw_only=True)
class SigningKey:
    """One public key of an issuer. `algorithm` "": any that fits its type."""

    public_key: Any
    kind: tuple[str, str | None]
    algorithm: str

    def fits(self, algorithm: str) -> bool:
        return self.kind == ALGORITHMS[algorithm] and self.algorithm in ("", algorithm)


KeySet = Mapping[str, SigningKey]  # by the key's id


def is_signed_token(text: str) -> bool:
    """Whether the text has the form of a token: three parts, the first of them a JSON object's beginning. A text that
    is longer than any token counts as one if it begins like one; its end is not looked at."""
    if not text.startswith(STARTS):
        return False
    dots = text.count(".", 0, LONGEST)
    return dots == 2 if len(text) <= LONGEST else dots > 0


def malformed(problem: str) -> Refusal:
    return unauthenticated(
        "malformed_token",
        f"The signed token (JWT) {problem}. Send the token exactly as the issuer gave it, "
        "or an API key (hk_…) in its place.",
    )


def parse(text: str) -> SignedToken:
    """Raises Refusal (401) for a token that is too long or malformed, or signed with an algorithm that is not on the
    list."""
    header_part, payload_part, _ = split(text)
    header = read_object(header_part, "header")
    algorithm, key_id = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise unauthenticated(
            "token_algorithm",
            "The token's header names an algorithm (alg) that this portal does not accept. "
            f"Have the issuer sign with one of {', '.join(ALGORITHMS)}.",
        )
    if "crit" in header or "b64" in header:
        raise malformed("has critical extensions in its header (crit), which this portal does not know")
    if not isinstance(key_id, str) or not 0 < len(key_id) <= LONGEST_KEY_ID:
        raise unauthenticated(
            "token_key",
            "The token's header does not name the issuer's key (kid). Have the issuer name it, as OpenID providers do.",
        )
    claims = read_object(payload_part, "payload")
    return SignedToken(text=text, algorithm=algorithm, key_id=key_id, claims=claims)


def split(text: str) -> list[str]:
    if len(text) > LONGEST:
        raise malformed(f"is longer than {LONGEST} characters")
    parts = text.split(".")
    if len(parts) != 3 or not all(parts):
        raise malformed("does not have three parts")
    if len(parts[0]) > LONGEST_HEADER:
        raise malformed(f"has a header of more than {LONGEST_HEADER} characters")
    for part in parts:
        decode(part)
    return parts


def decode(part: str) -> bytes:
    """The bytes of one part. Raises Refusal if other text stands for the same bytes."""
    try:
        content = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except (binascii.Error, ValueError):
        raise malformed("is not base64url") from None
    if base64.urlsafe_b64encode(content).rstrip(b"=") != part.encode():
        raise malformed("is not base64url in its shortest form")
    return content


def read_object(part: str, name: str) -> dict[str, Any]:
    try:
        content = strict_json.loads(decode(part).decode())
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise malformed(f"has a {name} that is not one JSON object with each name once")
    return content


@cache
def verifier() -> Any:
    import jwt

    return jwt.PyJWS(algorithms=list(ALGORITHMS))


def verify(token: SignedToken, key: SigningKey) -> None:
    """Raise Refusal (401) unless this key signed the token."""
    import jwt

    if key.fits(token.algorithm):
        try:
            verifier().decode_complete(token.text, key.public_key, [token.algorithm])
        except (jwt.InvalidTokenError, ValueError, TypeError):
            pass
        else:
            return
    raise unauthenticated(
        "token_signature",
        "The token's signature is not that of the key that its header names (kid). Use the token unchanged, "
        "and check that the issuer (iss) is the one that signed it.",
    )


def check_times(claims: Mapping[str, Any], now: float) -> float:
    """The time (in seconds since 1970) until which the token is valid. Raises Refusal (401), which names the claim."""
    times = {name: read_time(claims, name) for name in ("exp", "nbf", "iat")}
    ends, begins, issued = times["exp"], times["nbf"], times["iat"]
    if ends is None:
        raise wrong_claim("exp", "is missing: a token without an end is not accepted")
    if now > ends + LEEWAY:
        raise wrong_claim("exp", "says that the token has expired. Fetch a new one, or compare both clocks")
    if begins is not None and now < begins - LEEWAY:
        raise wrong_claim("nbf", "says that the token is not valid yet. Compare both clocks")
    if issued is None:
        raise wrong_claim("iat", "is missing: it must say when the token was issued")
    if now < issued - LEEWAY:
        raise wrong_claim("iat", "says that the token was issued in the future. Compare both clocks")
    return ends


def read_time(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e11:
        raise wrong_claim(name, "must be a time in seconds since 1970")
    return float(value)


def read_subject(claims: Mapping[str, Any]) -> str:
    """The claim `sub`, which the log and the ledger keep. Raises Refusal (401)."""
    subject = claims.get("sub")
    if not isinstance(subject, str) or not subject:
        raise wrong_claim("sub", "is missing: it must name who has the token")
    if len(subject) > LONGEST_SUBJECT or not subject.isprintable():
        raise wrong_claim("sub", f"must have at most {LONGEST_SUBJECT} printable characters")
    return subject


def wrong_claim(claim: str, problem: str) -> Refusal:
    return unauthenticated("token_claim", f"The token's claim {claim} {problem}.")


def parse_key_set(content: Any) -> dict[str, SigningKey]:
    """The usable public keys of a JWK set (RFC 7517). Raises ValueError if it is none, or has no usable key."""
    listed = content.get("keys") if isinstance(content, dict) else None
    if not isinstance(listed, list) or len(listed) > MOST_KEYS:
        raise ValueError(f"a key set is a JSON object with a list “keys” of at most {MOST_KEYS}")
    keys: dict[str, SigningKey] = {}
    for each in listed:
        key_id = each.get("kid") if isinstance(each, dict) else None
        if isinstance(key_id, str) and key_id not in keys and (key := parse_key(each)):
            keys[key_id] = key
    if not keys:
        raise ValueError(
            "the key set has no public key with an id (kid) for RS256 to PS512, ES256 to ES512 or EdDSA"
        )
    return keys


def parse_key(content: Mapping[str, Any]) -> SigningKey | None:
    """A public key that can verify signatures; None for any other, such as a symmetric one."""
    import jwt
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    kind = (content.get("kty"), content.get("crv") if content.get("kty") != "RSA" else None)
    algorithm = content.get("alg", "")
    fitting = [name for name, needed in ALGORITHMS.items() if needed == kind and algorithm in ("", name)]
    if not fitting or content.get("use", "sig") != "sig" or "d" in content:
        return None
    try:
        public_key = jwt.PyJWK(dict(content), algorithm=fitting[0]).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    if isinstance(public_key, RSAPublicKey) and public_key.key_size not in RSA_BITS:
        return None
    return SigningKey(public_key=public_key, kind=ALGORITHMS[fitting[0]], algorithm=str(algorithm))
