"""Decides whether a key may make a call. The proxy, the simulator and the tests use this one decision.

network -> scopes -> dangerous input -> keys in text -> name patterns -> reserved tags -> names of people -> ownership
-> quarantine -> attribution
"""

import re
from fnmatch import fnmatchcase
from urllib.parse import parse_qsl

from django.conf import settings

from keys.credentials import authentication
from keys.credentials.caller import Caller
from keys.refusals import Refusal, forbidden, unauthenticated
from keys.rights.scopes import Scope, allows
from proxy.policy import attribution, dangerous_input, identity, ownership, quarantine
from proxy.policy.decisions import Decision, ReceivedRequest
from proxy.policy.organisations import default_experiment, store_paths
from proxy.policy.server_tags import LOCATION_TAGS
from proxy.request import artifact_paths, key_in_text, messages, otlp, query_limits
from proxy.request.messages import Json, values
from proxy.routes.limits import most_values
from proxy.routes.objects import ObjectRef, RequestObjects
from proxy.routes.operations import Match

OTLP_EXPORT = "traces.export-otlp"
# Reads of artifacts by their path in the store.
STORE_READS = frozenset({"artifacts.list", "artifacts.download", "artifacts.presigned"})
# What log_model creates for a run, with the fields that name the run and the logged model.
LOGGED_MODELS = {
    "logged-models.create": {"source_run_id": "run"},
    "model-versions.create": {"run_id": "run", "model_id": "logged_model"},
}
# MLflow's client writes a trace's spans to this file if its server does not keep them in the database.
TRACE_FILE = re.compile(r"(?:^|/)traces/([^/]+)/artifacts/traces\.json$")
TRACE_FILE_SCOPES = {"artifacts.upload": Scope.TRACES_WRITE, "artifacts.download": Scope.TRACES_READ}


def decide(caller: Caller, request: ReceivedRequest) -> Decision:
    """The decision about a request. A request that may not pass gets a decision with the Refusal that names what
    is missing."""
    match, objects = request.match, RequestObjects()
    try:
        authentication.check_network(caller, request.address)
        check_scopes(caller, match, request.query)
        export = read_export(request)
        content: Json = {}
        if match.operation.names_objects and request.body is not None and export is None:
            content = messages.read(match.operation, request.body)
        check_limits(request, content)
        dangerous_input.check(match, content, request.query)
        check_organisation(caller, request, content)
        refuse_key_in_text(request, export, content)
        check_model_names(caller, match, content)
        attribution.refuse_reserved(match, content)
        identity.refuse_others(caller, match, content)
        trace_ids = export.trace_ids if export else ()
        objects = ownership.read_objects(match, content, request.headers, trace_ids)
        check_grace(caller, match, objects, content)
        ownership.check(caller, objects)
        quarantine.check(caller, match, content)
        attributed = attribute(caller, match, content)
    except Refusal as refusal:
        return Decision(match=match, objects=objects, refusal=refusal)
    return Decision(match=match, objects=objects, content=attributed, is_stamped=attributed is not content)


def check_organisation(caller: Caller, request: ReceivedRequest, content: Json) -> None:
    """Raise Refusal (403, 404) for what lies outside of the caller's organisation by its address."""
    match, query = request.match, request.query
    store_paths.check(caller.organisation.slug, match, content, query)
    if settings.ISOLATION == "required":
        default_experiment.check(match, content, query=query, headers=request.headers, body=request.body)


def attribute(caller: Caller, match: Match, content: Json) -> Json:
    """The request as it goes to MLflow, with the caller where the client may have named somebody else."""
    user = caller.user
    content = ownership.bind_assessments(caller, match, content)
    content = identity.set_names(match, content, user_name=user.username)
    return attribution.attribute(
        match, content, user_id=user.public_id, key_id=caller.key_id, user_name=user.username
    )


def needed_scopes(match: Match, query: str) -> tuple[Scope, ...]:
    """The scopes of the operation. Below skills/, artifacts are the content of MLflow's skills, and need what the
    reads of skills need."""
    if match.operation.scopes != (Scope.ARTIFACTS_READ,):
        return match.operation.scopes
    path = match.arguments.get("artifact_path") or dict(parse_qsl(query)).get("path", "")
    is_skill = match.operation.name in STORE_READS and artifact_paths.is_skill_content(path)
    return (Scope.REGISTRY_READ,) if is_skill else match.operation.scopes


def check_scopes(caller: Caller, match: Match, query: str) -> None:
    operation, held, needed = match.operation, caller.scopes, needed_scopes(match, query)
    if not allows(held, needed) and not (is_trace_file(match) and allows(held, trace_scopes(match))):
        missing = [scope.value for scope in needed if scope not in held]
        raise forbidden(
            "scope",
            f"{operation.name} needs the scope {' and '.join(missing)}. {describe_scopes(caller)} "
            "Ask your administrator for a key with this scope.",
        )


def is_trace_file(match: Match) -> bool:
    """Whether the call transfers the file with a trace's spans."""
    path = match.arguments.get("artifact_path", "")
    file = TRACE_FILE.search(path)
    return file is not None and artifact_paths.holder(path) == ("trace", file[1])


def trace_scopes(match: Match) -> tuple[Scope, ...]:
    """The scope that opens the file with a trace's spans; `ownership.check` requires one's own trace for a write."""
    scope = TRACE_FILE_SCOPES.get(match.operation.name)
    return (scope,) if scope else match.operation.scopes


def describe_scopes(caller: Caller) -> str:
    if caller.key:
        return f"{caller} has {', '.join(caller.scopes)}."
    return (
        "A browser may do what one of its user's live keys may do from the same address, and none of your keys "
        "has this scope."
    )


def check_limits(request: ReceivedRequest, content: Json) -> None:
    """Raise Refusal (400, 413) for a request that asks for too much. The JSON of searches is read only for this."""
    operation = request.match.operation
    if operation.is_read and request.body:
        content = messages.decode(request.body, most=most_values(operation))
    query_limits.check_query(operation, request.query)
    query_limits.check_body(operation, content)


def refuse_key_in_text(request: ReceivedRequest, export: otlp.Export | None, content: Json) -> None:
    """Raise Refusal (400) for a key in what MLflow would store. Most bodies are not searched: they contain neither the
    beginning of a key nor an escape that could hide one."""
    if export:
        key_in_text.refuse(export.suspicious)
    elif (
        not request.match.operation.is_read
        and request.body
        and (b"hk_" in request.body or b"\\" in request.body)
    ):
        key_in_text.refuse(content or messages.decode(request.body))


def check_model_names(caller: Caller, match: Match, content: Json) -> None:
    """Raise Refusal (403) for a registry write to a name that the key's patterns exclude, and for a new name that
    is reserved for another user."""
    if not match.operation.is_registry_write:
        return
    names = [name for field in ("name", "new_name") for name in values(content, field) if name]
    for name in names:
        patterns = caller.patterns
        if patterns and not any(fnmatchcase(name, pattern) for pattern in patterns):
            raise forbidden(
                "pattern",
                f"{caller} may write only registered models named {', '.join(patterns)}; "
                f"“{name[:200]}” does not match. Use a matching name, or ask your administrator for another key.",
            )
    for name in ownership.new_names(match, content):
        ownership.check_name(caller, name)


def check_grace(caller: Caller, match: Match, objects: RequestObjects, content: Json) -> None:
    """Raise Refusal (401) if an expired key, in its grace period, does more than finish the runs that it began."""
    if caller.key is None or not caller.in_grace or match.operation.is_read:
        return
    if not (finishes(caller, match, objects) or logs_model(caller, match, content)):
        raise unauthenticated(
            "expired_key",
            f"{caller} expired on {caller.key.expires_at:%Y-%m-%d %H:%M} UTC. During its grace period it "
            "may finish the runs that it began before, and nothing else. Ask your administrator for a new key.",
        )


def finishes(caller: Caller, match: Match, objects: RequestObjects) -> bool:
    """Whether the call only changes what the key itself created."""
    operation = match.operation
    creates = operation.parents or operation.claims or operation.created
    deletes = any(scope.endswith(":delete") for scope in operation.scopes)
    if operation.name == "assessments.create":
        creates = None  # part of a trace
    if creates or deletes or operation.name.endswith(".rename"):
        return False
    return ownership.is_created_by_key(caller, objects)


def logs_model(caller: Caller, match: Match, content: Json) -> bool:
    """Whether the call is a step of MLflow's `log_model` for a run that the key itself began: it creates the logged
    model, asks for the registered model, which must exist and be the user's, and registers the version."""
    name = match.operation.name
    if name == "registered-models.create":
        ref = ObjectRef(kind="registered_model", name=str(content.get("name", "")))
        owner = ownership.owner_of(caller.namespace, ref)
        return owner is not None and not owner.is_reserved and ownership.may_write(caller, owner)
    fields = LOGGED_MODELS.get(name, {})
    refs = tuple(
        ObjectRef(kind=kind, name=str(content[field])) for field, kind in fields.items() if content.get(field)
    )
    is_own_source = name != "model-versions.create" or any(
        ref.name in str(content.get("source", "")) for ref in refs
    )
    return is_own_source and ownership.is_created_by_key(caller, RequestObjects(targets=refs))


def is_export(match: Match) -> bool:
    return match.operation.name == OTLP_EXPORT


def read_export(request: ReceivedRequest) -> otlp.Export | None:
    """The traces that an OTLP export writes, after a check of its tags; None for other operations."""
    if not is_export(request.match) or request.body is None:
        return None
    export = otlp.read(
        request.body,
        content_type=request.headers.get("content-type", ""),
        encoding=request.headers.get("content-encoding", ""),
        limit=settings.MAX_JSON_BODY,
    )
    dangerous_input.refuse_server_tags(export.tag_keys)
    protected = LOCATION_TAGS | attribution.RESERVED | attribution.ATTRIBUTION
    for key in export.tag_keys & protected:
        raise forbidden(
            "reserved_tag",
            f"A span sets the trace tag {key}, which only MLflow or the portal may set. Remove the attribute.",
        )
    return export
