"""How the portal says no: one exception, in the terms of MLflow's error JSON."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(kw_only=True, eq=False)  # not frozen: Python itself sets __traceback__ on exceptions
class Refusal(Exception):
    """A request that will not be served.

    `error_code` is one of MLflow's names (mlflow/protos/databricks.proto), because its client turns an
    unknown one into INTERNAL_ERROR. `message` says what happened and what to do; `reason` is the constant
    word under which refusals are counted and logged; `errors` what is wrong by field, where there are fields.
    """

    status: int
    error_code: str
    reason: str
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)
    errors: Mapping[str, Any] = field(default_factory=dict)
    caller: Any = None  # whose key it was (keys.credentials.caller.Caller), where a real secret has ended

    def __str__(self) -> str:
        return self.message

    @property
    def is_not_sent(self) -> bool:
        """Whether MLflow did not get the call because something that it needs was unavailable for the moment. The
        limits of calls a minute have an error code of their own."""
        return self.error_code == "TEMPORARILY_UNAVAILABLE" and "Retry-After" in self.headers


def unauthenticated(reason: str, message: str) -> Refusal:
    """401. RFC 9110 wants a challenge with it; Basic is not offered, or browsers would ask for a password."""
    return Refusal(
        status=401,
        error_code="UNAUTHENTICATED",
        reason=reason,
        message=message,
        headers={"WWW-Authenticate": 'Bearer realm="Hokusai Registry"'},
    )


def invalid(reason: str, message: str) -> Refusal:
    return Refusal(status=400, error_code="INVALID_PARAMETER_VALUE", reason=reason, message=message)


def forbidden(reason: str, message: str) -> Refusal:
    return Refusal(status=403, error_code="PERMISSION_DENIED", reason=reason, message=message)


def not_sent(reason: str, message: str, *, retry_after: int = 5) -> Refusal:
    """429 for a call that the portal did not send to MLflow, so that every client may send it again.

    MLflow's client from 3.18 repeats creations after 408 and 429 only, earlier ones also after 5xx. `retry_after` in
    seconds, at most 30: a longer one exceeds the total timeout of MLflow's client.
    """
    return temporary(429, reason, message, retry_after)


def unavailable(reason: str, message: str, *, retry_after: int = 5) -> Refusal:
    """503 for a page or a call of the management API. `retry_after` in seconds."""
    return temporary(503, reason, message, retry_after)


def temporary(status: int, reason: str, message: str, retry_after: int) -> Refusal:
    return Refusal(
        status=status,
        error_code="TEMPORARILY_UNAVAILABLE",
        reason=reason,
        message=message,
        headers={"Retry-After": str(retry_after)},
    )


def bad_value(message: str, errors: Mapping[str, Any]) -> Refusal:
    """400. `message`: one sentence; `errors`: a list of texts for each field."""
    return Refusal(
        status=400,
        error_code="INVALID_PARAMETER_VALUE",
        reason="bad_value",
        message=f"{message.rstrip('.')}.",
        errors=errors,
    )


def bad_method(message: str, *allowed: str) -> Refusal:
    """405. `allowed`: the methods for the header `Allow`; Django REST framework's views add it themselves."""
    return Refusal(
        status=405,
        error_code="METHOD_NOT_ALLOWED",
        reason="bad_method",
        message=message,
        headers={"Allow": ", ".join(allowed)} if allowed else {},
    )


def conflict(reason: str, message: str) -> Refusal:
    return Refusal(status=409, error_code="RESOURCE_CONFLICT", reason=reason, message=message)
