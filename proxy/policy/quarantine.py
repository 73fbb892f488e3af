"""Enforces quarantine: no caller deletes, copies, aliases or stages a quarantined version, or registers its files.

The ledger says which versions are quarantined: staff set and lift the mark with `proxy.ledger.incident`, which writes a
row for each. A registry write reads these rows in one indexed query; there are none unless a key has leaked.
"""

import datetime
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlparse

from django.db import InterfaceError, OperationalError, connection

from keys.credentials.caller import Caller
from keys.database import database_required
from keys.refusals import Refusal, forbidden
from proxy.models import Registration
from proxy.policy import name_locks
from proxy.policy.attribution import QUARANTINE_TAG
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
OBJECT_ID = re.compile(r"[0-9a-f]{32}")  # of a run, or of a logged model behind m-
MOST_COPIES = 20  # steps from a copy back to the version that was copied
MOST_DECODINGS = 10  # as MLflow itself decodes a path
MOST_VERSIONS = 1000  # of a model whose version the caller names by alias or stage


@dataclass(frozen=True, kw_only=True)
class Files:
    """The files of a version: the ids of runs and logged models in its source, and the source itself."""

    ids: frozenset[str]
    location: str = ""

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


def check(caller: Caller, match: Match, content: Json) -> None:
    """Raise Refusal (403) if the call concerns a quarantined version; 503 if PostgreSQL is unavailable."""
    act = GUARDED.get(match.operation.name)
    if act is None:
        return
    message = (
        "The portal cannot read its ledger just now, and without that nothing changes in the registry: "
        f"{match.operation.name} was not sent to MLflow. Try again soon."
    )
    with database_required(message, reason="ledger_unavailable"):
        versions = read_marks(caller.environment)
        version = first_concerned(caller.environment, versions, match, content) if versions else None
    if version is not None:
        raise refusal(version, act)


def refusal(version: QuarantinedVersion, act: str) -> Refusal:
    return forbidden(
        "quarantined",
        f"Version {version.version} of “{version.name[:200]}” is in quarantine since {version.since:%Y-%m-%d} "
        f"({version.reason[:200]}). Until it is lifted, no key may {act}. Only staff who may change keys can lift it "
        "(manage.py quarantine --lift). Ask your administrator.",
    )


def read_marks(environment: str) -> list[QuarantinedVersion]:
    """The quarantined versions; reads twice, because kept connections are dead after a restart of PostgreSQL. The call
    holds no lock yet that a new connection would lose."""
    try:
        return quarantined_versions(environment)
    except (OperationalError, InterfaceError):
        if connection.in_atomic_block or connection.is_usable():
            raise
        name_locks.reconnect()
        return quarantined_versions(environment)


def quarantined_versions(environment: str) -> list[QuarantinedVersion]:
    """The versions whose quarantine was not lifted. A mark whose outcome is unknown counts."""
    marks: dict[tuple[str, str], Registration] = {}
    for row in Registration.objects.quarantine_marks(environment):
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
    created = Registration.objects.versions().of_model(mark.environment, mark.object_name)
    row = created.filter(version=mark.version).order_by("-id").first()
    return files_of_row(row) if row else Files(ids=frozenset())


def files_of_row(row: Registration) -> Files:
    return files_of(row.source, row.run_id, str(row.detail.get("model_id", "")))


def files_of(source: str, *object_ids: str) -> Files:
    """The files that a version's source and its run and logged model name, in one form."""
    location = decode(source)
    ids = frozenset(OBJECT_ID.findall(" ".join((location, *object_ids)).lower()))
    is_address = ":/" in location  # all prompts have the same placeholder
    return Files(ids=ids, location=location if is_address else "")


def decode(source: str) -> str:
    for _ in range(MOST_DECODINGS):
        decoded = unquote(source)
        if decoded == source:
            break
        source = decoded
    scheme, separator, path = source.partition(":/")
    return f"{scheme}:/{posixpath.normpath(f'/{path}').lstrip('/')}" if separator else source


def first_concerned(
    environment: str, versions: list[QuarantinedVersion], match: Match, content: Json
) -> QuarantinedVersion | None:
    """The quarantined version that the call would change, copy or register again."""
    operation, name = match.operation.name, content.get("name", "")
    if operation == "logged-models.delete":
        used = [files_of("", match.arguments["model_id"], content.get("model_id", ""))]
        return next((each for each in versions if overlap_any(each.files, used)), None)
    if operation == "model-versions.create":
        return first_reused(environment, versions, content)
    of_model = [each for each in versions if each.name == name]
    if operation.startswith("registered-models.") and operation != "registered-models.set-alias":
        return next(iter(of_model), None)
    number = version_number(content.get("version"))
    return next((each for each in of_model if each.version in (number, None)), None)


def first_reused(
    environment: str, versions: list[QuarantinedVersion], content: Json
) -> QuarantinedVersion | None:
    """The quarantined version whose files a new version would have."""
    source = content.get("source", "")
    used = [files_of(source, content.get("run_id", ""), content.get("model_id", ""))]
    for name, number, row in origins(environment, source):
        for each in versions:
            if each.name == name and (number is None or each.version == number):
                return each
        if row is not None:
            used.append(files_of_row(row))
    return next((each for each in versions if overlap_any(each.files, used)), None)


def overlap_any(files: Files, used: list[Files]) -> bool:
    return any(files.overlap(each) for each in used)


def origins(environment: str, source: str) -> Iterator[tuple[str, int | None, Registration | None]]:
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
        rows = Registration.objects.versions().of_model(environment, name)
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
