"""The steps of a forwarded call, each a function from values to a value:

request -> credential -> operation -> decision -> response

`call` is the record in the usage log of the call in progress. Each step writes to it as soon as it knows something,
so that a refused call is logged with all that was known.
"""

import json
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from typing import Any

from django.conf import settings
from django.db import close_old_connections, connection
from django.http import HttpRequest

from keys import limits
from keys.credentials import authentication, tokens
from keys.credentials.addresses import client_address
from keys.credentials.cache import pulse
from keys.credentials.caller import Caller
from keys.database import database_required
from keys.refusals import Refusal, forbidden, not_sent
from proxy import draining
from proxy.ledger import writer
from proxy.models import Registration
from proxy.policy import (
    browser,
    name_locks,
    owner_actions,
    permissions,
    upstream_checks,
)
from proxy.policy.decisions import Decision, ReceivedRequest
from proxy.policy.organisations import published_reads, references
from proxy.provenance.digests import HashedBody
from proxy.provenance.writes import ArtifactWrite
from proxy.request import bodies, headers, otlp, paths
from proxy.request.bodies import WholeBody
from proxy.request.messages import Json
from proxy.routes import limits as operation_limits
from proxy.routes import matching
from proxy.routes.operations import Match, Operation
from proxy.upstream import fair_queue, in_flight, large_bodies
from proxy.upstream.client import UpstreamResponse, send
from proxy.upstream.registry import server_url
from proxy.upstream.workspaces import Workspace
from proxy.usage import named_objects, tracing
from proxy.usage.recording import CallInProgress
from proxy.usage.transfers import RecordedBody

Body = RecordedBody | WholeBody

# Operations for which MLflow copies a whole file to or from its store before its first byte.
FILE_TRANSFERS = frozenset(
    {
        *("artifacts.upload", "artifacts.download", "logged-models.get-artifact"),
        *("pages.get-artifact", "pages.get-version-artifact"),
    }
)
INTERIM_AGENTS = ("mlflow-python-client/", "python-requests/")

slots = in_flight.from_settings()


@dataclass(frozen=True, kw_only=True)
class Target:
    """The request's path below the mount, decoded and checked, and its query string."""

    method: str
    path: str
    query: str


@dataclass(frozen=True, kw_only=True)
class Forwarding:
    """An allowed call on its way to MLflow. revproxy's hooks get all that they need from it."""

    call: CallInProgress
    caller: Caller
    decision: Decision
    body: Body | None
    registration: Registration | None
    artifact_write: ArtifactWrite | None
    query: str
    content_type: str
    mount: str
    url: str
    while_waiting: Callable[[], None] | None = None

    @property
    def workspace(self) -> Workspace:
        return Workspace.of(self.caller.organisation)

    @property
    def operation(self) -> Operation:
        return self.decision.operation


def begin_record(request: HttpRequest) -> CallInProgress:
    """The record of a call that has just arrived."""
    meta = request.META
    call = CallInProgress(
        request_id=meta["portal.request_id"],
        method=request.method or "",
        path=tokens.hide(meta["PATH_INFO"]),
        address=client_address(meta, trusted_proxies=settings.TRUSTED_PROXIES),
        client=tokens.hide(meta.get("HTTP_USER_AGENT", "")),
        client_version=tokens.hide(meta.get("HTTP_X_MLFLOW_CLIENT_VERSION", "")),
    )
    tracing.begin(call, meta)
    return call


def identify_caller(request: HttpRequest, mount: str) -> Caller:
    """The caller: the user of a session on MLflow's own pages, else the holder of the key that the request carries.

    Raises Refusal (400, 401, 429).
    """
    if browser.is_session(request, mount):
        return browser.authenticate(request)
    caller = authentication.authenticate(request.META)
    request.COOKIES.clear()  # a program's request: no session is looked up, and no cookie is set
    return caller


def read_target(request: HttpRequest, mount: str) -> Target:
    """Raises Refusal (400) for a path or query that two programs could read differently."""
    meta = request.META
    target = meta.get("RAW_URI", "")
    path = paths.decode(meta["PATH_INFO"], target).removeprefix(mount)
    paths.check_target(target)
    query = paths.check_query(meta.get("QUERY_STRING", ""))
    return Target(method=request.method or "", path=path, query=query)


def refuse_while_draining() -> None:
    if draining.has_begun():
        raise not_sent("portal_stopping", "The portal is stopping. Try again in a few seconds.")


def count_call(call: CallInProgress, caller: Caller, target: Target, *, connection: object) -> None:
    """Occupy a slot, if need be after a short wait, and count the call towards the caller's limits. Raises Refusal: 429
    or 403 over a limit, 429 without a free slot. `connection` is the server's."""
    is_transfer = matching.is_transfer(target.method, target.path)
    owner = caller.user.public_id
    name = caller.key.public_id if caller.key else owner
    call.slot = slots.take_for_request(name, owner=owner, is_transfer=is_transfer, connection=connection)
    call.waited_for_slot = getattr(connection, "waited_for_slot", 0.0)
    if hasattr(connection, "wait_for_reader"):  # the portal's own server
        connection.wait_for_reader()
    call.is_counted = True
    call.counted_call = limits.count_call(caller, is_transfer=is_transfer)


def charge_refusal(call: CallInProgress, connection: object) -> None:
    """Charge the caller for the processor time of a refused call. While others call, a caller with many refusals gets
    them later: otherwise they would take the interpreter from the others' calls. `connection` is the server's."""
    if hasattr(connection, "charge_to"):  # the portal's own server
        connection.charge_to(call.caller.user.public_id if call.caller else call.address)


def find_operation(call: CallInProgress, caller: Caller, target: Target) -> Match:
    """The operation of the request. Raises Refusal (403, 404) if it is not served to this caller."""
    method = "GET" if is_head_of_artifact(target) else target.method
    match = matching.match_operation(method, target.path, by_browser=caller.key is None)
    call.operation = match.operation.name
    call.is_of_page = match.operation.name == "pages.file"
    call.named_object = named_objects.find_in_address(match, target.query)
    return match


def is_head_of_artifact(target: Target) -> bool:
    """MLflow has no HEAD for its artifacts, so the portal sends a GET and drops the body."""
    return target.method == "HEAD" and matching.is_transfer(target.method, target.path)


def check_environment(caller: Caller) -> None:
    if caller.environment == "test" and not settings.MLFLOW_TEST_URL:
        raise forbidden(
            "no_test_registry",
            "This is a test key (hk_test_…), and this portal has no test registry. Use a live key, or ask "
            "your administrator to set MLFLOW_TEST_URL.",
        )


def upstream_url(caller: Caller) -> str:
    return server_url(caller.environment)


def read_body(
    call: CallInProgress, caller: Caller, operation: Operation, meta: Mapping[str, Any], held: ExitStack
) -> Body | None:
    """The body: a stream for an artifact; in memory if it must be checked, or MLflow needs its length; None without
    one. `held` ends with the call and keeps the memory of a large body reserved. Raises Refusal (400, 408, 413, 429)
    and ClientGone."""
    if operation.is_streamed:
        stream = bodies.request_body(meta, limit=settings.MAX_ARTIFACT_BODY)
        return RecordedBody(stream, call) if stream else None
    limit = operation_limits.most_bytes(operation, settings.MAX_JSON_BODY)
    is_own = limit != settings.MAX_JSON_BODY
    body = bodies.request_body(meta, limit=limit, operation=operation.name if is_own else "")
    if body is None:
        return None
    user = caller.user.public_id
    try:
        return bodies.read_whole(body, hold=lambda size: held.enter_context(large_bodies.hold(user, size)))
    finally:
        call.bytes_in = body.count


def decide(
    call: CallInProgress,
    caller: Caller,
    match: Match,
    target: Target,
    body: Body | None,
    meta: Mapping[str, Any],
) -> Decision:
    """The decision to forward the call. Raises Refusal if it is not allowed."""
    if caller.home is not None:  # before anything could tell what else the publisher has
        published_reads.check(caller, match, target.query)
    content = body.content if isinstance(body, WholeBody) else b""
    request = ReceivedRequest(
        match=match,
        query=target.query,
        headers=headers.select_forwarded(meta),
        body=None if match.operation.is_streamed else content,
        address=call.address,
    )
    with large_bodies.parse(caller.user.public_id, parsed_size(request)):
        decision = permissions.decide(caller, request) if caller.key else browser.decide(caller, request)
    call.named_object = decision.objects.first or call.named_object
    url = upstream_url(caller)
    if decision.refusal is not None and decision.refusal.reason == "unknown_object":
        # As for an id that nobody has: an experiment that does not exist is the first thing that is wrong.
        references.refuse_unknown(caller, decision.objects, url=url)
    decision.enforce()
    upstream_checks.refuse_unowned(caller, decision.objects, url=url)
    references.refuse_unknown(caller, decision.objects, url=url)
    upstream_checks.refuse_foreign_source(caller, match, decision.content, url=url)
    upstream_checks.refuse_running_scorer(caller, match, decision.content, url=url)
    call.named_object = call.named_object or named_objects.find_requested(match, decision.content)
    return decision


def answer_reader(caller: Caller, match: Match, target: Target, body: Body | None) -> Json | None:
    """The portal's own response to a call in the registry of another organisation, which publishes models for the
    caller's; None for any other call. Raises Refusal (400, 404, 429)."""
    if caller.home is None:
        return None
    content = body.content if isinstance(body, WholeBody) else b""
    return published_reads.answer(caller, match, target.query, content, url=upstream_url(caller))


def parsed_size(request: ReceivedRequest) -> int:
    """The bytes that are parsed: those of the body, or of a compressed export at most as many as are accepted."""
    if request.body is None:
        return 0
    if permissions.is_export(request.match) and otlp.is_compressed(request.headers):
        return max(settings.MAX_JSON_BODY, large_bodies.LARGEST)
    return len(request.body)


def without_content(decision: Decision) -> Decision:
    """The decision, without JSON that may be large and is not needed after the check."""
    if decision.operation.name in operation_limits.MORE_VALUES:
        return replace(decision, content={})
    return decision


def body_to_send(decision: Decision, body: Body | None) -> Body | None:
    """The caller's body, or the stamped one in its place."""
    return WholeBody(json.dumps(decision.content).encode()) if decision.is_stamped else body


def claim_ids(caller: Caller, decision: Decision) -> None:
    """Record the caller as owner of the ids that it chose. Raises Refusal: 403 if another owns one, 429."""
    if not decision.objects.claims:
        return
    with database_required(
        "The portal cannot record the owner just now, so the call was not sent to MLflow. Try again in a few seconds."
    ):
        owner_actions.claim_ids(caller=caller, claims=decision.objects.claims)


def require_database(decision: Decision, registration: Registration | None) -> None:
    """Refuse (429) a creation while PostgreSQL is unavailable, because its owner could not be recorded.

    PostgreSQL is asked only if it has been silent, and not if it has just stored the ledger's row.
    """
    is_asked = pulse.has_listener and not pulse.is_steady
    if registration or not is_asked or not owner_actions.changes_owners(decision.operation):
        return
    with database_required(
        "The portal cannot record the owner just now, so the call was not sent to MLflow. Try again in a few seconds."
    ):
        name_locks.discard_connection()
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        close_old_connections()  # others may use it while MLflow has the call


def headers_to_send(forwarding: Forwarding, meta: Mapping[str, Any]) -> dict[str, str]:
    caller, body, operation = forwarding.caller, forwarding.body, forwarding.operation
    prepared = headers.to_upstream(
        meta,
        user_id=caller.user.public_id,
        key_id=caller.key_id,
        request_id=forwarding.call.request_id,
        address=forwarding.call.address,
        length=body.length if body else None,
    )
    if operation.name == "meta.server-info" or operation.created or forwarding.registration:
        prepared.pop("Accept-Encoding", None)  # the portal reads the response
    return prepared


def keep_caller(operation: Operation, meta: Mapping[str, Any]) -> Callable[[], None] | None:
    """What to do while MLflow copies a file to or from its store: end the call if its caller has left, and send an
    interim response to MLflow's own client, which otherwise gives up after 120 s. None for other operations.

    Other clients may not expect interim responses. Of the proxies in front, nginx 1.22 and HAProxy 2.6 pass them on,
    Caddy 2.6 and Apache 2.4 drop them.
    """
    if operation.name not in FILE_TRANSFERS:
        return None
    connection = meta.get("gunicorn.socket")
    agent = meta.get("HTTP_USER_AGENT", "").startswith(INTERIM_AGENTS)
    takes_interim = agent and meta.get("SERVER_PROTOCOL") == "HTTP/1.1"

    def keep() -> None:
        if connection is None or not hasattr(connection, "is_left"):  # another server's
            return
        if connection.is_left():
            raise bodies.ClientGone
        if takes_interim:
            connection.send_interim()

    return keep


def send_request(forwarding: Forwarding, request_headers: dict[str, str]) -> UpstreamResponse:
    """MLflow's response. Raises Refusal (429, 502, 504) if there is none."""
    call, body = forwarding.call, body_with_digest(forwarding)
    started = time.perf_counter()
    try:
        with wait_for_turn(forwarding), tracing.upstream(call, request_headers):
            return send(
                forwarding.url,
                workspace=forwarding.workspace,
                method="GET" if call.method == "HEAD" else call.method,
                path=paths.encode(forwarding.decision.match.path),
                query=forwarding.query,
                headers=request_headers,
                body=body.content if isinstance(body, WholeBody) else body,
                chunked=body is not None and body.length is None,
                while_waiting=forwarding.while_waiting,
                asks_first=forwarding.operation.created is not None and isinstance(body, WholeBody),
            )
    except Refusal as refusal:
        writer.not_sent(forwarding.registration, refusal)
        if forwarding.artifact_write and (refusal.is_not_sent or refusal.status == 413):
            forwarding.artifact_write.restore()
        raise
    except bodies.ClientGone:
        if forwarding.artifact_write:
            forwarding.artifact_write.restore()
        raise
    finally:
        call.upstream_ms = (time.perf_counter() - started) * 1000


def body_with_digest(forwarding: Forwarding) -> Body | HashedBody | None:
    write = forwarding.artifact_write
    return write.body if write and write.body else forwarding.body


def wait_for_turn(forwarding: Forwarding) -> AbstractContextManager[None]:
    """Wait until MLflow has room for a call of this user. Artifact transfers do not wait; they have their own slots."""
    operation = forwarding.operation
    if matching.is_transfer(forwarding.call.method, forwarding.decision.match.path):
        return nullcontext()
    user = forwarding.caller.user.public_id
    return fair_queue.calls(forwarding.url).turn(
        user, is_search=operation.is_search, waited=forwarding.call.waited_for_slot
    )
