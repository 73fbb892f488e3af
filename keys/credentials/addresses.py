"""The caller's address, seen through as many proxies as are ours. Pure."""

import ipaddress
from collections.abc import Iterable, Mapping

MOST_KNOWN = 1000
known_addresses: set[str] = set()  # in canonical form, so that they need not be parsed again


def client_address(meta: Mapping[str, str], *, trusted_proxies: int) -> str:
    """The address of the caller as text (IPv4 or IPv6, no zone); "" if the server gives none.

    Each proxy of ours appends the address it saw to `X-Forwarded-For`, so with N of them the caller stands
    N-th from the right; whatever stands further left the caller may have written himself. With fewer
    entries than proxies, or nonsense in that place, the peer's own address counts.
    """
    if trusted_proxies:
        hops = [hop.strip() for hop in meta.get("HTTP_X_FORWARDED_FOR", "").split(",")]
        if len(hops) >= trusted_proxies and (address := parse_address(hops[-trusted_proxies])):
            return address
    return parse_address(meta.get("REMOTE_ADDR", ""))


def is_within(address: str, networks: Iterable[str]) -> bool:
    """Whether `address` ("": unknown) lies in one of these networks (CIDR)."""
    return bool(address) and any(
        ipaddress.ip_address(address) in ipaddress.ip_network(network) for network in networks
    )


def parse_address(text: str) -> str:
    """`text` as an address in canonical form, IPv4-mapped IPv6 as IPv4; "" if it is none."""
    if text in known_addresses:
        return text
    text = text.strip().removeprefix("[").split("]")[0].split("%")[0]
    if text.count(":") == 1:
        text = text.split(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return ""
    mapped = getattr(address, "ipv4_mapped", None)
    canonical = str(mapped or address)
    if len(known_addresses) >= MOST_KNOWN:
        known_addresses.clear()
    known_addresses.add(canonical)
    return canonical


def network_of(address: str) -> str:
    """The address's /24 (IPv4) or /64 (IPv6); "" if it is none."""
    try:
        version = ipaddress.ip_address(address).version
    except ValueError:
        return ""
    return str(ipaddress.ip_network(f"{address}/{24 if version == 4 else 64}", strict=False))
