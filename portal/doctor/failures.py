"""Turns errors of sockets, TLS and HTTP into explanations with advice."""

import datetime
import socket
import ssl

from urllib3.exceptions import NameResolutionError, NewConnectionError, ProxyError
from urllib3.exceptions import SSLError as UrllibSSLError
from urllib3.exceptions import TimeoutError as UrllibTimeoutError

from portal.doctor.address import Address
from portal.doctor.outcomes import Failed

# OpenSSL's reasons for not trusting a certificate (x509_vfy.h)
NOT_YET_VALID, EXPIRED, WRONG_HOST_NAMES = 9, 10, (62, 64)
UNTRUSTED = {
    18: "it is signed by itself",
    19: "it is signed by an authority that this machine does not know",
    20: "it is signed by an authority that this machine does not know, or the server does not send an "
    "intermediate certificate",
}
TRUST_IT = (
    "If it is your organisation's own authority, give its certificate: --ca FILE here, and "
    "MLFLOW_TRACKING_SERVER_CERT_PATH=FILE for MLflow's client. If you do not know the authority, stop: somebody "
    "may be intercepting the connection."
)


def describe_failure(error: Exception, to: Address, *, names: str = "") -> Failed:
    """The explanation and advice for an error. The only place that maps errors."""
    causes = [cause for cause in chain(error) if not isinstance(cause, Failed)]
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return bad_certificate(cause, to, names)
    for cause in causes:
        if isinstance(cause, ProxyError):
            return Failed(
                "The proxy that this machine's settings name (HTTP_PROXY, HTTPS_PROXY) refuses the connection.",
                f"Ask the proxy's operator, or set NO_PROXY={to.host} if the portal can be reached without it.",
            )
        if isinstance(cause, NameResolutionError | socket.gaierror):
            return unknown_name(to)
        if isinstance(cause, ConnectionRefusedError):
            return Failed(
                f"Nothing listens on {to.host}, port {to.port}: the connection was refused.",
                "Check the host and the port, and ask your operator whether the portal is running.",
            )
        if isinstance(cause, ssl.SSLError | UrllibSSLError):
            return no_tls(to, str(getattr(cause, "reason", None) or "handshake failed"))
        if isinstance(cause, NewConnectionError):
            break
        if isinstance(cause, UrllibTimeoutError | TimeoutError):
            return Failed(
                f"{to.host}, port {to.port}, did not respond in time.",
                "A firewall often causes this. Check whether this network can reach the portal, and whether the "
                "portal's network allows it.",
            )
    last = causes[-1]
    if isinstance(last, OSError) and last.errno and not isinstance(last, ConnectionError):
        return Failed(
            f"{to.host}, port {to.port}, cannot be reached: {last.strerror}.", "Check this machine's network."
        )
    hint = "" if to.is_tls else " If the server uses TLS, write https:// in the address."
    return Failed(
        f"{to.host}, port {to.port}, closed the connection or sent something that is not HTTP.",
        f"Check that the port is the portal's.{hint}",
    )


def chain(error: BaseException) -> list[BaseException]:
    """The error and what caused it, outermost first."""
    errors: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in errors:
        errors.append(following)
        following = following.__cause__ or following.__context__
    return errors


def no_tls(to: Address, how: str) -> Failed:
    return Failed(
        f"The server on {to.host}, port {to.port}, does not speak TLS with this client ({how}).",
        "If it is a plain http server, for example on your own machine, write http:// in the address.",
    )


def unknown_name(to: Address) -> Failed:
    return Failed(
        f"The name {to.host} is not known: DNS has no address for it.",
        "Check the spelling, and whether the name is known only inside a VPN or another network.",
    )


def bad_certificate(error: ssl.SSLCertVerificationError, to: Address, names: str) -> Failed:
    """The explanation for an untrusted, expired or not yet valid certificate, or one for another host."""
    clock = (
        f"this machine's clock is right: it shows {datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC"
    )
    code = error.verify_code
    if code == EXPIRED:
        return Failed(
            f"The certificate of {to.host} has expired.",
            f"Only the portal's operator can renew it. If it is new, check that {clock}.",
        )
    if code == NOT_YET_VALID:
        return Failed(f"The certificate of {to.host} is not valid yet.", f"Check that {clock}.")
    if code in WRONG_HOST_NAMES:
        made_for = f"It is for {names}." if names else "It is for another name."
        return Failed(
            f"The certificate is not for the host name {to.host}. {made_for}",
            "Use a name of the certificate in the address, or ask the operator for a certificate for this name.",
        )
    why = UNTRUSTED.get(code, error.verify_message)
    return Failed(f"The certificate of {to.host} is not trusted: {why}.", TRUST_IT)
