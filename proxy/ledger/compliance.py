"""How each version stands by now, after the changes in later rows of the ledger: its tags under the tag rules, and its
quarantine."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from keys.models import Namespace
from proxy.models import Registration
from proxy.models.tag_rules import Finding, check_tags
from proxy.policy.quarantine import QuarantinedVersion, quarantined_versions, version_number


@dataclass
class CurrentVersion:
    """A version by now: its model's name, its tags, and whether it was deleted."""

    name: str
    tags: dict[str, str | None]
    is_deleted: bool = False

    @property
    def finding(self) -> Finding:
        return check_tags(self.tags)

    def apply(self, row: Registration, version: str) -> None:
        """Apply the change of a later row, if it concerns this version."""
        if self.is_deleted or row.object_name != self.name:
            return
        if row.operation == "registered-models.rename":
            self.name = row.new_name
        elif row.operation == "registered-models.delete":
            self.is_deleted = True
        elif row.version != version:
            return
        elif row.operation == "model-versions.delete":
            self.is_deleted = True
        elif row.operation in ("model-versions.set-tag", "model-versions.delete-tag"):
            self.tags |= row.tags


CHANGES = (
    "registered-models.rename",
    "registered-models.delete",
    "model-versions.delete",
    "model-versions.set-tag",
    "model-versions.delete-tag",
)
COLUMNS = (
    "environment",
    "organisation",
    "operation",
    "outcome",
    "object_name",
    "new_name",
    "version",
    "is_prompt",
    "tags",
)


def current_versions(versions: Iterable[Registration]) -> dict[int, CurrentVersion]:
    """The versions by now, by the id of the row that registered each (`Registration.versions`).

    For one page of versions at a time. One query, and one more for each step in a chain of renames.
    """
    versions = list(versions)
    current = {row.pk: CurrentVersion(name=row.object_name, tags=dict(row.tags)) for row in versions}
    by_name: dict[tuple[Namespace, str], list[Registration]] = {}
    for row in versions:
        by_name.setdefault((row.namespace, row.object_name), []).append(row)
    for later in later_rows(versions):
        of_that_name = by_name.get((later.namespace, later.object_name), [])
        older = [row for row in of_that_name if row.pk < later.pk]
        for row in older:
            current[row.pk].apply(later, row.version)
        if later.operation == "registered-models.rename":
            by_name.setdefault((later.namespace, later.new_name), []).extend(older)
    return current


def findings(
    versions: Iterable[Registration], current: dict[int, CurrentVersion] | None = None
) -> dict[int, Finding]:
    """How these versions stand by now, by the id of the row that registered each. Prompts are included only if they
    are in quarantine. Besides the queries of `current_versions`, one for each registry in the rows."""
    versions = list(versions)
    current = current or current_versions(versions)
    marks = read_marks({row.namespace for row in versions})
    found = {}
    for row in versions:
        version = current[row.pk]
        mark = marks.get((row.namespace, version.name, version_number(row.version)))
        finding = Finding(state="") if row.tag_rules is None else version.finding
        if mark and not version.is_deleted:
            finding = replace(finding, quarantine=str(mark))
        if finding.label:
            found[row.pk] = finding
    return found


def read_marks(
    namespaces: Iterable[Namespace],
) -> dict[tuple[Namespace, str, int | None], QuarantinedVersion]:
    """The quarantined versions, by registry, model and number."""
    return {
        (namespace, mark.name, mark.version): mark
        for namespace in namespaces
        for mark in quarantined_versions(namespace)
    }


def later_rows(versions: list[Registration]) -> list[Registration]:
    """The later changes of these versions, under every name that their models had since, oldest first."""
    later: dict[int, Registration] = {}
    seen: set[str] = set()
    names = {row.object_name for row in versions}
    while names:
        rows = Registration.objects.effective().filter(
            operation__in=CHANGES, object_name__in=names, id__gt=min(row.pk for row in versions)
        )
        rows = rows.only(*COLUMNS)
        later |= {row.pk: row for row in rows}
        seen |= names
        names = {row.new_name for row in rows if row.new_name} - seen
    return [later[pk] for pk in sorted(later)]
