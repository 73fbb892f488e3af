"""Answers what an organisation reads in another one's registry, from the portal's own table of published models.

The portal asks MLflow for each published object by its name, in a request of its own, and passes the response on
whole; only a source that leads to files by a run's id becomes the files' address. It never forwards the caller's query,
and never filters what MLflow returns.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from keys.credentials.caller import Caller
from keys.database import database_required
from keys.refusals import Refusal, invalid, not_sent
from proxy.models import Publication, PublicationReader, PublishedFiles
from proxy.models.publications import LONGEST_LOCATION
from proxy.policy.organisations import published
from proxy.policy.organisations.published import PublishedModels, published_only
from proxy.request import messages
from proxy.request.messages import Json
from proxy.routes.operations import Match
from proxy.upstream.registry import API, PLAIN, Query, Registry, RegistryError, resolve, tags
from proxy.upstream.workspaces import Workspace

FORWARDED = frozenset({"meta.server-info", "meta.health", "meta.version"})
BY_NAME = re.compile(r"""\s*name\s*=\s*(?:'([^']+)'|"([^"]+)")\s*""")
# MLflow's clients add this to the filter of a search (mlflow/prompt/registry_utils.py).
PROMPT = re.compile(r"(?:^|\s+AND)\s*tags?\.`mlflow\.prompt\.is_prompt`\s*(=|!=)\s*'true'\s*$", re.IGNORECASE)
MOST_RESULTS = 100  # of a page of a search: each is a call to MLflow
DEFAULT_RESULTS = 100


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One call: who reads, what is published for them, what they asked for, and MLflow in the publisher's workspace."""

    caller: Caller
    published: PublishedModels
    registry: Registry
    fields: Json

    def text(self, field: str) -> str:
        value = self.fields.get(field, "")
        return value if isinstance(value, str) else str(value)

    def get(self, path: str, query: Query) -> Json | None:
        return self.registry.get(f"{API}/{path}", query)

    def not_published(self) -> Refusal:
        named = f"“{self.text('name')[:200]}”"
        if version := self.text("version"):
            named += f", version {version[:20]},"
        return Refusal(
            status=404,
            error_code="RESOURCE_DOES_NOT_EXIST",
            reason="not_published",
            message=f"The organisation “{self.caller.organisation.slug}” has no registered model {named} that it "
            f"publishes for “{self.caller.home}”. Check the name and the version, or ask an owner of the organisation.",
        )


def check(caller: Caller, match: Match, query: str) -> None:
    """Raise Refusal (403) unless the reader's call is one that the portal answers here, or reads published files."""
    operation = match.operation.name
    if operation in FORWARDED or operation in ANSWERS:
        return
    if operation not in published.FILES or not published.covers_files(
        caller, published.path_of(match, query)
    ):
        raise published_only(caller, operation)


def answer(caller: Caller, match: Match, query: str, body: bytes, *, url: str) -> Json | None:
    """The response to a reader's call; None if MLflow gets it. Raises Refusal (400, 404, 429)."""
    read = ANSWERS.get(match.operation.name)
    if read is None:
        return None
    registry = Registry(url, namespace=caller.namespace, workspace=Workspace.of(caller.organisation))
    reading = Reading(
        caller=caller,
        published=published.published_for(caller),
        registry=registry,
        fields=fields_of(query) if match.operation.method == "GET" else messages.decode(body),
    )
    try:
        return read(reading)
    except RegistryError as error:
        raise not_sent(
            "upstream_unreachable", "MLflow does not respond just now. Try again in a few seconds."
        ) from error


def fields_of(query: str) -> Json:
    """The fields of a query. Raises Refusal (400) for a name that occurs twice and names no list."""
    fields: Json = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name in ("stages", "order_by"):
            fields.setdefault(name, []).append(value)
        elif name in fields:
            raise invalid("bad_query", f"“{name[:100]}” occurs twice in the query. Send it once.")
        else:
            fields[name] = value
    return fields


def read_model(reading: Reading) -> Json:
    name = reading.text("name")
    if not reading.published.of(name) or (model := model_of(reading, name)) is None:
        raise reading.not_published()
    record(reading, reading.published.of(name))
    return {"registered_model": model}


def model_of(reading: Reading, name: str) -> Json | None:
    """A published model as MLflow states it; of a model of which single versions are published, only these."""
    if reading.published.has_model(name):
        return reading.registry.model(name)
    versions = [reading.registry.version(name, number) for number in reading.published.single_versions(name)]
    return {"name": name, "latest_versions": [each for each in versions if each is not None]}


def read_version(reading: Reading) -> Json:
    version = version_of(reading)
    record(reading, reading.published.of(version["name"], version["version"]))
    return {"model_version": version}


def version_of(reading: Reading) -> Json:
    """The published version that the call names. Raises Refusal (404)."""
    name, number = reading.text("name"), reading.text("version")
    if not reading.published.has_version(name, number) or not re.fullmatch(r"[1-9][0-9]{0,17}", number):
        raise reading.not_published()
    version = reading.registry.version(name, number)
    if version is None or (version.get("name"), version.get("version")) != (name, number):
        raise reading.not_published()
    return version


def read_download_uri(reading: Reading) -> Json:
    """The address of the files. A source such as runs:/… is resolved here, since readers may not ask for the run."""
    version = version_of(reading)
    name, number = version["name"], version["version"]
    found = reading.get("model-versions/get-download-uri", [("name", name), ("version", number)])
    if found is None:
        raise reading.not_published()
    address = resolve(reading.registry, str(found.get("artifact_uri", "")))
    open_files(reading, name, number, address)
    record(reading, reading.published.of(name, number), is_load=True)
    return {**found, "artifact_uri": address} if address else found


def open_files(reading: Reading, name: str, version: str, address: str) -> None:
    """Remember where the version's files are, which the reader will ask for by their path."""
    location = published.location_of(reading.caller.organisation.slug, address)
    if not location or len(location) > LONGEST_LOCATION:
        return
    with database_required(published.NOT_NOW):
        PublishedFiles.objects.update_or_create(
            **reading.caller.namespace.columns, name=name, version=version, defaults={"location": location}
        )


def read_alias(reading: Reading) -> Json:
    name = reading.text("name")
    if not reading.published.of(name):
        raise reading.not_published()
    found = reading.get("registered-models/alias", [("name", name), ("alias", reading.text("alias"))])
    version = (found or {}).get("model_version", {})
    number = str(version.get("version", ""))
    if version.get("name") != name or not reading.published.has_version(name, number):
        raise reading.not_published()
    record(reading, reading.published.of(name, number))
    return {"model_version": version}


def read_latest_versions(reading: Reading) -> Json:
    """The latest version of each stage; of a model of which single versions are published, these."""
    name, stages = reading.text("name"), reading.fields.get("stages") or []
    if not (rows := reading.published.of(name)):
        raise reading.not_published()
    if not reading.published.has_model(name):
        versions = (model_of(reading, name) or {})["latest_versions"]
        versions = [each for each in versions if not stages or each.get("current_stage") in stages]
    else:
        found = reading.get(
            "registered-models/get-latest-versions",
            [("name", name), *(("stages", str(stage)) for stage in stages if isinstance(stages, list))],
        )
        if found is None:
            raise reading.not_published()
        versions = found.get("model_versions", [])
    record(reading, rows)
    return {"model_versions": versions}


def search_models(reading: Reading) -> Json:
    names, wants_prompts = read_filter(reading)
    names, token = page_of(reading, names)
    models = []
    for name in names:
        model = model_of(reading, name)
        if model is not None and is_prompt(model) == wants_prompts:
            record(reading, reading.published.of(name))
            models.append(model)
    return {"registered_models": models, **token}


def search_versions(reading: Reading) -> Json:
    names, wants_prompts = read_filter(reading)
    versions = [version for name in names for version in versions_of(reading, name)]
    page, token = page_of(reading, [each for each in versions if is_prompt(each) == wants_prompts])
    for name in sorted({version["name"] for version in page}):
        record(reading, reading.published.of(name))
    return {"model_versions": page, **token}


def versions_of(reading: Reading, name: str) -> list[Json]:
    """The published versions of a model. MLflow is asked for all of them only if the whole model is published; for a
    name that its filter language cannot express, for the latest ones."""
    if not reading.published.has_model(name) or not PLAIN.fullmatch(name):
        model = model_of(reading, name)
        return model.get("latest_versions", []) if model else []
    return list(reading.registry.versions(name))


def is_prompt(holder: Json) -> bool:
    """Whether a model or version is a prompt; a model of which single versions are published has no tags of its own."""
    held = [holder, *holder.get("latest_versions", [])]
    return any(tags(each).get("mlflow.prompt.is_prompt") == "true" for each in held)


def read_filter(reading: Reading) -> tuple[list[str], bool]:
    """The published models that a search is about, and whether it is for prompts, which MLflow leaves out otherwise.
    Raises Refusal (400) for another condition than a name's."""
    condition, wants_prompts = reading.text("filter"), False
    if clause := PROMPT.search(condition):
        condition, wants_prompts = condition[: clause.start()], clause[1] == "="
    if not condition.strip():
        return reading.published.names, wants_prompts
    if not (wanted := BY_NAME.fullmatch(condition)):
        raise invalid(
            "bad_filter",
            "In the registry of another organisation, a search is by name only, with the filter: name = 'NAME'",
        )
    name = wanted[1] or wanted[2]
    return [name] if name in reading.published.names else [], wants_prompts


def page_of(reading: Reading, results: list[Any]) -> tuple[list[Any], dict[str, str]]:
    """The results of the page that the call asks for, and the field with the next page's token, if there is one."""
    try:
        first = int(reading.text("page_token") or 0)
        size = min(int(reading.text("max_results") or DEFAULT_RESULTS), MOST_RESULTS)
    except ValueError:
        first = size = -1
    if first < 0 or size < 1:
        raise invalid(
            "bad_filter", "“max_results” or “page_token” is not one of this search. Start it again."
        )
    end = first + size
    return results[first:end], {"next_page_token": str(end)} if end < len(results) else {}


def record(reading: Reading, publications: list[Publication], *, is_load: bool = False) -> None:
    """Count the call for the publisher, who sees who reads, how often and since when. Raises Refusal (429)."""
    with database_required(published.NOT_NOW), transaction.atomic():
        for publication in publications:
            row, _ = PublicationReader.objects.get_or_create(
                publication=publication, organisation=reading.caller.home
            )
            PublicationReader.objects.filter(pk=row.pk).update(
                reads=F("reads") + 1, loads=F("loads") + int(is_load), last_at=timezone.now()
            )


ANSWERS: dict[str, Callable[[Reading], Json]] = {
    "registered-models.get": read_model,
    "registered-models.get-by-alias": read_alias,
    "registered-models.get-latest-versions": read_latest_versions,
    "registered-models.search": search_models,
    "model-versions.get": read_version,
    "model-versions.get-download-uri": read_download_uri,
    "model-versions.search": search_versions,
}
