"""Time-stamps by an RFC 3161 authority: asking for one over HTTP, and verifying it without the authority.

A time-stamp says that the authority saw a SHA-256 at a time. `rfc3161_client` reads the messages, and verifies the
signature and the certificates as they were at that time. The portal compares status, nonce and hash itself, because it
also keeps time-stamps while it has no certificates that it trusts. Both libraries are imported with the first
time-stamp: most processes make none.
"""

import datetime
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import urllib3
from django.conf import settings
from django.utils import timezone

if TYPE_CHECKING:
    from cryptography.x509 import Certificate
    from rfc3161_client import TimeStampResponse

SHA256 = "2.16.840.1.101.3.4.2.1"
SECONDS = 10.0  # to connect, and for each read
MOST_BYTES = 256 * 1024  # of a response
CLOCK = datetime.timedelta(minutes=5)  # between the authority's clock and the portal's
HEADERS = {"Content-Type": "application/timestamp-query", "Accept": "application/timestamp-reply"}  # its 3.4


class AuthorityError(Exception):
    """The authority gave no time-stamp, or not a valid one. The message says why, in words."""


@dataclass(frozen=True, kw_only=True)
class TimeStamp:
    """A time-stamp that is about the right bytes. `is_trusted`: its signature and certificates were verified."""

    at: datetime.datetime
    response: bytes
    is_trusted: bool


def ask(message: bytes) -> TimeStamp:
    """A time-stamp of the message from the authority of TIMESTAMP_URL. Raises AuthorityError."""
    from rfc3161_client import HashAlgorithm, TimestampRequestBuilder

    request = TimestampRequestBuilder().data(message).hash_algorithm(HashAlgorithm.SHA256).build()
    response = send(settings.TIMESTAMP_URL, request.as_bytes())
    stamp = verify(response, message, nonce=request.nonce)
    if abs(stamp.at - timezone.now()) > CLOCK:
        raise AuthorityError(
            f"its clock says {stamp.at:%Y-%m-%d %H:%M:%S} UTC, which is more than five minutes from the portal's"
        )
    return stamp


def send(url: str, request: bytes) -> bytes:
    """Raises AuthorityError unless the response is 200 and not too long."""
    timeout = urllib3.Timeout(connect=SECONDS, read=SECONDS)
    try:
        with urllib3.PoolManager(timeout=timeout, retries=False) as pool:
            reply = pool.request(
                "POST", url, body=request, headers=HEADERS, redirect=False, preload_content=False
            )
            content = reply.read(MOST_BYTES + 1)
            reply.release_conn()
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise AuthorityError(f"it did not respond: {type(error).__name__}") from error
    if reply.status != 200:
        raise AuthorityError(f"it responded with {reply.status}")
    if len(content) > MOST_BYTES:
        raise AuthorityError("its response is too long")
    return content


def verify(response: bytes, message: bytes, *, nonce: int | None = None) -> TimeStamp:
    """Verify a response, which may be years old: its certificates must have been valid at its time. Raises
    AuthorityError. `nonce`: of the request, if the response just came."""
    from rfc3161_client import decode_timestamp_response

    try:
        decoded = decode_timestamp_response(response)
        check_status(decoded)
        info = decoded.tst_info
        imprint = info.message_imprint
        if nonce is not None and info.nonce != nonce:
            raise AuthorityError("it responds to another request: the nonce differs")
        if (
            imprint.hash_algorithm.dotted_string != SHA256
            or imprint.message != hashlib.sha256(message).digest()
        ):
            raise AuthorityError("it is about another hash")
        trusted = certificates()
        if trusted:
            check_signature(decoded, message, trusted)
        return TimeStamp(at=info.gen_time, response=response, is_trusted=bool(trusted))
    except ValueError as error:
        raise AuthorityError("it is not a time-stamp of RFC 3161") from error


def check_status(response: "TimeStampResponse") -> None:
    from rfc3161_client import PKIStatus

    if response.status != PKIStatus.GRANTED:
        names = {status.value: status.name.lower().replace("_", " ") for status in PKIStatus}
        reasons = "; ".join(response.status_string)[:200]
        name = names.get(response.status, str(response.status))
        raise AuthorityError(f"it refused: {name}{f' ({reasons})' if reasons else ''}")


def check_signature(response: "TimeStampResponse", message: bytes, trusted: Sequence["Certificate"]) -> None:
    from rfc3161_client import VerificationError, VerifierBuilder

    verifier = VerifierBuilder()
    for certificate in trusted:
        verifier = verifier.add_root_certificate(certificate)
    try:
        verifier.build().verify_message(response, message)
    except VerificationError as error:
        detail = str(error).rpartition("Verify error: ")[2].partition('"')[0]
        raise AuthorityError(
            f"its signature does not follow from TIMESTAMP_CERTIFICATES, or a certificate was not valid: {detail}"
        ) from error


def certificates() -> "tuple[Certificate, ...]":
    """The certificates that TIMESTAMP_CERTIFICATES names; () if it is not set."""
    return read_certificates(settings.TIMESTAMP_CERTIFICATES) if settings.TIMESTAMP_CERTIFICATES else ()


@cache
def read_certificates(file: str) -> "tuple[Certificate, ...]":
    from cryptography.x509 import load_pem_x509_certificates

    return tuple(dict.fromkeys(load_pem_x509_certificates(Path(file).read_bytes())))
