"""The values that policy works on: a request that was received and matched, and the decision about it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from keys.refusals import Refusal
from proxy.request.messages import Json
from proxy.routes.objects import RequestObjects
from proxy.routes.operations import Match, Operation


@dataclass(frozen=True, kw_only=True)
class ReceivedRequest:
    """The parts of a request on which the decision depends.

    `headers` by their lower-case names. `body` is None if it is streamed, or is not to be checked.
    """

    match: Match
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    address: str = ""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Whether a request is forwarded, on which objects it acts, and its JSON as it was checked.

    `refusal` is None if the request is allowed. `is_stamped` states that `content` carries attribution of the portal's
    own and replaces the caller's body. `objects` is empty if the request was refused before they were known.
    """

    match: Match
    objects: RequestObjects = field(default_factory=RequestObjects)
    content: Json = field(default_factory=dict)
    is_stamped: bool = False
    refusal: Refusal | None = None

    @property
    def operation(self) -> Operation:
        return self.match.operation

    def enforce(self) -> "Decision":
        """This decision; raises its Refusal if there is one."""
        if self.refusal is not None:
            raise self.refusal
        return self
