"""Enforces quarantine: no caller deletes, copies, aliases or stages a quarantined version, registers its files, or
deletes or overwrites them.

The ledger says which versions are quarantined: staff set and lift the mark with `proxy.ledger.incident`, which writes a
row for each. A registry write reads these rows in one indexed query; there are none unless a key has leaked. Other
writes use the marks that the process remembers, so that they need no query and pass while PostgreSQL is unavailable.
"""

import datetime
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlparse

from django.db import InterfaceError, OperationalError, connection

from keys.credentials import cache
from keys.credentials.caller import Caller
from keys.database import database_required
from keys.models import Namespace
from keys.refusals import Refusal, forbidden
from proxy.models import Registration
from proxy.policy import name_locks
from proxy.policy.attribution import QUARANTINE_TAG
from proxy.request import artifact_paths
from proxy.request.messages import Json
from proxy.routes.operations import Match

# What a caller may not do, in words, by operation.
GUARDED = {
    "model-versions.delete": "delete it",
    "model-versions.transition-stage": "change its stage",
    "registered-models.set-alias": "give it an alias",
    "registered-models.rename": "rename its model",
    "registered-models.delete": "delete its model",
    "model-versions.create": "copy it or register its files again",
    "logged-models.delete": "delete its files",
}
GUARDED_FILES = {
    "runs.delete": "delete its run",
    "experiments.delete": "delete the experiment of its files",
    "artifacts.upload": "overwrite its files",
    "artifacts.mpu-create": "overwrite its files",
    "artifacts.mpu-complete": "overwrite its files",
    "artifacts.presigned-upload-url": "overwrite its files",
    "artifacts.delete": "delete its files",
}
REMEMBERED = frozenset({"run", "logged_model", "experiment", "artifact"})  # writes to these read the marks
EXPERIMENT = re.compile(r"mlflow-artifacts:/([0-9]+)(?:/|$)")  # of an address as `decode` returns it
OBJECT_ID = re.compile(r"[0-9a-f]{32}")  # of a run, or of a logged model behind m-
MOST_COPIES = 20  # steps from a copy back to the version that was copied
MOST_VERSIONS = 1000  # of a model whose version the caller names by alias or stage


@dataclass(frozen=True, kw_only=True)
class Files:
    """The files of a version: the ids of runs and logged models in its source, and the source itself."""

    ids: frozenset[str]
    location: str = ""
    experiment_id: str = ""

    def overlap(self, other: "Files") -> bool:
        if self.ids & other.ids:
            return True
        first, second = sorted((self.location, other.location))
        return bool(first) and (first == second or second.startswith(f"{first}/"))


@dataclass(frozen=True, kw_only=True)
class QuarantinedVersion:
    name: str
    version: int | None
    since: datetime.datetime
    reason: str
    files: Files
    origin_files: tuple[Files, ...] = ()  # of the versions of which it is a copy

    def __str__(self) -> str:
        """Since when and why it is in quarantine. Without a reason, the tag's value is only the date."""
        since = f"since {self.since:%Y-%m-%d}"
        return f"in quarantine {since}" + ("" if self.reason == since else f" ({self.reason[:200]})")


known_marks: cache.RowCache[tuple[QuarantinedVersion, ...]] = cache.RowCache()


def drop_changed(kind: str, name: str) -> None:
    if kind == "quarantine":
        known_marks.drop(name)


cache.caches.append(known_marks)
cache.change_listeners.append(drop_changed)


def check(caller: Caller, match: Match, content: Json) -> None:
    """Raise Refusal (403) if the call concerns a quarantined version; 429 if PostgreSQL is unavailable."""
    act = GUARDED.get(match.operation.name)
    if act is None:
        check_files(caller, match, content)
        return
    message = (
        "The portal cannot read its ledger just now, and without that nothing changes in the registry: "
        f"{match.operation.name} was not sent to MLflow. Try again soon."
    )
    with database_required(message, reason="ledger_unavailable"):
        versions = read_marks(caller.namespace)
        version = first_concerned(caller.namespace, versions, match, content) if versions else None
    if version is not None:
        raise refusal(version, act)


def check_files(caller: Caller, match: Match, content: Json) -> None:
    """Raise Refusal (403) for a write outside of the registry that deletes or overwrites a quarantined version's files.

    Every write to runs, models and experiments reads the marks, so that they are in memory when PostgreSQL fails.
    """
    operation = match.operation
    if operation.is_read or not any(field.kind in REMEMBERED for field in operation.targets):
        return
    message = "The portal cannot look up quarantined versions just now. Try again in a few seconds."
    with database_required(message):
        versions = known_marks.get(
            str(caller.namespace), lambda: tuple(read_marks_with_origins(caller.namespace))
        )
    act = GUARDED_FILES.get(operation.name)
    if act is None or not versions:
        return
    used, experiment_id = files_of_write(match, content), deleted_experiment(match, content)
    for version in versions:
        for files in (version.files, *version.origin_files):
            if files.overlap(used) or (experiment_id and files.experiment_id == experiment_id):
                raise refusal(version, act)


def files_of_write(match: Match, content: Json) -> Files:
    path = match.arguments.get("artifact_path", "")
    named = (str(content.get(field, "")) for field in ("run_id", "model_id"))
    return files_of(f"mlflow-artifacts:/{path}" if path else "", *named)


def deleted_experiment(match: Match, content: Json) -> str:
    """The id of the experiment that the call deletes, or in which it deletes a folder above runs or models."""
    if match.operation.name == "experiments.delete":
        return str(content.get("experiment_id", ""))
    if match.operation.name == "artifacts.delete":
        kind, name = artifact_paths.holder(match.arguments["artifact_path"])
        return name if kind == "experiment" else ""
    return ""


def read_marks_with_origins(namespace: Namespace) -> Iterator[QuarantinedVersion]:
    for version in read_marks(namespace):
        rows = [row for _, _, row in origins(namespace, version.files.location) if row is not None]
        yield replace(version, origin_files=tuple(files_of_row(row) for row in rows))


def refusal(version: QuarantinedVersion, act: str) -> Refusal:
    return forbidden(
        "quarantined",
        f"Version {version.version} of “{version.name[:200]}” is {version}. Until it is lifted, no key may {act}. Only "
        "staff who may change keys can lift it. Ask your administrator.",
    )


def read_marks(namespace: Namespace) -> list[QuarantinedVersion]:
    """The quarantined versions; reads twice, because kept connections are dead after a restart of PostgreSQL. The call
    holds no lock yet that a new connection would lose."""
    try:
        return quarantined_versions(namespace)
    except (OperationalError, InterfaceError):
        if connection.in_atomic_block or connection.is_usable():
            raise
        name_locks.reconnect()
        return quarantined_versions(namespace)


def quarantined_versions(namespace: Namespace) -> list[QuarantinedVersion]:
    """The versions whose quarantine was not lifted. A mark whose outcome is unknown counts."""
    marks: dict[tuple[str, str], Registration] = {}
    for row in Registration.objects.quarantine_marks(namespace):
        identity = (row.object_name, row.version)
        if row.tags.get(QUARANTINE_TAG) is not None:
            marks[identity] = row
        elif row.outcome == Registration.Outcome.DONE:
            marks.pop(identity, None)
    return [
        QuarantinedVersion(
            name=row.object_name,
            version=version_number(row.version),
            since=row.at,
            reason=str(row.tags[QUARANTINE_TAG]),
            files=files_of_mark(row),
        )
        for row in marks.values()
    ]


def files_of_mark(mark: Registration) -> Files:
    """The files of a quarantined version, from the mark's row; marks of earlier releases do not state them."""
    if mark.source or mark.run_id:
        return files_of_row(mark)
    created = Registration.objects.versions().of_model(mark.namespace, mark.object_name)
    row = created.filter(version=mark.version).order_by("-id").first()
    return files_of_row(row) if row else Files(ids=frozenset())


def files_of_row(row: Registration) -> Files:
    files = files_of(row.source, row.run_id, str(row.detail.get("model_id", "")))
    experiment_id = row.detail.get("experiment_id")
    return replace(files, experiment_id=str(experiment_id)) if experiment_id else files


def files_of(source: str, *object_ids: str) -> Files:
    """The files that a version's source and its run and logged model name, in one form."""
    location = decode(source)
    ids = frozenset(OBJECT_ID.findall(" ".join((location, *object_ids)).lower()))
    is_address = ":/" in location  # all prompts have the same placeholder
    experiment = EXPERIMENT.match(location)
    return Files(
        ids=ids,
        location=location if is_address else "",
        experiment_id=experiment[1] if experiment else "",
    )


def decode(source: str) -> str:
    """The address in one form: decoded, normalised, and without the prefix of the organisation's workspace, with and
    without which MLflow reads the same file."""
    *_, source = (source, *artifact_paths.decodings(source))
    scheme, separator, path = source.partition(":/")
    path = posixpath.normpath(f"/{path}").lstrip("/")
    return f"{scheme}:/{artifact_paths.in_workspace(path)}" if separator else source


def first_concerned(
    namespace: Namespace, versions: list[QuarantinedVersion], match: Match, content: Json
) -> QuarantinedVersion | None:
    """The quarantined version that the call would change, copy or register again."""
    operation, name = match.operation.name, content.get("name", "")
    if operation == "logged-models.delete":
        used = [files_of("", match.arguments["model_id"], content.get("model_id", ""))]
        return next((each for each in versions if overlap_any(each.files, used)), None)
    if operation == "model-versions.create":
        return first_reused(namespace, versions, content)
    of_model = [each for each in versions if each.name == name]
    if operation.startswith("registered-models.") and operation != "registered-models.set-alias":
        return next(iter(of_model), None)
    number = version_number(content.get("version"))
    return next((each for each in of_model if each.version in (number, None)), None)


def first_reused(
    namespace: Namespace, versions: list[QuarantinedVersion], content: Json
) -> QuarantinedVersion | None:
    """The quarantined version whose files a new version would have."""
    source = content.get("source", "")
    used = [files_of(source, content.get("run_id", ""), content.get("model_id", ""))]
    for name, number, row in origins(namespace, source):
        for each in versions:
            if each.name == name and (number is None or each.version == number):
                return each
        if row is not None:
            used.append(files_of_row(row))
    return next((each for each in versions if overlap_any(each.files, used)), None)


def overlap_any(files: Files, used: list[Files]) -> bool:
    return any(files.overlap(each) for each in used)


def origins(namespace: Namespace, source: str) -> Iterator[tuple[str, int | None, Registration | None]]:
    """The versions from which a source is a copy, step by step: name, number and row. A version that is named by alias
    or stage may be any of its model's."""
    waiting = [source]
    seen: set[tuple[str, int | None]] = set()
    while waiting and len(seen) < MOST_COPIES:
        reference = parse_version_uri(waiting.pop())
        if reference is None or reference in seen:
            continue
        seen.add(reference)
        name, number = reference
        yield name, number, None
        rows = Registration.objects.versions().of_model(namespace, name)
        if number is not None:
            rows = rows.filter(version=str(number))
        for row in rows.order_by("-id")[:MOST_VERSIONS]:
            yield row.object_name, version_number(row.version), row
            waiting.append(row.source)


def parse_version_uri(source: str) -> tuple[str, int | None] | None:
    """Name and number in `models:/NAME/NUMBER`; the number is None for an alias, a stage or `latest`. None for any
    other source. As MLflow parses it (mlflow/store/artifact/utils/models.py)."""
    if not source.startswith("models:/"):
        return None
    name, _, suffix = urlparse(source, allow_fragments=False).path.lstrip("/").partition("/")
    if suffix:
        return name, version_number(suffix)
    return (name.rpartition("@")[0], None) if "@" in name else None


def version_number(value: Any) -> int | None:
    """A version's number as MLflow reads it (" 1" and "01" are 1); None if it is none."""
    try:
        return int(str(value))
    except ValueError:
        return None
