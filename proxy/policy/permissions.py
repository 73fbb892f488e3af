"""May this key make this call? One decision for the proxy, the simulator and the tests.

operation -> network -> scope -> dangerous input -> name pattern -> maker's tags -> ownership
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from django.conf import settings

from keys.credentials import authentication
from keys.credentials.caller import Caller
from keys.refusals import forbidden, unauthenticated
from keys.rights.scopes import allows
from proxy.policy import attribution, dangerous_input, ownership
from proxy.request import messages, otlp
from proxy.request.messages import Json, values
from proxy.routes import matching
from proxy.routes.objects import RequestObjects
from proxy.routes.operations import Match

OTLP = "traces.export-otlp"


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """A call as far as it has to be known to judge it.

    `path` is decoded and without its mount; `headers` by their lower-case names; `body` is None where it is
    streamed, or not looked at.
    """

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    address: str = ""


@dataclass(frozen=True, kw_only=True)
class Permit:
    """What may pass: the operation, what it acts on, and its JSON as it was checked (stamped, if it makes
    something). `restamped` says that `content` has to go in place of the caller's body."""

    match: Match
    things: RequestObjects
    content: Json
    restamped: bool = False


TraceProbe = Callable[[list[str]], set[str]]


def permit(
    caller: Caller,
    attempt: Attempt,
    *,
    match: Match | None = None,
    exists: TraceProbe | None = None,
    named: Callable[[RequestObjects], None] | None = None,
) -> Permit:
    """The permit for a call, or a Refusal that names what is missing.

    `exists` tells which of these traces, that nobody owns, MLflow has; without it none is taken to exist.
    `named` is told what the call acts on as soon as that is known.
    """
    match = match or matching.match_operation(attempt.method, attempt.path)
    authentication.check_network(caller, attempt.address)
    check_scopes(caller, match)
    export = read_export(match, attempt)
    content: Json = {}
    if match.operation.names_objects and attempt.body is not None and export is None:
        content = messages.read(match.operation, attempt.body)
    dangerous_input.check(match, content, attempt.query)
    check_model_names(caller, match, content)
    attribution.refuse_reserved(match, content)
    claims = export.trace_ids if export else ()
    things = ownership.things(match, content, attempt.headers, claims)
    if named:
        named(things)
    check_grace(caller, match, things)
    ownership.check(caller, things)
    if exists:
        refuse_unowned_traces(caller, things, exists)
    if not attribution.is_stamped(match):
        return Permit(match=match, things=things, content=content)
    user = caller.user
    stamped = attribution.stamp(
        match, content, user_id=user.public_id, key_id=caller.key_id, user_name=user.username
    )
    return Permit(match=match, things=things, content=stamped, restamped=True)


def check_scopes(caller: Caller, match: Match) -> None:
    operation, held = match.operation, caller.scopes
    if not allows(held, operation.scopes):
        missing = [scope.value for scope in operation.scopes if scope not in held]
        raise forbidden(
            "scope",
            f"{operation.name} needs the scope {' and '.join(missing)}. {has(caller)} "
            "Ask your administrator for a key that may do this.",
        )


def has(caller: Caller) -> str:
    if caller.key:
        return f"{caller} has {', '.join(caller.scopes)}."
    return "A browser may do what one of its user's own live keys may do from there, and none of yours may do this."


def check_model_names(caller: Caller, match: Match, content: Json) -> None:
    """Name patterns limit writes to the registry, and no name may be taken that is kept for another."""
    if match.operation.is_read or not match.operation.scopes[0].startswith("registry:"):
        return
    names = [name for field in ("name", "new_name") for name in values(content, field) if name]
    for name in names:
        patterns = caller.patterns
        if patterns and not any(fnmatchcase(name, pattern) for pattern in patterns):
            raise forbidden(
                "pattern",
                f"{caller} writes only registered models named {', '.join(patterns)}; "
                f"“{name[:200]}” is not one of them.",
            )
    for name in ownership.new_names(match, content):
        ownership.check_name(caller, name)


def check_grace(caller: Caller, match: Match, things: RequestObjects) -> None:
    """An expired key in its grace finishes the runs that it began, and opens nothing new."""
    if caller.key is None or not caller.in_grace or match.operation.is_read:
        return
    operation = match.operation
    opens = operation.parents or operation.claims or operation.created or operation.name.endswith(".rename")
    deletes = any(scope.endswith(":delete") for scope in operation.scopes)
    if opens or deletes or not ownership.began_by(caller, things):
        raise unauthenticated(
            "expired_key",
            f"{caller} expired on {caller.key.expires_at:%Y-%m-%d %H:%M} UTC. For a while "
            "it may finish the runs that it began before, and nothing else. Ask your administrator for a new one.",
        )


def read_export(match: Match, attempt: Attempt) -> otlp.Export | None:
    """The traces that an OTLP export writes, its tags checked. None for other operations."""
    if match.operation.name != OTLP or attempt.body is None:
        return None
    export = otlp.read(
        attempt.body,
        content_type=attempt.headers.get("content-type", ""),
        encoding=attempt.headers.get("content-encoding", ""),
        limit=settings.MAX_JSON_BODY,
    )
    for key in export.tag_keys & (dangerous_input.LOCATION_TAGS | attribution.RESERVED):
        raise forbidden(
            "reserved_tag", f"A span may not set the trace tag {key}; MLflow and the portal set it."
        )
    return export


def refuse_unowned_traces(caller: Caller, things: RequestObjects, exists: TraceProbe) -> None:
    """A trace that MLflow has and nobody owns was made around the portal: it is not for the taking."""
    if settings.OWNERSHIP != "enforce" or caller.any_owner:
        return
    owned = ownership.owners_of(caller.environment, things.claims)
    unowned = [thing for thing in things.claims if thing not in owned]
    taken = exists([thing.name for thing in unowned]) if unowned else set()
    for thing in unowned:
        if thing.name in taken:
            raise ownership.not_owner(thing, None)
