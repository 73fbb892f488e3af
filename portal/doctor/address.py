"""The address of a portal as MLflow's client would use it, and the proxy on the way to it."""

import contextlib
import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from portal.doctor.outcomes import Failed

MOUNTS = ("/api/mlflow", "/mlflow")


@dataclass(frozen=True, kw_only=True)
class Address:
    """A parsed tracking URI. `mount` is the portal's path for MLflow: "/api/mlflow", "/mlflow" or ""."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def is_tls(self) -> bool:
        return self.scheme == "https"

    @property
    def is_this_machine(self) -> bool:
        with contextlib.suppress(ValueError):
            return ipaddress.ip_address(self.host).is_loopback
        return self.host == "localhost"

    @property
    def origin(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        is_usual = self.port == (443 if self.is_tls else 80)
        return f"{self.scheme}://{host}" + ("" if is_usual else f":{self.port}")

    @property
    def mount(self) -> str:
        return next((mount for mount in MOUNTS if self.path.endswith(mount)), "")

    @property
    def root(self) -> str:
        """The path in front of the mount; "" for nearly all portals."""
        return self.path.removesuffix(self.mount)

    def __str__(self) -> str:
        return self.origin + self.path


def parse_address(url: str) -> Address:
    """Parse `url`. Raises Failed for an address that MLflow's client cannot use or should not get."""
    url = url.strip()
    if not url:
        raise Failed(
            "No address was given.", "Give --url https://HOST/api/mlflow, or set MLFLOW_TRACKING_URI."
        )
    if "://" not in url:
        raise Failed(
            f"“{url}” does not begin with http:// or https://.",
            f"Write https://{url}; MLflow would read this as a folder.",
        )
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname or ""
    except ValueError as error:
        raise Failed(
            f"The address cannot be read: {error}.", "Write it like https://HOST/api/mlflow."
        ) from None
    if parts.scheme not in ("http", "https") or not host:
        raise Failed(
            f"“{parts.scheme}://{host}” is not a web address.", "Write it like https://HOST/api/mlflow."
        )
    if parts.username is not None or parts.password is not None:
        raise Failed(
            "The address contains a user or a password. MLflow's client would send that in place of your key.",
            "Remove it; the key belongs in MLFLOW_TRACKING_TOKEN.",
        )
    clean = f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/")
    if parts.query or parts.fragment:
        raise Failed(
            "The address contains a query or a fragment (“?…” or “#…”), like one copied from a browser.",
            f"Use {clean}.",
        )
    if "//" in parts.path:
        raise Failed(
            "The address contains an empty segment (“//”).", f"Use {re.sub('(?<!:)/{2,}', '/', clean)}."
        )
    default = 443 if parts.scheme == "https" else 80
    return Address(scheme=parts.scheme, host=host, port=port or default, path=parts.path.rstrip("/"))


def proxy_for(to: Address) -> str:
    """The proxy that the environment names for this address (HTTPS_PROXY, NO_PROXY …); "" for none."""
    proxy = getproxies().get(to.scheme, "")
    if not proxy or proxy_bypass(to.host):
        return ""
    return proxy if "://" in proxy else f"http://{proxy}"
