"""A model's history for people: each row as a sentence, and its versions with their present tags and aliases."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from proxy.ledger import compliance
from proxy.models import Registration, RegistrationQuerySet, tag_rules

MAX_VERSIONS = 200  # a model's page lists this many, the newest
MAX_ALIAS_CHANGES = 1000  # the newest, from which the present aliases are read

# By operation; `{…}` is a value of the row or of its detail. Other operations are shown by their names.
SENTENCES = {
    "registered-models.create": "Registered the model {name}",
    "registered-models.update": "Changed the description of {name}",
    "registered-models.rename": "Renamed {name} to {new_name}",
    "registered-models.delete": "Deleted the model {name} with all its versions",
    "registered-models.set-tag": "Tagged {name}: {tags}",
    "registered-models.delete-tag": "Removed a tag from {name}: {tags}",
    "registered-models.publish": "Published {name} with every version to {reader}",
    "registered-models.withdraw": "Withdrew the publication of {name} to {reader}",
    "registered-models.set-alias": "Pointed the alias {alias} of {name} to version {version}",
    "registered-models.delete-alias": "Removed the alias {alias} of {name}",
    "model-versions.create": "Registered version {version} of {name}",
    "model-versions.manifest": "Recorded the files of version {version} of {name}: {files} in all, {not_seen} not seen",
    "model-versions.update": "Changed the description of version {version} of {name}",
    "model-versions.delete": "Deleted version {version} of {name}",
    "model-versions.set-tag": "Tagged version {version} of {name}: {tags}",
    "model-versions.delete-tag": "Removed a tag from version {version} of {name}: {tags}",
    "model-versions.publish": "Published version {version} of {name} to {reader}",
    "model-versions.withdraw": "Withdrew the publication of version {version} of {name} to {reader}",
    "model-versions.transition-stage": "Moved version {version} of {name} to the stage {stage}",
    "logged-models.create": "Logged the model {name}",
    "logged-models.delete": "Deleted the logged model {name}",
    "logged-models.log-params": "Added parameters to the logged model {name}",
    "logged-models.set-tags": "Tagged the logged model {name}: {tags}",
    "logged-models.delete-tag": "Removed a tag from the logged model {name}: {tags}",
    "logged-models.finalize": "Finished the logged model {name}: {status}",
}
UNKNOWN = dict.fromkeys(("alias", "stage", "status", "files", "not_seen", "reader"), "-")
ENDS = ("registered-models.delete", "model-versions.delete", "logged-models.delete")


def describe(row: Registration, translate: Callable[[str], str] = str) -> str:
    """The requested change: "Registered version 3 of vision". Pages pass gettext as `translate`."""
    tags = ", ".join(name if value is None else f"{name} = {value}" for name, value in row.tags.items())
    known = {"name": row.object_name, "version": row.version, "new_name": row.new_name, "tags": tags or "-"}
    sentence = SENTENCES.get(row.operation)
    if sentence is None:
        return describe_operation(row.operation)
    return translate(sentence).format(**UNKNOWN | row.detail | known)


def describe_operation(name: str) -> str:
    """ "model-versions.set-tag" is "Model versions: set tag"."""
    kind, _, verb = name.replace("-", " ").partition(".")
    return f"{kind.capitalize()}: {verb}"


@dataclass(frozen=True, kw_only=True)
class TimelineEntry:
    """An entry of the timeline. `tone`: success for a creation, danger for a deletion, warning for a request
    without effect."""

    row: Registration
    sentence: str
    tone: str = ""
    is_attempt: bool = False  # requested, and without effect


def make_timeline(rows: Iterable[Registration]) -> list[TimelineEntry]:
    return [
        TimelineEntry(
            row=row,
            sentence=describe(row),
            tone=choose_tone(row),
            is_attempt=row.outcome not in Registration.EFFECTIVE,
        )
        for row in rows
    ]


def choose_tone(row: Registration) -> str:
    if row.outcome not in Registration.EFFECTIVE:
        return "warning"
    if row.operation.endswith(".create"):
        return "success"
    return "danger" if row.operation in ENDS else ""


@dataclass(kw_only=True)
class Version:
    """A version of the model, with its present name, tags and aliases."""

    row: Registration
    current: compliance.CurrentVersion
    rules: tag_rules.Finding | None
    aliases: list[str] = field(default_factory=list)


def list_versions(rows: RegistrationQuerySet) -> list[Version]:
    """The newest versions (at most MAX_VERSIONS) in a model's rows, the newest first."""
    registered = rows.versions().page(MAX_VERSIONS)
    current = compliance.current_versions(registered)
    findings = compliance.findings(registered, current)
    versions = [Version(row=row, current=current[row.pk], rules=findings.get(row.pk)) for row in registered]
    newest = {
        version.row.version: version for version in reversed(versions) if not version.current.is_deleted
    }
    for alias, number in current_aliases(rows).items():
        if number in newest:
            newest[number].aliases.append(alias)
    return versions


def current_aliases(rows: RegistrationQuerySet) -> dict[str, str]:
    """The version that each alias points to now. Those of a deleted model point to none."""
    operations = ("registered-models.set-alias", "registered-models.delete-alias", "registered-models.delete")
    changes = rows.effective().filter(operation__in=operations).page(MAX_ALIAS_CHANGES)
    aliases: dict[str, str] = {}
    for row in reversed(changes):
        alias = str(row.detail.get("alias", ""))
        if row.operation == "registered-models.delete":
            aliases.clear()
        elif row.operation == "registered-models.set-alias":
            aliases[alias] = row.version
        else:
            aliases.pop(alias, None)
    return aliases
