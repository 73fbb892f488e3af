"""What pages say of a version's files. A badge never claims more than was checked."""

import shlex
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from keys.models.organisations import SHARED_ID
from proxy.models import Manifest
from proxy.provenance import comparison
from proxy.provenance.comparison import FileState

# Label, colour and words by the worst state of a file.
STATES = {
    comparison.UNCHANGED: (
        "unchanged",
        "success",
        "Every file was hashed, and no write to one has passed through the portal since. The store itself was not read "
        "again.",
    ),
    comparison.NOT_SEEN: (
        "not all seen",
        "warning",
        "The portal has no digest of some files, because they did not pass through it.",
    ),
    comparison.UNCERTAIN: (
        "uncertain",
        "warning",
        "A write to a file had an unknown outcome, or went to the store directly.",
    ),
    comparison.ADDED: ("files added", "warning", "Files were added after the registration."),
    comparison.CHANGED: ("changed", "danger", "Files were changed after the registration."),
    comparison.DELETED: ("files deleted", "danger", "Files were deleted after the registration."),
    comparison.DIFFERENT: (
        "differs in the store",
        "danger",
        "A download was not what was registered, and nobody wrote it through the portal.",
    ),
}
READ_LATER = (
    "read later",
    "info",
    "Some files were hashed when the portal read them, not when they arrived.",
)
NO_FILES = ("no files", "info", "The version has no files, or they are in another store than MLflow's own.")
FIELDS = ["path", "size", "sha256", "origin", "state", "changed_at", "changed_by", "found_sha256"]


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """A version's manifest and the states of its files, for a page."""

    manifest: Manifest
    states: list[FileState]
    label: str
    colour: str
    words: str
    command: str


def present(manifest: Manifest, *, public_url: str) -> Provenance:
    states = comparison.compare(manifest)
    worst = comparison.worst(states)
    label, colour, words = STATES[worst] if worst else NO_FILES
    if worst == comparison.UNCHANGED and any(state.origin == "read" for state in states):
        label, colour, words = READ_LATER
    command = command_of(manifest, public_url)
    return Provenance(
        manifest=manifest, states=states, label=label, colour=colour, words=words, command=command
    )


def command_of(manifest: Manifest, public_url: str) -> str:
    """Shell commands that verify a downloaded folder."""
    version = {"name": manifest.object_name, "version": manifest.version}
    if manifest.environment != "live":
        version["environment"] = manifest.environment
    if manifest.registration.organisation_id != SHARED_ID:
        version["organisation"] = manifest.registration.organisation.slug
    query = urlencode(version)
    quoted = shlex.quote(f"{public_url}/api/v1/manifests/signature?{query}")
    download = shlex.quote(f"models:/{manifest.object_name}/{manifest.version}")
    return (
        f"mlflow artifacts download --artifact-uri {download} --dst-path model\n"
        f'curl -fo model.sig -H "Authorization: Bearer $MLFLOW_TRACKING_TOKEN" {quoted}\n'
        f"curl -fo portal.pem {public_url}/.well-known/model-signing-key.pem\n"
        "model_signing verify key --signature model.sig --public_key portal.pem model"
    )


def name_of_author(state: FileState) -> str:
    return state.event.user.username if state.event and state.event.user else ""


def rows(states: list[FileState], *, shows_people: bool) -> list[dict[str, Any]]:
    """The files for an export."""
    return [
        {
            "path": state.path,
            "size": state.size,
            "sha256": state.sha256 if state.origin else "",
            "origin": state.origin,
            "state": state.state,
            "changed_at": state.event.at if state.event else None,
            "changed_by": name_of_author(state) if shows_people else "",
            "found_sha256": state.event.sha256 if state.event else "",
        }
        for state in states
    ]
