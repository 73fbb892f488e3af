"""The ledger held against MLflow as a whole: what was made around the portal, and what is gone."""

from dataclasses import dataclass
from typing import Any

from django.utils import timezone

from proxy.ledger import writer
from proxy.ledger.reconcile import LIFE
from proxy.ledger.writer import shortened
from proxy.models import Registration
from proxy.request.messages import Json
from proxy.upstream.registry import Registry, tags

ACTOR = "reconcile"
BATCH = 500  # rows


@dataclass(frozen=True, kw_only=True)
class Found:
    """A registered model (version "") or a version of one, and when MLflow made it."""

    name: str
    version: str
    created_ms: int | None

    @classmethod
    def of(cls, thing: Json) -> "Found":
        return cls(
            name=shortened(thing["name"], writer.NAME_LENGTH),
            version=writer.version_number(thing.get("version", "")),
            created_ms=int(thing["creation_timestamp"]),
        )

    def __str__(self) -> str:
        return f"{self.name}{f' version {self.version}' if self.version else ''}"


@dataclass(kw_only=True)
class Comparison:
    """`around`: MLflow has it, the ledger lacks it; `gone`: the ledger has it, MLflow lacks it."""

    around: dict[Found, Json]
    gone: list[Found]


def compare(environment: str, registry: Registry) -> Comparison:
    """MLflow first, the ledger second: whatever the portal makes meanwhile is in the ledger by then."""
    known, there, unknown = alive(environment), set(), {}
    for listing in (registry.models(), registry.versions()):
        for thing in listing:
            found = Found.of(thing)
            there.add(found)
            if found not in known:
                unknown[found] = thing
    known = alive(environment)
    unsettled = {
        name
        for names in Registration.objects.pending()
        .filter(environment=environment)
        .values_list("object_name", "new_name")
        for name in names
    }
    around = {
        found: thing for found, thing in unknown.items() if found not in known and found.name not in unsettled
    }
    gone = [found for found in known - there if found.name not in unsettled and is_gone(found, registry)]
    return Comparison(around=around, gone=sorted(gone, key=lambda found: (found.name, found.created_ms)))


def alive(environment: str) -> set[Found]:
    """What there should be, by the ledger alone."""
    models: dict[str, int | None] = {}
    versions: dict[str, dict[str, int | None]] = {}
    rows = (
        Registration.objects.effective()
        .filter(
            environment=environment, operation__in=(*LIFE, "model-versions.create", "model-versions.delete")
        )
        .order_by("id")
        .values_list("operation", "object_name", "new_name", "version", "created_ms")
    )
    for operation, name, new_name, version, created_ms in rows.iterator(chunk_size=2000):
        match operation:
            case "registered-models.create":
                models[name], versions[name] = created_ms, {}
            case "registered-models.rename":
                if name in models:
                    models[new_name] = models.pop(name)
                if name in versions:
                    versions[new_name] = versions.pop(name)
            case "registered-models.delete":
                models.pop(name, None)
                versions.pop(name, None)
            case "model-versions.create":
                versions.setdefault(name, {})[version] = created_ms
            case "model-versions.delete":
                versions.get(name, {}).pop(version, None)
    found = {Found(name=name, version="", created_ms=made) for name, made in models.items()}
    return found | {
        Found(name=name, version=version, created_ms=made)
        for name, made_versions in versions.items()
        for version, made in made_versions.items()
    }


def is_gone(found: Found, registry: Registry) -> bool:
    """Asked once more by name: pages shift while others write."""
    thing = registry.version(found.name, found.version) if found.version else registry.model(found.name)
    return thing is None or int(thing["creation_timestamp"]) != found.created_ms


def adopt(environment: str, around: dict[Found, Json]) -> None:
    """Write rows for what was made around the portal, or before there was one: their owner is unknown."""
    oldest_first = sorted(around.items(), key=lambda item: item[0].created_ms or 0)
    write([imported(environment, found, thing) for found, thing in oldest_first])


def write_off(environment: str, gone: list[Found]) -> None:
    """Write rows for what was deleted around the portal, versions before their models: by whom is unknown.

    Who owned the name goes on owning it, as if MLflow's copy were to come back from a backup.
    """
    write([removed(environment, found) for found in sorted(gone, key=lambda found: not found.version)])


def write(rows: list[Registration]) -> None:
    for row in rows:
        row.digest = row.computed_digest
    for start in range(0, len(rows), BATCH):
        Registration.objects.bulk_create(rows[start : start + BATCH])


def imported(environment: str, found: Found, thing: Json) -> Registration:
    return own_row(
        environment,
        found,
        "create",
        is_prompt=tags(thing).get(writer.IS_PROMPT, "").lower() == "true",
        run_id=shortened(thing.get("run_id") or "", writer.NAME_LENGTH),
        source=shortened(thing.get("source") or ""),
        tags=writer.clean(tags(thing)),
        detail=writer.clean({"description": thing["description"]} if thing.get("description") else {}),
        created_ms=found.created_ms,
    )


def removed(environment: str, found: Found) -> Registration:
    return own_row(environment, found, "delete")


def own_row(environment: str, found: Found, change: str, **columns: Any) -> Registration:
    """A completed row that no key asked for."""
    now = timezone.now()
    return Registration(
        request_id=writer.own_request_id(),
        at=now,
        actor=ACTOR,
        environment=environment,
        operation=f"{'model-versions' if found.version else 'registered-models'}.{change}",
        kind="model_version" if found.version else "registered_model",
        object_name=found.name,
        version=found.version,
        outcome=Registration.Outcome.IMPORTED,
        completed_at=now,
        **columns,
    )
