"""Tokens of a real issuer with something wrong: each is refused with a message that names it and repeats no token."""

import base64
import json
import time

import jwt
import requests
from cryptography.hazmat.primitives import serialization

from tests.field.issuers import Changes, Issuer
from tests.field.servers import Server
from tests.issuers import KINDS, encode, part

PIECE = 16  # characters of a token that no message may repeat
TIMES = ("exp", "nbf", "iat")
# What is changed, and what the message names. A time is in seconds from now; None: missing.
WRONG_CLAIMS: tuple[tuple[Changes, str], ...] = (
    ({"iss": "https://other.example"}, "(iss)"),
    ({"aud": "https://other.example"}, "claim aud "),
    ({"exp": None}, "claim exp "),
    ({"exp": "soon"}, "claim exp "),
    ({"nbf": 90}, "claim nbf "),
    ({"iat": None}, "claim iat "),
    ({"sub": None}, "claim sub "),
    ({"sub": "somebody-else"}, "claim sub "),
    ({"sub": "two\nlines"}, "claim sub "),
)
CLOCKS: tuple[tuple[int, str], ...] = ((90, "claim iat "), (-90, "claim exp "), (50, ""), (-50, ""))


def check(portal: Server, issuer: Issuer, problems: list[str]) -> str:
    """What was tried; what went otherwise is added to the problems."""
    token = issuer.fetch_token()
    header = jwt.get_unverified_header(token)
    for changes, named in WRONG_CLAIMS:
        problems += refusal(portal, issuer.fetch_token(claims=absolute(changes)), named)
    for seconds, named in CLOCKS:  # a token of a minute, from an issuer whose clock differs
        claims = {"iat": seconds, "exp": seconds + (600 if seconds > 0 else 0)}
        problems += refusal(portal, issuer.fetch_token(claims=absolute(claims)), named)
    problems += refusal(portal, issuer.fetch_token(header={"kid": None}), "(kid)")
    problems += refusal(portal, issuer.fetch_token(header={"kid": "of nobody"}), "(kid)")
    forged = forge(token, issuer.fetch_token(), header)
    for each, named in forged:
        problems += refusal(portal, each, named)
    return (
        f"refuses {len(WRONG_CLAIMS)} wrong claims, a clock 90 s ahead and 90 s behind, a token without kid, an "
        f"unknown kid and {len(forged)} wrong signatures, and names each; accepts a clock that differs by 50 s"
    )


def absolute(claims: Changes) -> Changes:
    now = int(time.time())
    return {
        name: now + value if name in TIMES and isinstance(value, int) else value
        for name, value in claims.items()
    }


def forge(token: str, other: str, header: Changes) -> list[tuple[str, str]]:
    """Five tokens with wrong signatures, made of two right ones, and what the message names."""
    head, claims, signature = token.split(".")
    own, algorithm = KINDS[header["alg"]](), jwt.get_algorithm_by_name(header["alg"])
    mine = encode(algorithm.sign(f"{head}.{claims}".encode(), own))
    changed = bytearray(base64.urlsafe_b64decode(signature + "=="))
    changed[len(changed) // 2] ^= 1
    public = own.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    symmetric = f"{part({**header, 'alg': 'HS256'})}.{claims}"
    hmac = encode(jwt.get_algorithm_by_name("HS256").sign(symmetric.encode(), public[27:-26]))
    return [
        (f"{head}.{claims}.{other.split('.')[2]}", "signature"),
        (f"{head}.{claims}.{mine}", "signature"),
        (f"{head}.{claims}.{encode(bytes(changed))}", "signature"),
        (f"{part({**header, 'alg': 'none'})}.{claims}.{signature}", "(alg)"),
        (f"{symmetric}.{hmac}", "(alg)"),
    ]


def refusal(portal: Server, token: str, named: str) -> list[str]:
    """What is wrong with the response to this token. named "": it is to be accepted."""
    answer = call(portal, token)
    if not named:
        return [] if answer.status_code == 200 else [f"a clock 50 s away: {answer.status_code} {answer.text}"]
    message = json.loads(answer.text).get("message", "") if answer.status_code == 401 else ""
    repeated = any(token[at : at + PIECE] in answer.text for at in range(len(token) - PIECE + 1))
    if named in message and not repeated:
        return []
    return [f"{named}: {answer.status_code} {answer.text}"]


def call(portal: Server, token: str) -> requests.Response:
    return requests.get(
        f"{portal.tracking_uri}/api/2.0/mlflow/registered-models/search",
        headers={"Authorization": f"Bearer {token}"},
        timeout=60,
    )
