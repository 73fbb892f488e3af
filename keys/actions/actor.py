"""The actor of an action: the user, the address, and the way by which the request came."""

from dataclasses import dataclass
from enum import StrEnum

from keys.models import ApiKey, User


class Via(StrEnum):
    """How an action reaches the portal."""

    PAGE = "page"  # the admin's or the account's pages
    API = "api"  # the management API, with a key
    SESSION = "session"  # the management API, with a browser's session
    COMMAND = "command"  # manage.py, on the portal's own machine
    PORTAL = "portal"  # no user: the portal acts on a report of a leaked key, or on the use of a canary


@dataclass(frozen=True, kw_only=True)
class Actor:
    """`user` is None for a command and for the portal itself, `address` is None if it is unknown, and `key` is the
    API key that authenticated the request, if one did."""

    user: User | None
    address: str | None
    via: Via
    key: ApiKey | None = None


COMMAND = Actor(user=None, address=None, via=Via.COMMAND)
