"""A model's history as people tell it: what happened in words, and its versions as they are by now."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from proxy.ledger import compliance
from proxy.models import Registration, RegistrationQuerySet, tag_rules

VERSIONS = 200  # the newest of a model's versions that its page lists
ALIASES = 1000  # the newest changes of aliases from which it is read where they stand

# By operation; `{…}` is the row's or its detail's. What is not here is said by the operation's own name.
WORDS = {
    "registered-models.create": "Registered the model {name}",
    "registered-models.update": "Changed the description of {name}",
    "registered-models.rename": "Renamed {name} to {new_name}",
    "registered-models.delete": "Deleted the model {name} with all its versions",
    "registered-models.set-tag": "Tagged {name}: {tags}",
    "registered-models.delete-tag": "Removed a tag from {name}: {tags}",
    "registered-models.set-alias": "Pointed the alias {alias} to version {version}",
    "registered-models.delete-alias": "Removed the alias {alias}",
    "model-versions.create": "Registered version {version} of {name}",
    "model-versions.update": "Changed the description of version {version}",
    "model-versions.delete": "Deleted version {version} of {name}",
    "model-versions.set-tag": "Tagged version {version}: {tags}",
    "model-versions.delete-tag": "Removed a tag from version {version}: {tags}",
    "model-versions.transition-stage": "Moved version {version} to the stage {stage}",
    "logged-models.create": "Logged the model {name}",
    "logged-models.delete": "Deleted the logged model {name}",
    "logged-models.finalize": "Finished the logged model {name}: {status}",
}
ENDS = ("registered-models.delete", "model-versions.delete", "logged-models.delete")


def words(row: Registration) -> str:
    """What was asked for: "Registered version 3 of vision"."""
    tags = ", ".join(name if value is None else f"{name} = {value}" for name, value in row.tags.items())
    known = {"name": row.object_name, "version": row.version, "new_name": row.new_name, "tags": tags or "-"}
    text = WORDS.get(row.operation)
    if text is None:
        thing, _, act = row.operation.replace("-", " ").partition(".")
        return f"{thing.capitalize()}: {act}"
    return text.format(**{"alias": "-", "stage": "-", "status": "-"} | row.detail | known)


@dataclass(frozen=True, kw_only=True)
class Happening:
    """A point of the timeline. `tone`: success for what came to be, danger for what ended, warning for what
    was refused."""

    row: Registration
    words: str
    tone: str = ""
    tries: bool = False  # it was only asked for


def happenings(rows: Iterable[Registration]) -> list[Happening]:
    return [
        Happening(row=row, words=words(row), tone=tone(row), tries=row.outcome not in Registration.EFFECTIVE)
        for row in rows
    ]


def tone(row: Registration) -> str:
    if row.outcome not in Registration.EFFECTIVE:
        return "warning"
    if row.operation.endswith(".create"):
        return "success"
    return "danger" if row.operation in ENDS else ""


@dataclass(kw_only=True)
class Version:
    """A version of the model as the ledger has it by now."""

    row: Registration
    now: compliance.CurrentVersion
    rules: tag_rules.Finding | None
    aliases: list[str] = field(default_factory=list)


def versions(told: RegistrationQuerySet) -> list[Version]:
    """The newest VERSIONS of a model's story, the newest first, with their tags and aliases as they are now."""
    rows = told.versions().page(VERSIONS)
    standing = compliance.current_versions(rows)
    found = [
        Version(row=row, now=standing[row.pk], rules=standing[row.pk].finding if row.tag_rules else None)
        for row in rows
    ]
    newest = {version.row.version: version for version in reversed(found) if not version.now.is_deleted}
    for alias, number in aliases(told).items():
        if number in newest:
            newest[number].aliases.append(alias)
    return found


def aliases(told: RegistrationQuerySet) -> dict[str, str]:
    """Which version each alias points to now. Those of a model that was deleted point to none."""
    ends = ("registered-models.set-alias", "registered-models.delete-alias", "registered-models.delete")
    changes = told.effective().filter(operation__in=ends).page(ALIASES)
    pointing: dict[str, str] = {}
    for row in reversed(changes):
        alias = str(row.detail.get("alias", ""))
        if row.operation == "registered-models.delete":
            pointing.clear()
        elif row.operation == "registered-models.set-alias":
            pointing[alias] = row.version
        else:
            pointing.pop(alias, None)
    return pointing
