"""Tables of the proxy: the usage log and its totals, owners of objects, and the ledger of registrations."""

from proxy.models.artifact_events import ArtifactEvent, ArtifactEventQuerySet
from proxy.models.attempts import KeylessAttempt, UncalledRequest
from proxy.models.calls import Call, CallQuerySet
from proxy.models.manifests import Manifest, ManifestQuerySet, SigningKey
from proxy.models.owners import Owner, OwnerQuerySet
from proxy.models.publications import Publication, PublicationQuerySet, PublicationReader, PublishedFiles
from proxy.models.registrations import Registration, RegistrationQuerySet
from proxy.models.scans import VersionScan
from proxy.models.spool_segments import SpoolSegment
from proxy.models.stamps import LedgerStamp
from proxy.models.totals import CallTotal, CallTotalQuerySet, HourTotal

__all__ = [
    "ArtifactEvent",
    "ArtifactEventQuerySet",
    "Call",
    "CallQuerySet",
    "CallTotal",
    "CallTotalQuerySet",
    "HourTotal",
    "KeylessAttempt",
    "LedgerStamp",
    "Manifest",
    "ManifestQuerySet",
    "Owner",
    "OwnerQuerySet",
    "Publication",
    "PublicationQuerySet",
    "PublicationReader",
    "PublishedFiles",
    "Registration",
    "RegistrationQuerySet",
    "SigningKey",
    "SpoolSegment",
    "UncalledRequest",
    "VersionScan",
]
