"""Writes to the artifact store that pass through the portal, as events of the files concerned.

If a file's digest is known, a `pending` event is written before MLflow gets the request. The outcome replaces it. If
the portal is killed in between, or MLflow's response leaves the outcome open, the file counts as not seen.
"""

import datetime
import ntpath
from dataclasses import dataclass, field

from django.utils import timezone

from keys.credentials.caller import Caller
from proxy.models import ArtifactEvent
from proxy.policy.decisions import Decision
from proxy.provenance import digests, events
from proxy.provenance.digests import HashedBody
from proxy.upstream.workspaces import Workspace

Kind = ArtifactEvent.Kind
UPLOAD, DELETE = "artifacts.upload", "artifacts.delete"
DIRECT = ("artifacts.mpu-create", "artifacts.mpu-complete")
OPERATIONS = frozenset({UPLOAD, DELETE, *DIRECT})


@dataclass(kw_only=True)
class ArtifactWrite:
    """An upload or a deletion on its way. `known`: the files with a digest that it concerns."""

    operation: str
    path: str
    caller: Caller
    request_id: str
    body: HashedBody | None
    begun: datetime.datetime = field(default_factory=timezone.now)
    known: list[ArtifactEvent] = field(default_factory=list)
    is_settled: bool = False

    def begin(self) -> None:
        """Before MLflow gets the request: what is known of these files no longer counts."""
        found = events.ask_database(self.find_known)
        self.known = found or []
        self.record(Kind.PENDING, [event.path for event in self.known])

    def find_known(self) -> list[ArtifactEvent]:
        rows = ArtifactEvent.objects
        tree = rows.of_tree if self.operation == DELETE else rows.of_path
        return [event for event in tree(self.caller.environment, self.path).current() if event.has_digest]

    def end(self, status: int) -> None:
        """MLflow has responded with this status."""
        if 400 <= status < 500 and status != 408:
            self.restore()
        elif 200 <= status < 300:
            self.succeed()
        self.is_settled = True

    def succeed(self) -> None:
        if self.operation == DELETE:
            self.record(Kind.DELETED, [event.path for event in self.known])
        elif self.operation == UPLOAD and (self.body is None or self.body.is_complete):
            self.record_upload()
        elif self.operation in DIRECT:
            self.record(Kind.DIRECT, [self.path])

    def record_upload(self) -> None:
        """Record the digest, unless another write of the same path ended meanwhile: which one came last is unknown."""
        size, sha256 = self.content
        if events.ask_database(lambda: self.is_overtaken(sha256)):
            self.record(Kind.PENDING, [self.path])
        else:
            self.record(Kind.UPLOADED, [self.path], size=size, sha256=sha256)

    def is_overtaken(self, sha256: str) -> bool:
        others = ArtifactEvent.objects.of_path(self.caller.environment, self.path).filter(at__gte=self.begun)
        return others.exclude(request_id=self.request_id).exclude(sha256=sha256).exists()

    @property
    def content(self) -> tuple[int, str]:
        if self.body is None:
            return 0, digests.EMPTY
        return self.body.count, self.body.hasher.hexdigest()

    def restore(self) -> None:
        """The write did not happen: the files are what they were."""
        if self.is_settled:
            return
        self.is_settled = True
        for event in self.known:
            self.record(Kind.KEPT, [event.path], size=event.size, sha256=event.sha256)

    def record(self, kind: str, paths: list[str], *, size: int | None = None, sha256: str = "") -> None:
        caller, request_id = self.caller, self.request_id
        events.write(
            events.make(kind, path, caller=caller, request_id=request_id, size=size, sha256=sha256)
            for path in paths
        )


def begin(
    *, caller: Caller, decision: Decision, request_id: str, body: digests.Source | None
) -> ArtifactWrite | None:
    """The write of an allowed call, whose events are prepared; None if the call writes no artifact."""
    operation = decision.operation.name
    if operation not in OPERATIONS:
        return None
    path = decision.match.arguments["artifact_path"]
    if operation in DIRECT:
        name = ntpath.basename(str(decision.content.get("path", "")))
        path = f"{path}/{name}" if name else path
    key = events.key_path(path, Workspace.of(caller.organisation))
    if not key:
        return None
    hashed = HashedBody(body) if operation == UPLOAD and body is not None else None
    write = ArtifactWrite(operation=operation, path=key, caller=caller, request_id=request_id, body=hashed)
    write.begin()
    return write
