"""What became of a version's files since they were registered, as far as the portal has seen it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db.models import prefetch_related_objects

from proxy.models import ArtifactEvent, Manifest
from proxy.models.manifests import READ_LATER
from proxy.upstream.workspaces import present_root

Kind = ArtifactEvent.Kind

UNCHANGED, NOT_SEEN, UNCERTAIN, ADDED = "unchanged", "not_seen", "uncertain", "added"
CHANGED, DELETED, DIFFERENT = "changed", "deleted", "different"
# From the best to the worst: a version has the worst state of its files.
STATES = (UNCHANGED, NOT_SEEN, UNCERTAIN, ADDED, CHANGED, DELETED, DIFFERENT)
IN_WORDS = {
    UNCHANGED: "Unchanged: no write to it has passed through the portal since",
    NOT_SEEN: "Not seen: the portal has no digest of it",
    UNCERTAIN: "Uncertain: a write to it had an unknown outcome, or went to the store directly",
    ADDED: "Added after the registration",
    CHANGED: "Changed after the registration",
    DELETED: "Deleted after the registration",
    DIFFERENT: "Differs in the store: a download was not what was registered",
}


@dataclass(frozen=True, kw_only=True)
class FileState:
    """A file of a version: as registered, and its state now. `event`: what changed it last, if anything did."""

    path: str
    size: int | None
    sha256: str
    origin: str  # seen, read, not_seen; "" for a file that was added
    state: str
    event: ArtifactEvent | None = None

    @property
    def words(self) -> str:
        return IN_WORDS[self.state]


def compare(manifest: Manifest) -> list[FileState]:
    """The state of every file of the manifest, and of those added since, by path.

    One query, and two for the people if a file was written since.
    """
    if not (root := present_root(manifest)):
        return [state_of(file, None, None) for file in manifest.files]
    is_later = manifest.about.get("kind") == READ_LATER
    registered = manifest.at if is_later else manifest.registration.completed_at or manifest.at
    current: dict[str, ArtifactEvent] = {}
    differing: dict[str, ArtifactEvent] = {}
    for event in ArtifactEvent.objects.below(manifest.environment, root).current_and_different():
        by_path = differing if event.kind == Kind.DIFFERENT else current
        by_path[event.path[len(root) + 1 :]] = event
    states = [
        state_of(file, current.get(file["path"]), differing.get(file["path"])) for file in manifest.files
    ]
    names = {file["path"] for file in manifest.files}
    for path, event in current.items():
        if path not in names and event.at > registered and event.kind != Kind.DELETED:
            states.append(
                FileState(
                    path=path, size=event.size, sha256=event.sha256, origin="", state=ADDED, event=event
                )
            )
    prefetch_related_objects([state.event for state in states if state.event], "user", "key")
    return sorted(states, key=lambda state: state.path)


def state_of(
    file: dict[str, Any], current: ArtifactEvent | None, differing: ArtifactEvent | None
) -> FileState:
    state, event = find_state(file, current, differing)
    return FileState(
        path=file["path"],
        size=file["size"],
        sha256=file["sha256"],
        origin=file["state"],
        state=state,
        event=event,
    )


def find_state(
    file: dict[str, Any], current: ArtifactEvent | None, differing: ArtifactEvent | None
) -> tuple[str, ArtifactEvent | None]:
    if current is not None and differing is not None and differing.at < current.at:
        differing = None  # written again since
    if not file["sha256"]:
        if current is not None and current.kind == Kind.DELETED:
            return DELETED, current
        return NOT_SEEN, None
    if differing is not None and differing.sha256 != file["sha256"]:
        return DIFFERENT, differing
    if current is None:
        return UNCERTAIN, None
    if current.kind == Kind.DELETED:
        return DELETED, current
    if not current.has_digest:
        return UNCERTAIN, current
    return (UNCHANGED, None) if current.sha256 == file["sha256"] else (CHANGED, current)


def worst(states: Iterable[FileState]) -> str:
    """The state of a version with these files; "" without files."""
    return max((state.state for state in states), key=STATES.index, default="")
