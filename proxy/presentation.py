"""The end of a forwarded call: MLflow's response as the caller gets it, once owners and the ledger are recorded."""

import json
import logging
import ntpath
import time

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection

from keys.database import DATABASE_ERRORS
from keys.refusals import Refusal
from proxy.forwarding import Forwarding
from proxy.ledger import writer
from proxy.policy import direct_artifacts, name_locks, owner_actions, permissions, responses
from proxy.provenance import background
from proxy.request import artifact_paths, messages, otlp
from proxy.request.bodies import WholeBody
from proxy.upstream import stored_files
from proxy.upstream.client import UpstreamResponse
from proxy.upstream.failures import bad_gateway
from proxy.usage import named_objects

logger = logging.getLogger(__name__)

OWNER_SECONDS = 30.0  # for which a created object waits for PostgreSQL, if it fails meanwhile
OWNER_PAUSE = 0.5  # seconds


def present(forwarding: Forwarding, response: UpstreamResponse) -> UpstreamResponse:
    """MLflow's response as the caller may see it, once owners and the ledger are recorded.

    Raises Refusal for a response that concerns only the operator, and if an owner cannot be recorded.
    """
    if forwarding.artifact_write:
        forwarding.artifact_write.end(response.status)
    if response.status >= 400:
        writer.complete(forwarding.registration, response)
    correct_missing_file(forwarding, response)
    responses.refuse_unpresentable(response, forwarding.operation, sent=lambda: texts_sent(forwarding))
    responses.rewrite(response, forwarding.operation, url=forwarding.url, mount=forwarding.mount)
    if forwarding.call.method == "HEAD":
        response.drop_body()
    if forwarding.operation.name == permissions.OTLP_EXPORT and otlp.is_json(forwarding.content_type):
        answer_in_json(response)
    if 200 <= response.status < 300:
        record_owners(forwarding, response)
        writer.complete(forwarding.registration, response)
        background.wake(forwarding.registration)
        record_direct_transfer(forwarding)
    return response


def correct_missing_file(forwarding: Forwarding, response: UpstreamResponse) -> None:
    """Turn the response for a file that does not exist into a 404. With a store such as S3, MLflow responds with 500,
    and its clients try again for minutes."""
    if forwarding.operation.name != "artifacts.download" or response.status < 500:
        return
    path = forwarding.decision.match.arguments["artifact_path"]
    if stored_files.is_missing(forwarding.url, forwarding.workspace, artifact_paths.stored_path(path)):
        message = f"There is no artifact '{path[:300]}' in MLflow's store."
        content = {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": message}
        response.replace(json.dumps(content).encode(), status=404, content_type="application/json")


def record_direct_transfer(forwarding: Forwarding) -> None:
    """Mark a call after which the client transfers a file directly, or has done so, with the file's size."""
    call, match = forwarding.call, forwarding.decision.match
    if not settings.DIRECT_ARTIFACTS or not direct_artifacts.is_direct(match.operation, forwarding.query):
        return
    call.reason = "direct"
    folder = match.arguments.get("artifact_path", "")
    if match.operation.name == "artifacts.mpu-complete":
        name = ntpath.basename(str(forwarding.decision.content.get("path", "")))
        call.bytes_in += stored_files.size_of(forwarding.url, forwarding.workspace, f"{folder}/{name}")
    elif folder:
        call.direct_out = stored_files.size_of(forwarding.url, forwarding.workspace, folder)


def answer_in_json(response: UpstreamResponse) -> None:
    """MLflow 3.17 answers an export in protobuf, whatever the caller sent."""
    if response.status == 200 and otlp.is_protobuf(response.headers.get("Content-Type", "")):
        content = otlp.response_as_json(response.peek())
        response.replace(content, content_type="application/json")


def texts_sent(forwarding: Forwarding) -> set[str]:
    content = forwarding.body.content if isinstance(forwarding.body, WholeBody) else b""
    return responses.texts_sent(content, forwarding.query, forwarding.decision.match.path)


def record_owners(forwarding: Forwarding, response: UpstreamResponse) -> None:
    """Record the owner of a created object before the caller gets the response. Raises Refusal (502): a client must not
    create the object again."""
    call, decision = forwarding.call, forwarding.decision
    if not owner_actions.changes_owners(decision.operation):
        return
    try:
        content = messages.decode(response.peek())
        call.named_object = named_objects.find_created(decision.match, content) or call.named_object
        record_with_retries(forwarding, content)
    except (*DATABASE_ERRORS, Refusal) as error:
        logger.exception("owner_not_recorded", extra={"request_id": call.request_id})
        raise bad_gateway(
            "owner_not_recorded",
            f"MLflow carried out {decision.operation.name}, but the portal could not record the owner. "
            "Check before you try again, and send your administrator the request id.",
        ) from error


def record_with_retries(forwarding: Forwarding, content: messages.Json) -> None:
    """Record the owners; wait for PostgreSQL if it became unavailable after `require_database`."""
    end = time.monotonic() + OWNER_SECONDS
    while True:
        try:
            return owner_actions.record_changes(
                caller=forwarding.caller, decision=forwarding.decision, response=content
            )
        except (OperationalError, InterfaceError):
            if connection.in_atomic_block or time.monotonic() > end:
                raise
            name_locks.reconnect()
            time.sleep(OWNER_PAUSE)
