"""One examination: what was asked for, what its steps learn for those after them, and how they call."""

import re
from dataclasses import dataclass, field
from typing import Any

from portal.doctor.address import Address, parse_address, proxy_for
from portal.doctor.connection import Connection, Reply
from portal.doctor.outcomes import Failed

API = "/api/2.0/mlflow"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
DEFAULT_EXPERIMENT = "0"
MISSING_SCOPES = re.compile(r"needs the scope ((?:[a-z:]+)(?: and [a-z:]+)*)")


@dataclass(frozen=True, kw_only=True)
class CreatedObject:
    """Something that was made and can be deleted by this call."""

    name: str
    method: str
    path: str
    content: Any = None


@dataclass
class Context:
    """One examination: what was asked for, and what the steps learn for those after them."""

    url: str
    key: str = ""
    ca: str = ""
    write: bool = False
    model: str = ""
    warnings: list[str] = field(default_factory=list)
    created: list[CreatedObject] = field(default_factory=list)
    run_id: str = ""
    artifact_uri: str = ""
    owner_id: str = ""
    content: bytes = b""
    _to: Address | None = None
    _connection: Connection | None = None

    @property
    def to(self) -> Address:
        if self._to is None:
            self._to = parse_address(self.url)
        return self._to

    @property
    def proxy(self) -> str:
        return proxy_for(self.to)

    @property
    def connection(self) -> Connection:
        if self._connection is None:
            self._connection = Connection(self.to, self.ca)
        return self._connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def get(self, path: str, **options: Any) -> Reply:
        """GET without the key, `path` from the host's root."""
        return self.connection.request("GET", path, **options)

    def send(self, method: str, path: str, *, headers: dict[str, str] | None = None, **options: Any) -> Reply:
        """A call with the key, `path` as MLflow has it, as MLflow's client would send it."""
        headers = {"Authorization": f"Bearer {self.key}", **(headers or {})}
        return self.connection.request(method, self.to.path + path, headers=headers, **options)

    def call(self, method: str, path: str, **options: Any) -> Reply:
        """The same, raising Failed for any answer but a good one."""
        reply = self.send(method, path, **options)
        if not 200 <= reply.status < 300:
            raise refused(reply)
        return reply


def refused(reply: Reply) -> Failed:
    """Why a call was not served, and what to do, from the answer's own words."""
    if missing := missing_scopes(reply):
        return Failed(
            reply.message, f"Ask your administrator for a key with the scope {' and '.join(missing)}."
        )
    if 300 <= reply.status < 400:
        return Failed(
            f"{reply.method} {reply.path} is redirected to {reply.headers.get('Location', 'somewhere else')}; "
            "MLflow's client loses the request's body on the way.",
            "Tell the portal's operator: what stands in front of it must not redirect.",
        )
    advice = {
        401: "Set MLFLOW_TRACKING_TOKEN to a key that works, or ask your administrator for one.",
        403: "Ask your administrator for a key that may do this.",
        413: "Something in front of the portal, or the portal itself, limits the size of uploads; ask its operator.",
        429: "Wait a minute and try again, or ask your administrator for a higher limit.",
    }.get(reply.status, "")
    if reply.status >= 500:
        advice = "Tell the portal's operator" + (" the request's id." if reply.request_id else ".")
    return Failed(reply.message, advice)


def missing_scopes(reply: Reply) -> list[str]:
    """The scopes that a refusal says the key lacks; none if that is not why."""
    found = MISSING_SCOPES.search(reply.message) if reply.status == 403 else None
    return found[1].split(" and ") if found else []
