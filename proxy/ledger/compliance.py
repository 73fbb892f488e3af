"""How the tag rules apply to each version by now, with the tags that later rows of the ledger set or deleted."""

from collections.abc import Iterable
from dataclasses import dataclass

from proxy.models import Registration
from proxy.models.tag_rules import Finding, check_tags


@dataclass
class CurrentVersion:
    """A version as the ledger has it by now: its model's name, its tags, and whether it still is."""

    name: str
    tags: dict[str, str | None]
    is_deleted: bool = False

    @property
    def finding(self) -> Finding:
        return check_tags(self.tags)

    def apply(self, row: Registration, version: str) -> None:
        """Take in what a later row did, if it concerns this version."""
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


FOLLOWED = (
    "registered-models.rename",
    "registered-models.delete",
    "model-versions.delete",
    "model-versions.set-tag",
    "model-versions.delete-tag",
)


def current_versions(versions: Iterable[Registration]) -> dict[int, CurrentVersion]:
    """How each version stands by now, by the id of the row that registered it (`Registration.versions`);
    for a page of them at a time. One query, and one more for each step in a chain of renames."""
    versions = list(versions)
    standing = {row.pk: CurrentVersion(name=row.object_name, tags=dict(row.tags)) for row in versions}
    by_name: dict[tuple[str, str], list[Registration]] = {}
    for row in versions:
        by_name.setdefault((row.environment, row.object_name), []).append(row)
    for later in later_rows(versions):
        concerned = by_name.get((later.environment, later.object_name), [])
        older = [row for row in concerned if row.pk < later.pk]
        for row in older:
            standing[row.pk].apply(later, row.version)
        if later.operation == "registered-models.rename":
            by_name.setdefault((later.environment, later.new_name), []).extend(older)
    return standing


def later_rows(versions: list[Registration]) -> list[Registration]:
    """Every row that may concern these versions, under all names that their models had since, oldest first."""
    found: dict[int, Registration] = {}
    seen: set[str] = set()
    names = {row.object_name for row in versions}
    while names:
        rows = Registration.objects.effective().filter(
            operation__in=FOLLOWED, object_name__in=names, id__gt=min(row.pk for row in versions)
        )
        found |= {row.pk: row for row in rows}
        seen |= names
        names = {row.new_name for row in rows if row.new_name} - seen
    return [found[pk] for pk in sorted(found)]
