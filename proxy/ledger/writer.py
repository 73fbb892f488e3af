"""Writes the ledger: a pending row before MLflow receives the request, completed from MLflow's response.

The pending row is committed before the request is sent. If anything crashes in between, the row remains, and
`proxy.ledger.reconcile` determines the outcome.
"""

import hashlib
import logging
import secrets
from typing import Any

from django.db import InterfaceError, OperationalError, connection
from django.utils import timezone

from keys.credentials import tokens
from keys.credentials.caller import Caller
from keys.database import DATABASE_ERRORS, database_required
from keys.models import Namespace, User
from keys.refusals import Refusal
from proxy.models import Registration, chain
from proxy.policy import name_locks
from proxy.policy.decisions import Decision
from proxy.request import messages
from proxy.request.messages import Json
from proxy.routes.operations import Match, Operation
from proxy.upstream.client import UpstreamResponse

logger = logging.getLogger(__name__)

Outcome = Registration.Outcome
KINDS = {
    "registered-models": "registered_model",
    "model-versions": "model_version",
    "logged-models": "logged_model",
}
# Other fields of a request, which are stored in `Registration.detail`.
DETAILS = (
    "alias",
    "stage",
    "archive_existing_versions",
    "description",
    "model_id",
    "experiment_id",
    "model_type",
    "status",
    "lift_reason",
    "reader",
)
IS_PROMPT = "mlflow.prompt.is_prompt"
NAME_LENGTH, TEXT_LENGTH = 500, 8000  # characters


def is_recorded(operation: Operation) -> bool:
    """Whether the operation writes to the registry, logged models included."""
    return operation.name.partition(".")[0] in KINDS and not operation.is_read


def begin(*, caller: Caller, decision: Decision, request_id: str, address: str) -> Registration | None:
    """Insert the pending row of a request to change the registry; None for any other request.

    Raises Refusal (429) if the row cannot be written: then MLflow must not be called.
    """
    if not is_recorded(decision.operation):
        return None
    row = Registration(
        request_id=request_id,
        user=caller.user,
        key=caller.key,
        actor="" if caller.key else Registration.BROWSER,
        environment=caller.environment,
        organisation=caller.organisation,
        subject=caller.subject,
        address=address or None,
        **describe_request(decision.match, decision.content),
    )
    return insert_pending(row)


def begin_for_command(
    *, actor: str, user: User | None, namespace: Namespace, match: Match, content: Json
) -> Registration:
    """The same for a change that the portal itself makes, on behalf of `user` if there is one."""
    row = Registration(
        request_id=new_request_id(),
        actor=actor,
        user=user,
        **namespace.columns,
        **describe_request(match, content),
    )
    return insert_pending(row)


def new_request_id() -> str:
    return f"own_{secrets.token_hex(16)}"


def insert_pending(row: Registration) -> Registration:
    row.at = timezone.now()
    message = (
        f"The portal cannot write its ledger just now, and without that nothing changes in the registry: "
        f"{row.operation} was not sent to MLflow. Try again soon."
    )
    with database_required(message, reason="ledger_unavailable"):
        try:
            insert_with_retry(row)
        except DATABASE_ERRORS:
            logger.exception("ledger_unavailable", extra={"request_id": row.request_id})
            raise
    return row


def insert_with_retry(row: Registration) -> None:
    """Insert the row; try twice, because kept connections are dead after a restart of PostgreSQL.

    A usable connection is kept, since it may hold the request's locks.
    """
    try:
        row.save(force_insert=True)
    except (OperationalError, InterfaceError):
        if connection.in_atomic_block:
            raise
        if not connection.is_usable():
            name_locks.reconnect()
        if not Registration.objects.filter(request_id=row.request_id).exists():
            row.save(force_insert=True)


def describe_request(match: Match, content: Json) -> dict[str, Any]:
    """The ledger's columns for a request that was checked and has its attribution tags."""
    group, _, action = match.operation.name.partition(".")
    tags = read_tags(match, content)
    detail = {name: content[name] for name in DETAILS if name in content}
    if group == "logged-models":
        # MLflow uses the id in the body if there is one (finalize), else the one in the path; both were checked.
        name = content.get("model_id") or match.arguments.get("model_id", "")
        detail.pop("model_id", None)
        if "name" in content:
            detail["name"] = content["name"]
        if action == "log-params":
            detail["params"] = {item.get("key", ""): item.get("value") for item in content.get("params", [])}
    else:
        name = content.get("name", "")
    return {
        "operation": match.operation.name,
        "kind": KINDS[group],
        "is_prompt": (tags.get(IS_PROMPT) or "").lower() == "true",
        "object_name": shorten(name, NAME_LENGTH),
        "new_name": shorten(content.get("new_name", ""), NAME_LENGTH),
        "version": normalise_version(content.get("version", "")),
        "run_id": shorten(content.get("run_id") or content.get("source_run_id") or "", NAME_LENGTH),
        "source": shorten(content.get("source", "")),
        "tags": clean_json(tags),
        "detail": clean_json(detail),
    }


def read_tags(match: Match, content: Json) -> dict[str, str | None]:
    """The tags that a request sets; one that it deletes is None."""
    if match.operation.name.endswith("delete-tag"):
        return {content.get("key") or match.arguments.get("tag_key", ""): None}
    if match.operation.name.endswith(".set-tag"):
        return {content.get("key", ""): content.get("value", "")}
    return {tag.get("key", ""): tag.get("value", "") for tag in content.get("tags", [])}


def normalise_version(version: Any) -> str:
    """The version number as MLflow reads it: " 1" and "01" are 1."""
    try:
        return str(int(str(version)))[:20] if version != "" else ""
    except ValueError:
        return shorten(version, 20)


def shorten(value: Any, limit: int = TEXT_LENGTH) -> str:
    """Text without what PostgreSQL cannot store (NUL, lone surrogates) and without API keys, which would stay in the
    ledger for ever. The end of a long text is replaced by a hash."""
    text = tokens.hide(str(value).replace("\0", "\ufffd").encode(errors="replace").decode())
    if len(text) <= limit:
        return text
    mark = f"… ({len(text)} characters, SHA-256 {hashlib.sha256(text.encode()).hexdigest()})"
    return text[: max(limit - len(mark), 0)] + mark if len(mark) < limit else text[:limit]


def clean_json(value: Any) -> Any:
    """JSON with every text shortened and cleaned."""
    if isinstance(value, str):
        return shorten(value)
    if isinstance(value, dict):
        return {shorten(name, NAME_LENGTH): clean_json(item) for name, item in value.items()}
    if isinstance(value, list):
        return [clean_json(item) for item in value]
    return value if value is None or isinstance(value, bool | int) else shorten(value)


def complete(row: Registration | None, response: UpstreamResponse) -> None:
    """Complete the row from MLflow's response.

    It stays pending for reconcile if the outcome is unknown (5xx, or a creation whose response does not name the
    object) or if PostgreSQL is unavailable.
    """
    if (
        row is None
        or response.status == 408
        or not (200 <= response.status < 300 or 400 <= response.status < 500)
    ):
        return
    done = response.status < 300
    content = read_body(response) if not done or row.operation.endswith(".create") else {}
    facts = read_created(row, content) if done else {"reason": shorten(content.get("error_code", ""), 80)}
    if facts is None:
        logger.error("ledger_answer_unreadable", extra=log_fields(row))
        return
    outcome = Outcome.DONE if done else Outcome.REFUSED
    try:
        close(row, outcome=outcome, status=response.status, **facts)
    except DATABASE_ERRORS:
        logger.exception("ledger_not_completed", extra=log_fields(row))


def not_sent(row: Registration | None, refusal: Refusal) -> None:
    """Complete the row of a request that the portal did not send to MLflow."""
    if row is None or not refusal.is_not_sent:
        return
    try:
        close(row, outcome=Outcome.NOT_DONE, reason=refusal.reason)
    except DATABASE_ERRORS:
        logger.exception("ledger_not_completed", extra=log_fields(row))


def read_body(response: UpstreamResponse) -> Json:
    try:
        return messages.decode(response.peek())
    except Refusal:
        return {}


def read_created(row: Registration, content: Json) -> dict[str, Any] | None:
    """The ledger's columns for the object in MLflow's response to a creation (`content`).

    {} for an operation that creates nothing; None if the response does not name the object.
    """
    if not row.operation.endswith(".create"):
        return {}
    try:
        if row.kind == "registered_model":
            return {"created_ms": int(content["registered_model"]["creation_timestamp"])}
        if row.kind == "model_version":
            return read_version(content["model_version"])
        return read_logged_model(content["model"])
    except (KeyError, TypeError, ValueError):
        return None


def read_version(version: Json) -> dict[str, Any]:
    return {
        "version": normalise_version(version["version"]),
        "run_id": shorten(version.get("run_id") or "", NAME_LENGTH),
        "created_ms": int(version["creation_timestamp"]),
    }


def read_logged_model(model: Json) -> dict[str, Any]:
    info = model["info"]
    return {
        "object_name": shorten(info["model_id"], NAME_LENGTH),
        "run_id": shorten(info.get("source_run_id") or "", NAME_LENGTH),
        "created_ms": int(info.get("creation_timestamp_ms") or info["creation_timestamp"]),
    }


def close(row: Registration, *, outcome: str, **facts: Any) -> bool:
    """Complete a pending row and append it to the chain; False if it was completed before.

    One statement, because the chain's lock is held from the trigger to the commit.
    """
    for name, value in facts.items():
        if name not in chain.FILLED_IN or not getattr(row, name):
            setattr(row, name, value)
    row.outcome, row.completed_at = outcome, timezone.now()
    row.digest = row.computed_digest
    columns = {name: getattr(row, name) for name in chain.COMPLETION + chain.FILLED_IN}
    del columns["sequence"], columns["hash"]  # set by PostgreSQL's trigger
    closed = Registration.objects.pending().filter(pk=row.pk).update(**columns)
    if not closed:
        logger.warning("ledger_completed_already", extra=log_fields(row))
    return bool(closed)


def log_fields(row: Registration) -> dict[str, str]:
    return {"request_id": row.request_id, "operation": row.operation}
