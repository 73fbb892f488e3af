"""Actions on publications: an organisation lets others read a registered model, and ends it.

Both are rows of the ledger, which are complete at once: MLflow is not called for them.
"""

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone

from keys.actions import organisations
from keys.actions.actor import COMMAND, Actor
from keys.actions.errors import ActionError
from keys.actions.history import log
from keys.formatting.moments import format_rfc3339
from keys.models import Membership, Namespace, Organisation, validate_slug
from keys.organisations.maintainers import require_role
from proxy.ledger import publication_rules, writer
from proxy.models import Publication, Registration
from proxy.policy.organisations import published
from proxy.request.messages import Json
from proxy.routes.operations import Match, Operation
from proxy.upstream.registry import API, Registry, RegistryError, registry_of, resolve, tags

ACTOR = "publish"  # of the ledger's rows
MOST_VERSIONS = 200  # of a model that a preview shows, the newest
# What another organisation sees of a published version: MLflow's own response, which the portal does not change.
VISIBLE = (
    "Readers see MLflow's own description of it: name, description, tags, aliases and stage, when it was created and "
    "changed, its source, its run id and the id of its logged model, and they download its files. They do not see the "
    "run, its metrics and parameters, the experiment, or other models."
)


@dataclass(frozen=True, kw_only=True)
class VisibleVersion:
    """What readers see of a version. `files`: where they are; "" if no client of another organisation can load them.
    `warning`: for the publisher alone, why it may not be safe to load, or ""."""

    version: str
    run_id: str
    source: str
    description: str
    tags: dict[str, str]
    files: str
    warning: str

    def as_json(self) -> Json:
        return dict(vars(self))


@dataclass(frozen=True, kw_only=True)
class Visible:
    """What readers see of a model. Of the model itself only if all versions are published."""

    name: str
    description: str
    tags: dict[str, str]
    versions: list[VisibleVersion]

    def as_json(self) -> Json:
        return {**vars(self), "versions": [each.as_json() for each in self.versions]}


def preview(namespace: Namespace, name: str, version: str = "") -> Visible:
    """What a publication would make visible, as MLflow has it now. Raises ActionError for a model or version that does
    not exist, and while MLflow does not respond."""
    registry = registry_of(namespace)
    try:
        model = registry and name and registry.model(name)
        if not registry or not model:
            raise ActionError(f"name: there is no registered model “{name}” in this organisation")
        if not version:
            newest = sorted(registry.versions(name), key=lambda each: -int(each["version"]))[:MOST_VERSIONS]
            versions = [describe_version(registry, namespace, each) for each in newest]
            return Visible(
                name=name,
                description=str(model.get("description") or ""),
                tags=tags(model),
                versions=versions,
            )
        found = registry.version(name, version)
        if found is None or found.get("version") != version:
            raise ActionError(f"version: “{name}” has no version {version}")
        return Visible(
            name=name, description="", tags={}, versions=[describe_version(registry, namespace, found)]
        )
    except RegistryError as error:
        raise ActionError(f"MLflow could not be asked about the model: {error}") from error


def describe_version(registry: Registry, namespace: Namespace, version: Json) -> VisibleVersion:
    query = [("name", version["name"]), ("version", version["version"])]
    found = registry.get(f"{API}/model-versions/get-download-uri", query) or {}
    return VisibleVersion(
        version=version["version"],
        run_id=str(version.get("run_id") or ""),
        source=str(version.get("source") or ""),
        description=str(version.get("description") or ""),
        tags=tags(version),
        files=published.location_of(
            registry.workspace.slug, resolve(registry, str(found.get("artifact_uri", "")))
        ),
        warning=publication_rules.find_problem(namespace, version["name"], version["version"]),
    )


def publish(
    *,
    environment: str = "live",
    organisation: Organisation,
    name: str,
    version: str = "",
    reader: str = "",
    actor: Actor = COMMAND,
) -> tuple[Publication, Visible]:
    """Let the organisation of the slug `reader` ("": every organisation) read the model, or one version of it. Whether
    there is such an organisation is not stated. Raises ActionError, NotAllowed."""
    require_role(actor, organisation, Membership.Role.OWNER)
    if settings.ISOLATION == "off":
        raise ActionError("with ISOLATION=off, every key reads all models: there is nothing to publish")
    version = validate_version(version)
    validate_reader(organisation, reader)
    visible = preview(Namespace.of(environment, organisation), name, version)
    if version and not visible.versions[0].files:
        raise ActionError(
            f"version: other organisations could not load its files, whose address is “{visible.versions[0].source}”; "
            "register a version from the artifacts of a run or from a logged model"
        )
    with transaction.atomic():
        publication_rules.require(organisations.lock(organisation), environment, name, version)
        publication = create(
            environment=environment,
            organisation=organisation,
            name=name,
            version=version,
            reader=reader,
            published_by=actor.user,
        )
        record(publication, "publish", actor)
    return publication, visible


def validate_version(version: str) -> str:
    """The number as MLflow writes it. Raises ActionError."""
    if version and not (version.isascii() and version.isdecimal() and len(version) < 19 and int(version)):
        raise ActionError("version: give a version's number, or nothing for every version")
    return str(int(version)) if version else ""


def validate_reader(organisation: Organisation, reader: str) -> None:
    if reader == organisation.slug:
        raise ActionError("reader: an organisation reads its own models anyway; name another one")
    if reader:
        try:
            validate_slug(reader)
        except ValidationError as error:
            raise ActionError(f"reader: {error.messages[0]}") from None


def create(**columns: Any) -> Publication:
    try:
        with transaction.atomic():
            return Publication.objects.create(**columns)
    except IntegrityError:
        raise ActionError("it is published to this organisation already") from None


@transaction.atomic
def withdraw(*, publication: Publication, actor: Actor = COMMAND) -> Publication:
    """End it: within a second, every process refuses the readers' calls. Raises ActionError, NotAllowed."""
    require_role(actor, publication.organisation, Membership.Role.OWNER)
    publication = Publication.objects.select_for_update(of=("self",)).with_publisher().get(pk=publication.pk)
    if publication.withdrawn_at:
        raise ActionError("the publication is withdrawn already")
    publication.withdrawn_at, publication.withdrawn_by = timezone.now(), actor.user
    publication.save(update_fields=["withdrawn_at", "withdrawn_by"])
    record(publication, "withdraw", actor)
    return publication


def record(publication: Publication, act: str, actor: Actor) -> None:
    """Write the row of the ledger, and of the admin's log."""
    kind = "model-versions" if publication.version else "registered-models"
    row = writer.begin_for_command(
        actor=ACTOR,
        user=actor.user,
        namespace=publication.namespace,
        match=Match(operation=Operation(name=f"{kind}.{act}", method="POST", path=""), path="", arguments={}),
        content={
            "name": publication.name,
            "version": publication.version,
            "reader": publication.reader or "all organisations",
        },
    )
    writer.close(row, outcome=Registration.Outcome.DONE, status=200)
    words = "Published" if act == "publish" else "Withdrew"
    log(publication.organisation, f"{words} {publication}.", actor=actor)


def describe_for_reader(publication: Publication) -> Json:
    """The same for an organisation that may read it, which learns nothing of other readers."""
    shown = ("environment", "organisation", "name", "version", "published_at")
    content = describe(publication)
    return {name: content[name] for name in shown}


def describe(publication: Publication) -> Json:
    """A publication as the API and the command show it, with who reads it."""
    by = publication.published_by
    return {
        "id": publication.pk,
        "environment": publication.environment,
        "organisation": publication.organisation.slug,
        "name": publication.name,
        "version": publication.version,
        "reader": publication.reader,
        "published_at": format_rfc3339(publication.published_at),
        "published_by": by.username if by else None,
        "withdrawn_at": publication.withdrawn_at and format_rfc3339(publication.withdrawn_at),
        "readers": [reader.as_json() for reader in publication.readers.all()],
    }
