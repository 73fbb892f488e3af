"""Reads files from MLflow's store in the portal's own name, to compare them or to record their digests."""

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from django.utils import timezone

from keys.refusals import Refusal
from proxy.models import ArtifactEvent, Manifest, Registration
from proxy.provenance import comparison, differences, events, manifests, sources
from proxy.request import paths
from proxy.upstream.client import send
from proxy.upstream.registry import Registry, RegistryError
from proxy.upstream.workspaces import present_root
from proxy.usage.artifact_events import ArtifactRecord

Kind = ArtifactEvent.Kind
OK, DIFFERENT, MISSING, NOT_SEEN, EXTRA = "ok", "different", "missing", "not_seen", "extra"
BROKEN = (DIFFERENT, MISSING, EXTRA)


@dataclass(frozen=True, kw_only=True)
class Read:
    """A file as it is in the store."""

    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Verified:
    """A file of a version, as registered and as it is in the store. `since`: when the recorded bytes were known to be
    there the last time, `changed`: what the portal has seen happen to the file since."""

    path: str
    verdict: str
    sha256: str
    found_sha256: str
    since: str
    changed: str


def read_file(
    registry: Registry, path: str, *, copy_to: IO[bytes] | None = None, most: int = 0
) -> Read | None:
    """The size and digest of a file in MLflow's store; None if there is no such file, or it has more than `most` bytes.
    Raises RegistryError."""
    sha256, size = hashlib.sha256(), 0
    try:
        response = send(
            registry.url,
            workspace=registry.workspace,
            method="GET",
            path=f"{sources.LISTING}/{paths.encode(path)}",
            while_waiting=lambda: None,
        )
        if response.status != 200:
            response.close()
            if response.status == 404:
                return None
            raise RegistryError(f"MLflow responded to the download of {path} with status {response.status}.")
        for piece in response.stream():
            sha256.update(piece)
            size += len(piece)
            if copy_to is not None:
                copy_to.write(piece)
            if most and size > most:
                response.close()
                return None
    except Refusal as refusal:
        raise RegistryError(refusal.message) from refusal
    return Read(size=size, sha256=sha256.hexdigest())


def read_head(registry: Registry, path: str, size: int) -> bytes | None:
    """Up to `size` of the file's first bytes; None if there is no such file. Raises RegistryError."""
    head = io.BytesIO()
    read = read_file(registry, path, copy_to=head, most=size)
    return head.getvalue()[:size] if read or head.tell() else None


def verify(manifest: Manifest, registry: Registry) -> Iterator[Verified]:
    """Read every file of the version and compare it with the manifest. Raises RegistryError."""
    states = {state.path: state for state in comparison.compare(manifest)}
    listing = sources.list_files(registry, manifest.root) if manifest.root else {}
    for file in manifest.files:
        state = states[file["path"]]
        read = read_file(registry, f"{manifest.root}/{file['path']}")
        yield verified(manifest, state, read)
    known = {file["path"] for file in manifest.files}
    for path in sorted(set(listing or {}) - known):
        yield Verified(
            path=path, verdict=EXTRA, sha256="", found_sha256="", since="", changed=words(states, path)
        )


def words(states: dict[str, comparison.FileState], path: str) -> str:
    return describe(states[path]) if path in states else "not through the portal"


def verified(manifest: Manifest, state: comparison.FileState, read: Read | None) -> Verified:
    found = read.sha256 if read else ""
    if read is None:
        verdict = MISSING
    elif not state.sha256:
        verdict = NOT_SEEN
    else:
        verdict = OK if found == state.sha256 else DIFFERENT
    if (
        read is not None
        and verdict == DIFFERENT
        and state.state in (comparison.UNCHANGED, comparison.DIFFERENT)
    ):
        report(manifest, state, read)
    recorded = recorded_at(manifest, state)
    return Verified(
        path=state.path,
        verdict=verdict,
        sha256=state.sha256,
        found_sha256=found,
        since=f"{recorded:%Y-%m-%d %H:%M:%S} UTC" if recorded else "",
        changed=describe(state) if verdict != OK else "",
    )


def recorded_at(manifest: Manifest, state: comparison.FileState) -> object:
    rows = ArtifactEvent.objects.of_path(manifest.environment, f"{present_root(manifest)}/{state.path}")
    event = rows.filter(sha256=state.sha256).exclude(kind=Kind.DIFFERENT).order_by("-at").first()
    return event.at if event and state.sha256 else None


def describe(state: comparison.FileState) -> str:
    """What the portal has seen happen to the file since the registration."""
    event = state.event
    if event is None:
        return "no write through the portal"
    by = f" by {event.user.username}" if event.user else ""
    return f"{event.get_kind_display().lower()}{by} at {event.at:%Y-%m-%d %H:%M:%S} UTC"


def report(manifest: Manifest, state: comparison.FileState, read: Read) -> None:
    path = f"{present_root(manifest)}/{state.path}"
    rows = ArtifactEvent.objects.of_path(manifest.environment, path)
    expected = rows.current().first()
    if expected is not None and expected.sha256 == state.sha256:
        differences.report(expected, size=read.size, sha256=read.sha256)


def hash_unseen(registration: Registration, registry: Registry) -> Iterator[tuple[str, str]]:
    """Read and record every file of the version without a digest, and make a manifest with these digests.

    Yields each file with its digest, "" if it is missing. What was recorded before an interruption is not read again.
    Raises RegistryError.
    """
    latest = Manifest.objects.filter(registration=registration).order_by("-id").first()
    manifest = latest or manifests.make(registration, registry)
    unseen = [file["path"] for file in manifest.files if not file["sha256"]]
    is_new = False
    for path in unseen:
        sha256 = hash_file(registration.environment, f"{present_root(manifest)}/{path}", registry)
        is_new = is_new or bool(sha256)
        yield path, sha256
    if is_new:
        manifests.make(registration, registry, is_later=True)


def hash_file(environment: str, path: str, registry: Registry) -> str:
    """Record the digest of a file that has none. Returns the digest; "" if the file is missing, or was written
    meanwhile."""
    rows = ArtifactEvent.objects.of_path(environment, path)
    before = rows.current().first()
    if before is not None and before.has_digest:
        return before.sha256
    begun = timezone.now()
    read = read_file(registry, path)
    if read is None or rows.filter(at__gte=begun).exists():
        return ""
    events.write(
        [
            ArtifactRecord(
                at=timezone.now(),
                environment=environment,
                path=path,
                kind=Kind.READ,
                size=read.size,
                sha256=read.sha256,
                key_id=None,
                user_id=None,
                request_id="",
            )
        ]
    )
    return read.sha256
