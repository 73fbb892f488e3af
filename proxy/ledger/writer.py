"""The ledger's writer: a row before MLflow is asked to change its registry, completed from its answer.

What is between the two, PostgreSQL has committed: whatever crashes, the row stays and `proxy.ledger.reconcile`
finds out what came of it.
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
from keys.models import User
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
# What else a request says, as it is kept in `Registration.detail`.
DETAILS = (
    "alias",
    "stage",
    "archive_existing_versions",
    "description",
    "model_id",
    "experiment_id",
    "model_type",
    "status",
)
IS_PROMPT = "mlflow.prompt.is_prompt"
NAME_LENGTH, TEXT_LENGTH = 500, 8000  # characters


def is_recorded(operation: Operation) -> bool:
    """Whether the operation writes to the registry, logged models included."""
    return operation.name.partition(".")[0] in KINDS and not operation.is_read


def begin(*, caller: Caller, decision: Decision, request_id: str, address: str) -> Registration | None:
    """Write down what MLflow is about to be asked; None for what is not the ledger's.

    Raises Refusal (503) if that cannot be written: then MLflow must not be called.
    """
    if not is_recorded(decision.operation):
        return None
    row = Registration(
        request_id=request_id,
        user=caller.user,
        key=caller.key,
        actor="" if caller.key else Registration.BROWSER,
        environment=caller.environment,
        address=address or None,
        **asked(decision.match, decision.content),
    )
    return opened(row)


def begin_own(
    *, actor: str, user: User | None, environment: str, match: Match, content: Json
) -> Registration:
    """The same for what a command of the portal's own does, on behalf of `user` if that is known."""
    row = Registration(
        request_id=own_request_id(),
        actor=actor,
        user=user,
        environment=environment,
        **asked(match, content),
    )
    return opened(row)


def own_request_id() -> str:
    return f"own_{secrets.token_hex(16)}"


def opened(row: Registration) -> Registration:
    row.at = timezone.now()
    message = (
        f"The portal cannot write its ledger just now, and without that nothing changes in the registry: "
        f"{row.operation} was not sent to MLflow. Try again soon."
    )
    with database_required(message, reason="ledger_unavailable"):
        try:
            insert(row)
        except DATABASE_ERRORS:
            logger.exception("ledger_unavailable", extra={"request_id": row.request_id})
            raise
    return row


def insert(row: Registration) -> None:
    """Once more, for PostgreSQL may have been restarted: the connections that were kept until then are dead. One
    that lives is kept, since it may hold the call's turn."""
    try:
        row.save(force_insert=True)
    except (OperationalError, InterfaceError):
        if connection.in_atomic_block:
            raise
        if not connection.is_usable():
            name_locks.reconnect()
        if not Registration.objects.filter(request_id=row.request_id).exists():
            row.save(force_insert=True)


def asked(match: Match, content: Json) -> dict[str, Any]:
    """What a checked (and stamped) request asks for, as the ledger's columns."""
    group, _, action = match.operation.name.partition(".")
    tags = tags_asked(match, content)
    detail = {name: content[name] for name in DETAILS if name in content}
    if group == "logged-models":
        # MLflow acts on the body's id where there is one (finalize), else on the path's; both were checked.
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
        "object_name": shortened(name, NAME_LENGTH),
        "new_name": shortened(content.get("new_name", ""), NAME_LENGTH),
        "version": version_number(content.get("version", "")),
        "run_id": shortened(content.get("run_id") or content.get("source_run_id") or "", NAME_LENGTH),
        "source": shortened(content.get("source", "")),
        "tags": clean(tags),
        "detail": clean(detail),
    }


def tags_asked(match: Match, content: Json) -> dict[str, str | None]:
    """The tags that a request sets; one that it deletes is None."""
    if match.operation.name.endswith("delete-tag"):
        return {content.get("key") or match.arguments.get("tag_key", ""): None}
    if match.operation.name.endswith(".set-tag"):
        return {content.get("key", ""): content.get("value", "")}
    return {tag.get("key", ""): tag.get("value", "") for tag in content.get("tags", [])}


def version_number(version: Any) -> str:
    """A version as MLflow counts it: it reads " 1" and "01" as 1."""
    try:
        return str(int(str(version)))[:20] if version != "" else ""
    except ValueError:
        return shortened(version, 20)


def shortened(value: Any, limit: int = TEXT_LENGTH) -> str:
    """Text as PostgreSQL can hold it: no NUL, no half of a surrogate pair; the end of a long one hashed. An
    API key that somebody put there does not stay for ever."""
    text = tokens.hide(str(value).replace("\0", "\ufffd").encode(errors="replace").decode())
    if len(text) <= limit:
        return text
    mark = f"… ({len(text)} characters, SHA-256 {hashlib.sha256(text.encode()).hexdigest()})"
    return text[: max(limit - len(mark), 0)] + mark if len(mark) < limit else text[:limit]


def clean(value: Any) -> Any:
    """JSON whose texts PostgreSQL can hold."""
    if isinstance(value, str):
        return shortened(value)
    if isinstance(value, dict):
        return {shortened(name, NAME_LENGTH): clean(item) for name, item in value.items()}
    if isinstance(value, list):
        return [clean(item) for item in value]
    return value if value is None or isinstance(value, bool | int) else shortened(value)


def complete(row: Registration | None, answer: UpstreamResponse) -> None:
    """Write down MLflow's answer. What it leaves open (5xx, or a creation that does not say what it made)
    stays pending, and so does a row that PostgreSQL does not take just now: reconcile settles them."""
    if row is None or answer.status == 408 or not (200 <= answer.status < 300 or 400 <= answer.status < 500):
        return
    done = answer.status < 300
    content = body_of(answer) if not done or row.operation.endswith(".create") else {}
    facts = facts_of(row, content) if done else {"reason": shortened(content.get("error_code", ""), 80)}
    if facts is None:
        logger.error("ledger_answer_unreadable", extra=about(row))
        return
    outcome = Outcome.DONE if done else Outcome.REFUSED
    try:
        close(row, outcome=outcome, status=answer.status, **facts)
    except DATABASE_ERRORS:
        logger.exception("ledger_not_completed", extra=about(row))


def not_sent(row: Registration | None, refusal: Refusal) -> None:
    """Write down that the portal itself gave up (503) before anything went to MLflow."""
    if row is None or refusal.status != 503:
        return
    try:
        close(row, outcome=Outcome.NOT_DONE, reason=refusal.reason)
    except DATABASE_ERRORS:
        logger.exception("ledger_not_completed", extra=about(row))


def body_of(answer: UpstreamResponse) -> Json:
    try:
        return messages.decode(answer.peek())
    except Refusal:
        return {}


def facts_of(row: Registration, content: Json) -> dict[str, Any] | None:
    """What MLflow says it made, as the ledger's columns; {} for what makes nothing, None if it cannot be
    told. `content`: its answer to a creation."""
    if not row.operation.endswith(".create"):
        return {}
    try:
        if row.kind == "registered_model":
            return {"created_ms": int(content["registered_model"]["creation_timestamp"])}
        if row.kind == "model_version":
            return version_facts(content["model_version"])
        return logged_model_facts(content["model"])
    except (KeyError, TypeError, ValueError):
        return None


def version_facts(version: Json) -> dict[str, Any]:
    return {
        "version": version_number(version["version"]),
        "run_id": shortened(version.get("run_id") or "", NAME_LENGTH),
        "created_ms": int(version["creation_timestamp"]),
    }


def logged_model_facts(model: Json) -> dict[str, Any]:
    info = model["info"]
    return {
        "object_name": shortened(info["model_id"], NAME_LENGTH),
        "run_id": shortened(info.get("source_run_id") or "", NAME_LENGTH),
        "created_ms": int(info.get("creation_timestamp_ms") or info["creation_timestamp"]),
    }


def close(row: Registration, *, outcome: str, **facts: Any) -> bool:
    """Complete a pending row, and with it its place in the chain; False if somebody else had done so.

    One statement: the chain's lock is held from its trigger to its commit.
    """
    for name, value in facts.items():
        if name not in chain.FILLED_IN or not getattr(row, name):
            setattr(row, name, value)
    row.outcome, row.completed_at = outcome, timezone.now()
    row.digest = row.computed_digest
    given = {name: getattr(row, name) for name in chain.COMPLETION + chain.FILLED_IN}
    del given["sequence"], given["hash"]  # PostgreSQL's to give
    closed = Registration.objects.pending().filter(pk=row.pk).update(**given)
    if not closed:
        logger.warning("ledger_completed_already", extra=about(row))
    return bool(closed)


def about(row: Registration) -> dict[str, str]:
    """For the log."""
    return {"request_id": row.request_id, "operation": row.operation}
