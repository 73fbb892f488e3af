"""Compares a downloaded file with its digest while it streams, and ends the transfer before its last bytes if they
differ.

The last piece is held back until the digest of the whole file is known, so that no client takes another file for the
one that was recorded.
"""

import re
from collections.abc import Callable, Iterator

from django.http import HttpResponseBase, StreamingHttpResponse

from keys.credentials.caller import Caller
from keys.refusals import Refusal
from proxy.models import ArtifactEvent
from proxy.provenance import differences, events
from proxy.provenance.differences import PATH_SHOWN
from proxy.provenance.digests import Hasher
from proxy.upstream.workspaces import Workspace

OPERATION = "artifacts.download"
RANGE = re.compile(r"bytes 0-(\d+)/(\d+)")


class Comparison:
    """The comparison of one download. `mark` sets the reason of the call in the usage log."""

    def __init__(
        self, expected: ArtifactEvent, *, caller: Caller, request_id: str, mark: Callable[[str], None]
    ) -> None:
        self.expected, self.caller, self.request_id, self.mark = expected, caller, request_id, mark
        self.hasher = Hasher()

    def check(self) -> None:
        """The whole file has arrived. Raises Refusal (409) if it is not the one that was recorded."""
        found = self.hasher.hexdigest()
        if found == self.expected.sha256:
            return
        latest = events.ask_database(lambda: read_expected(self.expected.environment, self.expected.path))
        if latest is None or latest.pk != self.expected.pk:  # it was written while it was read
            if latest is None or latest.sha256 != found:
                self.mark("unchecked")
            return
        self.mark("artifact_changed")
        differences.report(
            self.expected, size=self.hasher.size, sha256=found, caller=self.caller, request_id=self.request_id
        )
        raise changed(self.expected.path)


def changed(path: str) -> Refusal:
    return Refusal(
        status=409,
        error_code="RESOURCE_CONFLICT",
        reason="artifact_changed",
        message=f"The file '{path[:PATH_SHOWN]}' in MLflow's store is not the one that was uploaded: its SHA-256 "
        "differs. The portal did not pass it on. Do not use copies of it, and ask your administrator.",
    )


def read_expected(environment: str, path: str) -> ArtifactEvent | None:
    """What the file must be; None if the portal has no digest of it."""
    event = ArtifactEvent.objects.of_path(environment, path).current().first()
    return event if event is not None and event.has_digest else None


def compare(
    response: HttpResponseBase,
    *,
    operation: str,
    path: str,
    caller: Caller,
    request_id: str,
    mark: Callable[[str], None],
) -> None:
    """Compare MLflow's response to a GET of a file as it is sent. Raises Refusal (409) if it is in memory and
    differs."""
    is_file = operation == OPERATION and response.status_code in (200, 206)
    key = events.key_path(path, Workspace.of(caller.organisation)) if is_file else ""
    expected = events.ask_database(lambda: read_expected(caller.environment, key)) if key else None
    if expected is None:
        return
    if not is_whole(response):
        mark("unchecked")
        return
    comparison = Comparison(expected, caller=caller, request_id=request_id, mark=mark)
    if isinstance(response, StreamingHttpResponse):
        pieces: Iterator[bytes] = iter(response.streaming_content)  # type: ignore[arg-type]
        response.streaming_content = checked_pieces(pieces, comparison)
    else:
        comparison.hasher.add(response.content)  # type: ignore[attr-defined]
        comparison.check()


def is_whole(response: HttpResponseBase) -> bool:
    """Whether the response contains the file's bytes as they are, from the first to the last."""
    if response.headers.get("Content-Encoding", "identity") != "identity":
        return False
    if response.status_code == 200:
        return True
    match = RANGE.fullmatch(response.headers.get("Content-Range", ""))
    return match is not None and int(match[1]) + 1 == int(match[2])


def checked_pieces(pieces: Iterator[bytes], comparison: Comparison) -> Iterator[bytes]:
    held = b""
    try:
        for piece in pieces:
            comparison.hasher.add(piece)
            if held:
                yield held
            held = piece
        comparison.check()
        yield held
    finally:
        if hasattr(pieces, "close"):
            pieces.close()
