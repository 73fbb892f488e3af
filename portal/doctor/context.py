"""What the steps share: the options, the results of earlier steps, and how to send requests."""

import re
from dataclasses import dataclass, field
from typing import Any

from portal.doctor.address import Address, parse_address, proxy_for
from portal.doctor.connection import Connection, Reply
from portal.doctor.outcomes import Failed

API = "/api/2.0/mlflow"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
MISSING_SCOPES = re.compile(r"needs the scope ((?:[a-z:]+)(?: and [a-z:]+)*)")


@dataclass(frozen=True, kw_only=True)
class CreatedObject:
    """An object that a step created, and the call that deletes it."""

    name: str
    method: str
    path: str
    content: Any = None


@dataclass
class Context:
    """The options, and the results of earlier steps."""

    url: str
    key: str = ""
    ca: str = ""
    write: bool = False
    model: str = ""
    warnings: list[str] = field(default_factory=list)
    created: list[CreatedObject] = field(default_factory=list)
    experiment_id: str = ""
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
        """A call with the key, as MLflow's client would send it; `path` is MLflow's."""
        headers = {"Authorization": f"Bearer {self.key}", **(headers or {})}
        return self.connection.request(method, self.to.path + path, headers=headers, **options)

    def call(self, method: str, path: str, **options: Any) -> Reply:
        """The same; raises Failed for an unsuccessful response."""
        reply = self.send(method, path, **options)
        if not 200 <= reply.status < 300:
            raise describe_refusal(reply)
        return reply


def describe_refusal(reply: Reply) -> Failed:
    """The explanation of an unsuccessful response, and advice."""
    if missing := missing_scopes(reply):
        return Failed(
            reply.message, f"Ask your administrator for a key with the scope {' and '.join(missing)}."
        )
    if 300 <= reply.status < 400:
        return Failed(
            f"{reply.method} {reply.path} is redirected to {reply.headers.get('Location', 'somewhere else')}; "
            "MLflow's client drops the request's body at a redirect.",
            "Tell the portal's operator: a server in front of the portal must not redirect.",
        )
    advice = {
        401: "Set MLFLOW_TRACKING_TOKEN to a valid key, or ask your administrator for one.",
        403: "Ask your administrator for a key with this right.",
        413: "The portal, or a server in front of it, limits the size of uploads; ask its operator.",
        429: "Try again in a few seconds; if this lasts, tell the portal's operator."
        if reply.error_code == "TEMPORARILY_UNAVAILABLE"
        else "Wait a minute and try again, or ask your administrator for a higher limit.",
    }.get(reply.status, "")
    if reply.status >= 500:
        advice = "Tell the portal's operator" + (" the request's id." if reply.request_id else ".")
    return Failed(reply.message, advice)


def missing_scopes(reply: Reply) -> list[str]:
    """The scopes that the key lacks, if that is the reason of a refusal."""
    match = MISSING_SCOPES.search(reply.message) if reply.status == 403 else None
    return match[1].split(" and ") if match else []
