"""The view of MLflow's routes: the steps of `proxy.forwarding` in order, and revproxy's hooks.

The only module that imports revproxy, whose view provides the shape: a request in, a streamed response out. Each hook
replaces revproxy's own handling of headers, queries, bodies and errors.
"""

from contextlib import ExitStack
from typing import Any

from django.http import HttpRequest, HttpResponseBase, JsonResponse
from revproxy.views import ProxyView

from keys import limits
from keys.credentials import authentication
from keys.credentials.caller import Caller
from keys.database import give_back_connection
from keys.refusals import Refusal, invalid
from proxy import forwarding, presentation
from proxy.answers import fit_exporter, name_address, refuse
from proxy.forwarding import Body, Forwarding
from proxy.ledger import writer
from proxy.policy import browser, browser_responses, name_locks
from proxy.policy.decisions import Decision
from proxy.policy.organisations import published, selection
from proxy.provenance import downloads, writes
from proxy.request import bodies
from proxy.upstream.client import UpstreamResponse
from proxy.usage import recording
from proxy.usage.recording import CLIENT_GONE, CallInProgress
from proxy.usage.transfers import RecordedBody, record_response


class MlflowProxy(ProxyView):  # type: ignore[misc]  # revproxy is untyped
    """Forwards the operations of the table that the caller may call. `mount` is the portal's path in front of MLflow's
    own ("/api/mlflow", "/mlflow", or "" at the bare host)."""

    forwarding: Forwarding  # for revproxy's hooks; the view keeps nothing else

    def dispatch(self, request: HttpRequest, mount: str) -> HttpResponseBase:
        call = forwarding.begin_record(request)
        request.META["portal.call_record"] = call  # for the access log and the metrics
        status = 0
        try:
            response = self.respond(request, mount, call)
        except Refusal as refusal:
            call.reason = refusal.reason
            if refusal.caller and limits.may_log_ended_key(refusal.caller):
                call.caller, call.is_counted = refusal.caller, True
            refusal = fit_exporter(request, name_address(request, refusal))
            authentication.hint_at_overrides(refusal, request.META)
            if call.caller is None:
                recording.keep_refusal(request, refusal)
            response = refuse(request, refusal)
            forwarding.charge_refusal(call, request.META.get("gunicorn.socket"))
        except bodies.ClientGone:
            call.reason, status = call.reason or "client_gone", CLIENT_GONE
            response = refuse(
                request,
                invalid("client_gone", "The body ended early, or its chunks are malformed. Send it again."),
            )
        except Exception:
            call.reason, call.status = "portal_error", 500
            call.end()
            raise
        return record_response(response, call, request.META, status=status)

    def respond(self, request: HttpRequest, mount: str, call: CallInProgress) -> HttpResponseBase:
        """The response to a call. Raises Refusal, and ClientGone."""
        meta = request.META
        mount, organisation = selection.split_mount(meta["PATH_INFO"], mount)
        if redirect := browser.redirection(request, mount):
            return redirect
        caller = call.caller = forwarding.identify_caller(request, mount)
        if caller.key is None:
            browser.check_source(request)
        forwarding.refuse_while_draining()
        target = forwarding.read_target(request, mount)
        forwarding.count_call(call, caller, target, connection=meta.get("gunicorn.socket"))
        caller = selection.select(caller, meta, organisation)
        absent = browser_responses.ABSENT.get((target.method, target.path))
        if caller.key is None and absent is not None:
            call.is_of_page = True
            return JsonResponse(absent)
        match = forwarding.find_operation(call, caller, target)
        caller = published.follow_path(caller, match, target.query)
        if caller.key is None:
            browser.check_destination(request, match.operation)
        forwarding.check_environment(caller)
        with ExitStack() as held:
            body = forwarding.read_body(call, caller, match.operation, meta, held)
            decision = forwarding.decide(call, caller, match, target, body, meta)
            if (answer := forwarding.answer_reader(caller, match, target, body)) is not None:
                return JsonResponse(answer)
            forwarding.claim_ids(caller, decision)
            body = forwarding.body_to_send(decision, body)
            decision = forwarding.without_content(decision)
            return self.forward_locked(request, mount, call, caller, decision, body)

    def forward_locked(
        self,
        request: HttpRequest,
        mount: str,
        call: CallInProgress,
        caller: Caller,
        decision: Decision,
        body: Body | None,
    ) -> HttpResponseBase:
        """MLflow's response, while no other call writes the same names."""
        if not name_locks.names_to_lock(decision):
            give_back_connection()  # a transfer may take hours: others may use the PostgreSQL connection meanwhile
            return self.forward(request, mount, call, caller, decision, body)
        with name_locks.hold(caller, decision):
            return self.forward(request, mount, call, caller, decision, body)

    def forward(
        self,
        request: HttpRequest,
        mount: str,
        call: CallInProgress,
        caller: Caller,
        decision: Decision,
        body: Body | None,
    ) -> HttpResponseBase:
        """MLflow's response, by way of revproxy's hooks."""
        registration = writer.begin(
            caller=caller, decision=decision, request_id=call.request_id, address=call.address
        )
        forwarding.require_database(decision, registration)
        self.forwarding = Forwarding(
            call=call,
            caller=caller,
            decision=decision,
            body=body,
            registration=registration,
            artifact_write=writes.begin(
                caller=caller,
                decision=decision,
                request_id=call.request_id,
                body=body if isinstance(body, RecordedBody) else None,
            ),
            query=request.META.get("QUERY_STRING", ""),
            content_type=request.META.get("CONTENT_TYPE", ""),
            mount=mount,
            url=forwarding.upstream_url(caller),
            while_waiting=forwarding.keep_caller(decision.operation, request.META),
        )
        response: HttpResponseBase = super().dispatch(request, decision.match.path)
        if request.method == "GET":
            self.compare_download(response)
        if caller.key is None:
            browser_responses.protect(response, decision.operation)
            browser_responses.add_bar(response, decision.operation, request=request, caller=caller)
        return response

    def compare_download(self, response: HttpResponseBase) -> None:
        """Compare a file with its digest while it is sent. Raises Refusal (409)."""
        call = self.forwarding.call

        def mark(reason: str) -> None:
            call.reason = reason

        downloads.compare(
            response,
            operation=self.forwarding.operation.name,
            path=self.forwarding.decision.match.arguments.get("artifact_path", ""),
            caller=self.forwarding.caller,
            request_id=call.request_id,
            mark=mark,
        )

    # revproxy's hooks, in the order in which it calls them

    @property
    def upstream(self) -> str:
        return self.forwarding.url

    def _format_path_to_redirect(self, request: HttpRequest) -> None:
        """Nothing: the view rewrites no paths, and revproxy would build the full path to find that out."""

    def get_request_headers(self) -> dict[str, str]:
        return forwarding.headers_to_send(self.forwarding, self.request.META)

    def _created_proxy_response(self, request: HttpRequest, path: str) -> UpstreamResponse:
        response = forwarding.send_request(self.forwarding, self.request_headers)
        return presentation.present(self.forwarding, response)

    def _replace_host_on_redirect_location(self, request: HttpRequest, proxy_response: Any) -> None:
        """Nothing: `proxy.policy.responses` has rewritten it with the other headers."""
