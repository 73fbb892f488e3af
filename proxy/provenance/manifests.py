"""Makes the manifest of a version that was registered: its files as they were then, frozen and signed.

The version's request is not delayed: `proxy.provenance.background` makes the manifest right after it, with the events
that had happened by the time at which MLflow had registered the version.
"""

import datetime
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from proxy.ledger import writer
from proxy.models import ArtifactEvent, Manifest, Registration, RegistrationQuerySet
from proxy.models.manifests import ACTOR, OPERATION, READ_LATER
from proxy.provenance import signing, sources
from proxy.provenance.scan.queue import queue_scan
from proxy.upstream.registry import Registry

RECENT = datetime.timedelta(days=1)  # older versions get their manifests by `manage.py hash_artifacts`
Extent = Manifest.Extent
NOT_SEEN, SEEN, READ = "not_seen", "seen", "read"


def without_manifest() -> RegistrationQuerySet:
    """Registered versions that have no manifest yet, oldest first."""
    rows = Registration.objects.versions()
    return rows.filter(~Exists(Manifest.objects.filter(registration=OuterRef("pk")))).order_by("id")


def make(registration: Registration, registry: Registry, *, is_later: bool = False) -> Manifest:
    """Make and store the manifest: of the files at the registration, or if `is_later`, of the present ones. Raises
    RegistryError, and database errors."""
    now = timezone.now()
    manifest = describe(registration, registry, at=now if is_later else registration.completed_at or now)
    if is_later:
        manifest.about = {**manifest.about, "kind": READ_LATER}
    manifest.registration, manifest.at = registration, now
    manifest.digest = manifest.computed_digest
    with transaction.atomic():
        manifest.signature = signing.sign(manifest)
        manifest.row = open_row(registration, manifest)
        manifest.save(force_insert=True)
        queue_scan(manifest.pk)
        writer.close(manifest.row, outcome=Registration.Outcome.DONE)  # last: it locks the chain
    return manifest


def describe(registration: Registration, registry: Registry, *, at: datetime.datetime) -> Manifest:
    name, version = registration.object_name, registration.version
    manifest = Manifest(
        environment=registration.environment, object_name=name, version=version, extent=Extent.NO_FILES
    )
    if registration.is_prompt:
        manifest.about = {"kind": "prompt", "tags_sha256": digest_of(registration.tags)}
        return manifest
    manifest.root = sources.find_root(registry, name, version, registration.source)
    if not manifest.root:
        manifest.extent = Extent.UNLISTED
        manifest.about = {"kind": "foreign_source", "source": registration.source}
        return manifest
    listing = sources.list_files(registry, manifest.root)
    known, later = read_events(registration.environment, manifest.root, at)
    manifest.files = merge(known, listing, later)
    if manifest.files:
        manifest.extent = Extent.UNLISTED if listing is None else Extent.LISTED
    return manifest


def read_events(
    environment: str, root: str, at: datetime.datetime
) -> tuple[dict[str, ArtifactEvent], frozenset[str]]:
    """The events of the files below the folder that counted at the time, and the files that were written later."""
    events = ArtifactEvent.objects.below(environment, root)
    known = {event.path[len(root) + 1 :]: event for event in events.until(at).current()}
    later = events.filter(at__gt=at).exclude(kind=ArtifactEvent.Kind.DIFFERENT)
    return known, frozenset(path[len(root) + 1 :] for path in later.values_list("path", flat=True))


def merge(
    known: Mapping[str, ArtifactEvent], listing: Mapping[str, int] | None, later: frozenset[str]
) -> list[dict[str, Any]]:
    """The files with their digests. A digest counts only if MLflow's list has a file of its size, unless the file was
    written since."""
    files = []
    for path in sorted({*known, *(listing or {})}):
        event = known.get(path)
        if event is None and path in later:
            continue  # it came afterwards
        is_listed = listing is not None and path in listing
        if event is not None and event.kind == ArtifactEvent.Kind.DELETED and not is_listed:
            continue
        size = listing[path] if listing is not None and path in listing else None
        has_digest = event is not None and event.has_digest
        if has_digest and event is not None and (listing is None or path in later or size == event.size):
            state = READ if event.kind == ArtifactEvent.Kind.READ else SEEN
            files.append({"path": path, "size": event.size, "sha256": event.sha256, "state": state})
        else:
            files.append({"path": path, "size": size, "sha256": "", "state": NOT_SEEN})
    return files


def open_row(registration: Registration, manifest: Manifest) -> Registration:
    """The ledger's row of the manifest, pending."""
    return Registration.objects.create(
        request_id=writer.new_request_id(),
        at=manifest.at,
        actor=ACTOR,
        **registration.namespace.columns,
        operation=OPERATION,
        kind="model_version",
        is_prompt=registration.is_prompt,
        object_name=registration.object_name,
        version=registration.version,
        detail={
            "manifest": manifest.digest,
            "of_request": registration.request_id,
            "files": len(manifest.files),
            "not_seen": sum(not file["sha256"] for file in manifest.files),
            "signed": bool(manifest.signature),
        },
    )


def digest_of(content: object) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
