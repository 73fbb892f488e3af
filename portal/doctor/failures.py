"""What goes wrong on the way to a portal, in words."""

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
    20: "it is signed by an authority that this machine does not know, or the server keeps a certificate in "
    "between to itself",
}
TRUST_IT = (
    "If it is your organisation's own authority, give its certificate: --ca FILE here, and "
    "MLFLOW_TRACKING_SERVER_CERT_PATH=FILE for MLflow's client. If you do not know whose it is, do not go on: "
    "somebody may be in between."
)


def describe_failure(error: Exception, to: Address, *, names: str = "") -> Failed:
    """The one map from what sockets, TLS and HTTP raise to what a person can act on."""
    causes = [cause for cause in chain(error) if not isinstance(cause, Failed)]
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return bad_certificate(cause, to, names)
    for cause in causes:
        if isinstance(cause, ProxyError):
            return Failed(
                "The proxy that this machine's settings name (HTTP_PROXY, HTTPS_PROXY) does not let us through.",
                f"Ask who runs it, or set NO_PROXY={to.host} if the portal is reached without it.",
            )
        if isinstance(cause, NameResolutionError | socket.gaierror):
            return unknown_name(to)
        if isinstance(cause, ConnectionRefusedError):
            return Failed(
                f"Nothing listens on {to.host}, port {to.port}: the connection was refused.",
                "See whether host and port are right, and ask your operator whether the portal is running.",
            )
        if isinstance(cause, ssl.SSLError | UrllibSSLError):
            return no_tls(to, str(getattr(cause, "reason", None) or "handshake failed"))
        if isinstance(cause, NewConnectionError):
            break
        if isinstance(cause, UrllibTimeoutError | TimeoutError):
            return Failed(
                f"{to.host}, port {to.port}, did not answer in time.",
                "A firewall in between often does this. See whether this network reaches it, and whether the "
                "portal allows it.",
            )
    last = causes[-1]
    if isinstance(last, OSError) and last.errno and not isinstance(last, ConnectionError):
        return Failed(
            f"{to.host}, port {to.port}, cannot be reached: {last.strerror}.", "See this machine's network."
        )
    hint = "" if to.is_tls else " If it speaks TLS there, write https:// in the address."
    return Failed(
        f"{to.host}, port {to.port}, broke off the connection, or sent something that is not HTTP.",
        f"See whether the port is the portal's.{hint}",
    )


def chain(error: BaseException) -> list[BaseException]:
    """The error and what caused it, outermost first."""
    found: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in found:
        found.append(following)
        following = following.__cause__ or following.__context__
    return found


def no_tls(to: Address, how: str) -> Failed:
    return Failed(
        f"What answers on {to.host}, port {to.port}, does not speak TLS as we do ({how}).",
        "If it is a plain http server, as on your own machine, write http:// in the address.",
    )


def unknown_name(to: Address) -> Failed:
    return Failed(
        f"The name {to.host} is not known: DNS has no address for it.",
        "See whether it is spelled right, and whether it is known only inside a VPN or another network.",
    )


def bad_certificate(error: ssl.SSLCertVerificationError, to: Address, names: str) -> Failed:
    """Untrusted, expired, not yet valid and made for another host, told apart."""
    clock = f"this machine's clock is right: it says {datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC"
    code = error.verify_code
    if code == EXPIRED:
        return Failed(
            f"The certificate of {to.host} has expired.",
            f"Only the portal's operator can renew it. If it is new, see whether {clock}.",
        )
    if code == NOT_YET_VALID:
        return Failed(f"The certificate of {to.host} is not valid yet.", f"See whether {clock}.")
    if code in WRONG_HOST_NAMES:
        made_for = f"It is for {names}." if names else "It is for another name."
        return Failed(
            f"The certificate is not for the host name {to.host}. {made_for}",
            "Use a name that the certificate has in the address, or have the operator get one for this name.",
        )
    why = UNTRUSTED.get(code, error.verify_message)
    return Failed(f"The certificate of {to.host} is not trusted: {why}.", TRUST_IT)
