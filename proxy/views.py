"""A request on its way through the portal, from top to bottom:

request -> key -> operation -> permission -> upstream -> record

The only module that imports revproxy, whose view is kept for its shape (a request in, a streamed answer out);
what it does by itself with headers, queries, bodies and errors is overridden hook by hook.
"""

import json
import logging
import re
import time
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.db import close_old_connections
from django.http import HttpRequest, HttpResponseBase, JsonResponse, StreamingHttpResponse
from revproxy.views import ProxyView

from keys import limits
from keys.credentials import authentication, tokens
from keys.credentials.addresses import client_address
from keys.credentials.caller import Caller
from keys.database import DATABASE_ERRORS, database_required
from keys.refusals import Refusal, invalid, unavailable
from proxy import draining
from proxy.answers import ERROR_CODES, refuse
from proxy.ledger import writer
from proxy.models import Registration
from proxy.policy import browser, name_locks, owner_actions, permissions, server_info
from proxy.policy.permissions import Attempt, Permit
from proxy.request import bodies, headers, messages, paths
from proxy.routes import matching
from proxy.routes.objects import RequestObjects
from proxy.routes.operations import Match
from proxy.upstream import in_flight
from proxy.upstream.client import Answer, bad_gateway, send
from proxy.usage import named_objects, tracing
from proxy.usage.recording import CLIENT_GONE, CallInProgress

logger = logging.getLogger(__name__)

PROBE_TIMEOUT = 10.0  # seconds

# What MLflow's errors may carry of its database: statements, drivers, addresses.
INTERNALS = re.compile(rb"\[SQL: |\bpsycopg|\b(?:postgresql|mysql|mssql|sqlite)(?:\+\w+)?:/")

places = in_flight.from_settings()

# Operations beside creations that change whose something is.
SETTLED = frozenset(
    {"registered-models.rename", "registered-models.delete", "experiments.set-tag", "experiments.delete-tag"}
)


class MlflowProxy(ProxyView):  # type: ignore[misc]  # revproxy is untyped
    """Forwards what the table of operations knows and the key allows. `mount` is the portal's path in front
    of MLflow's own ("/api/mlflow", "/mlflow", or "" at the bare host)."""

    passage: CallInProgress
    permit: Permit
    registration: Registration | None
    body: bodies.RequestBody | bodies.WholeBody | None
    mount: str

    def dispatch(self, request: HttpRequest, mount: str) -> HttpResponseBase:
        meta = request.META
        self.mount = mount
        self.passage = CallInProgress(
            request_id=meta["portal.request_id"],
            method=request.method or "",
            path=tokens.hide(meta["PATH_INFO"]),
            address=client_address(meta, trusted_proxies=settings.TRUSTED_PROXIES),
            client=tokens.hide(meta.get("HTTP_USER_AGENT", "")),
            client_version=tokens.hide(meta.get("HTTP_X_MLFLOW_CLIENT_VERSION", "")),
        )
        meta["portal.passage"] = self.passage  # for what is said of the call at its end
        tracing.begin(self.passage, meta)
        try:
            response = self.forward(request)
        except Refusal as refusal:
            self.passage.reason = refusal.reason
            if refusal.caller and limits.has_room(refusal.caller):
                self.passage.caller = refusal.caller
            response = refuse(request, refusal)
        except bodies.ClientGone:
            self.passage.reason = self.passage.reason or "client_gone"
            response = refuse(
                request, invalid("client_gone", "The body broke off, or its chunks are malformed.")
            )
            return recorded(response, self.passage, self.body_count(), status=CLIENT_GONE)
        except Exception:
            self.passage.reason, self.passage.status = "portal_error", 500
            self.passage.end()
            raise
        return recorded(response, self.passage, self.body_count())

    def forward(self, request: HttpRequest) -> HttpResponseBase:
        if redirect := browser.redirection(request, self.mount):
            return redirect
        caller = self.authenticate(request)
        if draining.has_begun():
            raise unavailable("portal_stopping", "The portal is being stopped. Try again in a few seconds.")
        path = paths.decode(request.META["PATH_INFO"]).removeprefix(self.mount)
        paths.check_target(request.META.get("RAW_URI", ""))
        query = paths.check_query(request.META.get("QUERY_STRING", ""))
        self.admit(caller, is_transfer=matching.is_transfer(request.method or "", path))
        if caller.key is None and (answer := browser.ABSENT.get((request.method or "", path))):
            self.passage.is_of_page = True
            return JsonResponse(answer)
        match = matching.match_operation(request.method or "", path, by_browser=caller.key is None)
        self.passage.operation = match.operation.name
        self.passage.is_of_page = match.operation.name == "pages.file"
        if caller.key is None:
            browser.check_destination(request, match.operation)
        self.passage.thing = named_objects.subject(match, query)
        if caller.environment == "test" and not settings.MLFLOW_TEST_URL:
            raise no_test_registry()
        attempt = Attempt(
            method=request.method or "",
            path=match.path,
            query=query,
            headers=headers.named(request.META),
            body=self.take_body(request, match),
            address=self.passage.address,
        )
        permit = permissions.permit if caller.key else browser.permit
        self.permit = permit(
            caller, attempt, match=match, exists=self.existing_traces, named=self.name_object
        )
        self.passage.thing = self.passage.thing or named_objects.wanted(match, self.permit.content)
        if self.permit.restamped:
            self.body = bodies.WholeBody(json.dumps(self.permit.content).encode())
        if self.permit.things.claims:
            self.claim(caller)
        if not name_locks.names(self.permit):
            # A transfer may take hours; PostgreSQL's connection is for others meanwhile.
            close_old_connections()
            return self.send_and_record(request, caller)
        with name_locks.taken(caller, self.permit):
            return self.send_and_record(request, caller)

    def admit(self, caller: Caller, *, is_transfer: bool) -> None:
        """Raises Refusal: 429 or 403 over a limit, 503 without a place."""
        owner = caller.user.public_id
        name = caller.key.public_id if caller.key else owner
        self.passage.place = places.take(name, owner=owner, is_transfer=is_transfer)
        connection = self.request.environ.get("gunicorn.socket")
        if hasattr(connection, "wait_for_reader"):  # our server's
            connection.wait_for_reader()
        self.passage.admission = limits.admit(caller, is_transfer=is_transfer)

    def authenticate(self, request: HttpRequest) -> Caller:
        """A key's, or else, below MLflow's own pages, a signed-in user's."""
        if browser.is_session(request, self.mount):
            caller = self.passage.caller = browser.authenticate(request)
            browser.check_source(request)
            return caller
        caller = self.passage.caller = authentication.authenticate(request.META)
        request.COOKIES.clear()  # a program's: no session is looked up, and no cookie goes back
        return caller

    def send_and_record(self, request: HttpRequest, caller: Caller) -> HttpResponseBase:
        self.registration = writer.begin(
            caller=caller,
            permit=self.permit,
            request_id=self.passage.request_id,
            address=self.passage.address,
        )
        response: HttpResponseBase = super().dispatch(request, self.permit.match.path)
        if caller.key is None:
            browser.protect(response, self.permit.match.operation)
        return response

    def claim(self, caller: Caller) -> None:
        with database_required("The portal cannot record the owner just now. Try again soon."):
            owner_actions.claim(caller=caller, permit=self.permit)

    def name_object(self, things: RequestObjects) -> None:
        """For the usage log, which names it in a refused call too."""
        self.passage.thing = things.first or self.passage.thing

    def take_body(self, request: HttpRequest, match: Match) -> bytes | None:
        """The body in memory if it has to be judged or MLflow wants it whole; None if it is streamed."""
        is_artifact = match.operation.is_streamed
        limit = settings.MAX_ARTIFACT_BODY if is_artifact else settings.MAX_JSON_BODY
        body = self.body = bodies.request_body(request.META, limit=limit)
        if is_artifact:
            if body and self.passage.place:
                body.before_piece = self.passage.place.give_way
            return None
        if body is None:
            return b""
        self.body = whole = bodies.whole(body)
        self.passage.bytes_in = whole.count
        return whole.content

    def existing_traces(self, trace_ids: list[str]) -> set[str]:
        """Which of these traces MLflow has, asked in the portal's own name."""
        answer = send(
            self.upstream,
            method="POST",
            path="/api/3.0/mlflow/traces/batchGetInfos",
            headers={"Content-Type": "application/json"},
            body=json.dumps({"trace_ids": trace_ids}).encode(),
            timeout=PROBE_TIMEOUT,
        )
        content = messages.decode(answer.data) if answer.status == 200 else None
        if content is None:
            raise bad_gateway("upstream_broken", "MLflow could not say whether the trace exists already.")
        return {str(name) for name in messages.values(content, "trace_infos[].trace_id")}

    def body_count(self) -> int:
        body = getattr(self, "body", None)
        return self.passage.bytes_in or (body.count if body else 0)

    # revproxy's hooks, in the order in which it calls them

    @property
    def upstream(self) -> str:
        caller = self.passage.caller
        return settings.MLFLOW_TEST_URL if caller and caller.environment == "test" else settings.MLFLOW_URL

    def get_request_headers(self) -> dict[str, str]:
        caller = self.passage.caller
        assert caller is not None  # noqa: S101  forward() has authenticated
        prepared = headers.to_upstream(
            self.request.META,
            user_id=caller.user.public_id,
            key_id=caller.key_id,
            request_id=self.passage.request_id,
            address=self.passage.address,
            length=self.body.length if self.body else None,
        )
        operation = self.permit.match.operation
        if operation.name == "meta.server-info" or operation.created or self.registration:
            prepared.pop("Accept-Encoding", None)  # the answer is read below
        return prepared

    def _created_proxy_response(self, request: HttpRequest, path: str) -> Answer:
        started = time.perf_counter()
        try:
            with tracing.upstream(self.passage, self.request_headers):
                answer = send(
                    self.upstream,
                    method=request.method or "",
                    path=paths.encode(path),
                    query=request.META.get("QUERY_STRING", ""),
                    headers=self.request_headers,
                    body=self.body.content if isinstance(self.body, bodies.WholeBody) else self.body,
                    chunked=self.body is not None and self.body.length is None,
                )
        except Refusal as refusal:
            writer.not_sent(self.registration, refusal)
            raise
        finally:
            self.passage.upstream_ms = (time.perf_counter() - started) * 1000
        return self.presentable(answer)

    def _replace_host_on_redirect_location(self, request: HttpRequest, proxy_response: Any) -> None:
        """Done with the other headers, in `presentable`."""

    def presentable(self, answer: Answer) -> Answer:
        """MLflow's answer as the caller may see it. Raises Refusal for one that concerns only the operator."""
        content_type = answer.headers.get("Content-Type", "")
        if answer.status >= 400:
            writer.complete(self.registration, answer)
        if answer.status in (401, 407) or (answer.status == 403 and "text/plain" in content_type):
            answer.close()
            raise bad_gateway(
                "upstream_refused_portal",
                "MLflow refused the portal itself (its credential or its Host header). "
                "Your key is fine; please tell your administrator.",
            )
        if answer.status >= 400 and "text/html" in content_type:
            answer.close()
            raise self.upstream_error(answer, "")
        if answer.status >= 400 and "json" in content_type and INTERNALS.search(answer.peek()):
            raise self.upstream_error(
                answer,
                " Its database did not take this: perhaps a value is too long. MLflow's log has its words.",
            )
        if self.permit.match.operation.name == "meta.server-info":
            content = server_info.as_served(answer.data, direct_artifacts=settings.DIRECT_ARTIFACTS)
            answer.replace(content, content_type=content_type or "application/json")
        else:
            answer.keep(
                headers.to_caller(
                    answer.headers.iteritems(),
                    upstream=self.upstream + settings.MLFLOW_STATIC_PREFIX,
                    mount=self.mount,
                )
            )
        if 200 <= answer.status < 300:
            self.settle(answer)
            writer.complete(self.registration, answer)
        return answer

    def upstream_error(self, answer: Answer, why: str) -> Refusal:
        """In place of what MLflow said, which is no use to the caller or not meant for one."""
        return Refusal(
            status=answer.status,
            error_code=ERROR_CODES.get(answer.status, "INTERNAL_ERROR"),
            reason="upstream_error",
            message=f"MLflow answered {self.permit.match.operation.name} with status {answer.status}.{why}",
        )

    def settle(self, answer: Answer) -> None:
        """Record the owner of what was created before the caller hears of it. Raises Refusal (503)."""
        caller, operation = self.passage.caller, self.permit.match.operation
        if caller is None or operation.is_read or not (operation.created or operation.name in SETTLED):
            return
        try:
            content = messages.decode(answer.peek())
            self.passage.thing = named_objects.made(self.permit.match, content) or self.passage.thing
            owner_actions.settle(caller=caller, permit=self.permit, answer=content)
        except (*DATABASE_ERRORS, Refusal) as error:
            logger.exception("owner_not_recorded", extra={"request_id": self.passage.request_id})
            raise unavailable(
                "owner_not_recorded",
                f"MLflow did {operation.name}, but the portal could not write down whose it is. "
                "Look before you try again, and tell your administrator the request id.",
            ) from error


def no_test_registry() -> Refusal:
    return Refusal(
        status=403,
        error_code="PERMISSION_DENIED",
        reason="no_test_registry",
        message="This is a test key (hk_test_…), and this portal has no test registry. Use a live key, or ask "
        "your administrator to set MLFLOW_TEST_URL.",
    )


class Recorded:
    """A streamed answer that counts its bytes and records its call before its last byte goes, so that nothing
    may end this process between an answer and its record; or when it is closed, cut off."""

    def __init__(self, pieces: Iterator[bytes], passage: CallInProgress, length: int | None) -> None:
        self.pieces = pieces
        self.passage = passage
        self.length = length
        self.is_whole = False

    def __iter__(self) -> Iterator[bytes]:
        for piece in self.pieces:
            if self.passage.place:
                self.passage.place.give_way()
            if self.length and self.passage.bytes_out + len(piece) == self.length:
                self.passage.record(bytes_out=self.length)
            yield piece
            self.passage.bytes_out += len(piece)
        self.is_whole = True
        self.passage.record()  # the end of a chunked answer has not gone yet, nor the head of an empty one

    def close(self) -> None:
        if not self.is_whole:
            self.passage.reason = self.passage.reason or "cut_off"
        if hasattr(self.pieces, "close"):
            self.pieces.close()
        self.passage.end()


def recorded(
    response: HttpResponseBase, passage: CallInProgress, bytes_in: int, *, status: int = 0
) -> HttpResponseBase:
    """The answer, whose call is in the usage log once its last byte has gone; `status` if not the answer's."""
    passage.status = status or response.status_code
    passage.bytes_in = bytes_in
    if isinstance(response, StreamingHttpResponse):
        length = response.headers.get("Content-Length", "")
        pieces = Recorded(
            iter(response.streaming_content),  # type: ignore[arg-type]
            passage,
            int(length) if length.isdecimal() else None,
        )
        response.streaming_content = pieces
    else:
        passage.bytes_out = len(response.content)  # type: ignore[attr-defined]
        passage.end()
    return response
