"""What an organisation may read of others: the models that they publish, their versions and files, and nothing else.

Such a call has `Caller.home`, the caller's own organisation, and acts in the publisher's. A client names the publisher
in the address (`/api/mlflow/w/ORG`), and then reads the files at its own address, by a path below `workspaces/ORG/`.
PostgreSQL announces each change of a publication, so that a withdrawal counts in every process within a second.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl

from django.conf import settings

from keys.credentials import cache
from keys.credentials.caller import Caller
from keys.database import database_required
from keys.models import Organisation
from keys.refusals import Refusal, forbidden
from proxy.models import Publication, PublishedFiles
from proxy.request import artifact_paths
from proxy.routes.operations import Match

NOT_NOW = "The portal cannot look up publications just now. Try again in a few seconds."
FILES = frozenset({"artifacts.list", "artifacts.download", "artifacts.presigned"})


@dataclass(frozen=True, kw_only=True)
class PublishedModels:
    """What one organisation publishes for another one."""

    publisher: Organisation
    publications: tuple[Publication, ...]

    def has_model(self, name: str) -> bool:
        """Whether the model as a whole is published, with every version."""
        return any(each.name == name and not each.version for each in self.publications)

    def has_version(self, name: str, version: str) -> bool:
        return any(each.covers(name, version) for each in self.publications)

    def of(self, name: str, version: str = "") -> list[Publication]:
        """The publications that open this model or version; without `version` any of the model."""
        found = [each for each in self.publications if each.name == name]
        return [each for each in found if not version or each.covers(name, version)]

    @property
    def names(self) -> list[str]:
        return sorted({each.name for each in self.publications})

    def single_versions(self, name: str) -> list[str]:
        """The versions that are published by number, the first one first."""
        return sorted(
            {each.version for each in self.publications if each.name == name and each.version}, key=int
        )


Readable = dict[str, PublishedModels]  # by the publisher's slug
known_publications: cache.RowCache[Readable] = cache.RowCache()


def drop_changed(kind: str, name: str) -> None:
    if kind in ("publication", "organisation"):
        known_publications.distrust_all()


cache.caches.append(known_publications)
cache.change_listeners.append(drop_changed)


def readable_by(organisation: Organisation, environment: str) -> Readable:
    """What the organisation may read of others. Raises Refusal (429)."""

    def fetch() -> Readable:
        rows = Publication.objects.readable_by(organisation).filter(environment=environment)
        found: dict[Organisation, list[Publication]] = {}
        for row in rows.select_related("organisation"):
            found.setdefault(row.organisation, []).append(row)
        return {
            publisher.slug: PublishedModels(publisher=publisher, publications=tuple(rows))
            for publisher, rows in found.items()
        }

    with database_required(NOT_NOW):
        return known_publications.get(f"{environment} {organisation.pk}", fetch) or {}


def as_reader(caller: Caller, slug: str) -> Caller | None:
    """The caller as a reader of what the organisation of this slug publishes; None if it publishes nothing for the
    caller's own, which is the same for an organisation that does not exist."""
    if caller.key is None or settings.ISOLATION == "off":
        return None
    published = readable_by(caller.organisation, caller.environment).get(slug)
    if published is None:
        return None
    return replace(caller, organisation=published.publisher, home=caller.organisation, any_owner=False)


def follow_path(caller: Caller, match: Match, query: str) -> Caller:
    """The caller as a reader of the organisation in whose folder a read of artifacts is, if that publishes the files;
    otherwise the caller, whose own organisation's rules then refuse the path."""
    if match.operation.name not in FILES or caller.home is not None:
        return caller
    segments = path_of(match, query).split("/")
    if segments[0] != artifact_paths.WORKSPACES or len(segments) < 3:
        return caller
    if segments[1] == caller.organisation.slug or (reader := as_reader(caller, segments[1])) is None:
        return caller
    return reader if covers_files(reader, path_of(match, query)) else caller


def published_for(caller: Caller) -> PublishedModels:
    """What the caller, a reader, may read. Raises Refusal (403) if the last publication was just withdrawn."""
    assert caller.home is not None  # noqa: S101  for the type checker
    published = readable_by(caller.home, caller.environment).get(caller.organisation.slug)
    if published is None:
        raise published_only(caller, "this call")
    return published


def path_of(match: Match, query: str) -> str:
    """The artifact path that a call names; "" if it names none, or several."""
    if path := match.arguments.get("artifact_path"):
        return path
    named = [value for name, value in parse_qsl(query, keep_blank_values=True) if name == "path"]
    return named[0] if len(named) == 1 else ""


def covers_files(reader: Caller, path: str) -> bool:
    """Whether the path is among the files of a published version. Raises Refusal (400, 429)."""
    if not path:
        return False
    path = in_store(reader.organisation.slug, artifact_paths.canonical(path))
    published = published_for(reader)
    rows = PublishedFiles.objects.filter(
        environment=reader.environment,
        organisation=published.publisher,
        location__in=list(folders_above(path)),
    )
    with database_required(NOT_NOW):
        return any(published.has_version(each.name, each.version) for each in rows)


def in_store(slug: str, path: str) -> str:
    """The path with its workspace, without which MLflow reads the same file."""
    prefix = f"{artifact_paths.WORKSPACES}/{slug}/"
    return path if path.startswith(prefix) else f"{prefix}{path}"


def folders_above(path: str) -> Iterator[str]:
    """The path, and each folder above it."""
    segments = path.split("/")
    for length in range(1, len(segments) + 1):
        yield "/".join(segments[:length])


def location_of(slug: str, address: str) -> str:
    """The path in MLflow's store of a version's files, from the address that MLflow states for them; "" if it is not
    the folder of a run or logged model of this organisation, or in one: then nothing is opened."""
    scheme, separator, path = address.partition(":/")
    if scheme != "mlflow-artifacts" or not separator or path.startswith("/"):
        return ""
    path = path.rstrip("/")
    try:
        artifact_paths.check_workspace(path, slug)
        if artifact_paths.canonical(path) != path:
            return ""
    except Refusal:
        return ""
    return in_store(slug, path) if artifact_paths.holder(path)[0] in ("run", "logged_model") else ""


def published_only(caller: Caller, what: str) -> Refusal:
    return forbidden(
        "published_only",
        f"In the registry of “{caller.organisation.slug}”, another organisation reads published models, their versions "
        f"and files, and nothing else: {what} is not among them. For your own objects, use the address /api/mlflow.",
    )
