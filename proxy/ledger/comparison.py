"""The comparison of the ledger with MLflow as a whole: what each of them has that the other lacks."""

from dataclasses import dataclass
from typing import Any

from django.utils import timezone

from keys.models import Namespace
from proxy.ledger import writer
from proxy.ledger.reconcile import LIFE
from proxy.ledger.writer import shorten
from proxy.models import Registration
from proxy.request.messages import Json
from proxy.upstream.registry import Registry, tags

ACTOR = "reconcile"
BATCH = 500  # rows


@dataclass(frozen=True, kw_only=True)
class RegistryObject:
    """A registered model (version "") or a version of one, and when MLflow created it."""

    name: str
    version: str
    created_ms: int | None

    @classmethod
    def from_json(cls, content: Json) -> "RegistryObject":
        """From MLflow's JSON of a registered model or a version."""
        return cls(
            name=shorten(content["name"], writer.NAME_LENGTH),
            version=writer.normalise_version(content.get("version", "")),
            created_ms=int(content["creation_timestamp"]),
        )

    def __str__(self) -> str:
        return f"{self.name}{f' version {self.version}' if self.version else ''}"


@dataclass(kw_only=True)
class Comparison:
    """`unrecorded`: in MLflow and not in the ledger; `missing`: in the ledger and not in MLflow."""

    unrecorded: dict[RegistryObject, Json]
    missing: list[RegistryObject]


def compare(registry: Registry) -> Comparison:
    """Read MLflow first and the ledger second: what the portal creates meanwhile is in the ledger by then."""
    namespace = registry.namespace
    expected, existing, unknown = expected_objects(namespace), set(), {}
    for listing in (registry.models(), registry.versions()):
        for content in listing:
            item = RegistryObject.from_json(content)
            existing.add(item)
            if item not in expected:
                unknown[item] = content
    expected = expected_objects(namespace)
    pending_names = {
        name
        for names in Registration.objects.pending().within(namespace).values_list("object_name", "new_name")
        for name in names
    }
    unrecorded = {
        item: content
        for item, content in unknown.items()
        if item not in expected and item.name not in pending_names
    }
    missing = [
        item for item in expected - existing if item.name not in pending_names and is_missing(item, registry)
    ]
    return Comparison(
        unrecorded=unrecorded, missing=sorted(missing, key=lambda item: (item.name, item.created_ms))
    )


def expected_objects(namespace: Namespace) -> set[RegistryObject]:
    """What MLflow should have according to the ledger."""
    models: dict[str, int | None] = {}
    versions: dict[str, dict[str, int | None]] = {}
    rows = (
        Registration.objects.effective()
        .filter(**namespace.columns, operation__in=(*LIFE, "model-versions.create", "model-versions.delete"))
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
    return {
        RegistryObject(name=name, version="", created_ms=created_ms) for name, created_ms in models.items()
    } | {
        RegistryObject(name=name, version=version, created_ms=created_ms)
        for name, of_model in versions.items()
        for version, created_ms in of_model.items()
    }


def is_missing(item: RegistryObject, registry: Registry) -> bool:
    """Ask MLflow once more, by name: the pages of a list shift while others write."""
    content = registry.version(item.name, item.version) if item.version else registry.model(item.name)
    return content is None or int(content["creation_timestamp"]) != item.created_ms


def import_unrecorded(namespace: Namespace, unrecorded: dict[RegistryObject, Json]) -> None:
    """Write rows for what was created by bypassing the portal, or before there was one. The owner is unknown."""
    oldest_first = sorted(unrecorded.items(), key=lambda pair: pair[0].created_ms or 0)
    insert_rows([make_import(namespace, item, content) for item, content in oldest_first])


def record_deletions(namespace: Namespace, missing: list[RegistryObject]) -> None:
    """Write rows for what was deleted by bypassing the portal, versions before their models. The actor is unknown.

    The owner of a name keeps it, as if MLflow's copy were to be restored from a backup.
    """
    versions_first = sorted(missing, key=lambda item: not item.version)
    insert_rows([make_row(namespace, item, "delete") for item in versions_first])


def insert_rows(rows: list[Registration]) -> None:
    for row in rows:
        row.digest = row.computed_digest
    for start in range(0, len(rows), BATCH):
        Registration.objects.bulk_create(rows[start : start + BATCH])


def make_import(namespace: Namespace, item: RegistryObject, content: Json) -> Registration:
    return make_row(
        namespace,
        item,
        "create",
        is_prompt=tags(content).get(writer.IS_PROMPT, "").lower() == "true",
        run_id=shorten(content.get("run_id") or "", writer.NAME_LENGTH),
        source=shorten(content.get("source") or ""),
        tags=writer.clean_json(tags(content)),
        detail=writer.clean_json(
            {"description": content["description"]} if content.get("description") else {}
        ),
        created_ms=item.created_ms,
    )


def make_row(namespace: Namespace, item: RegistryObject, change: str, **columns: Any) -> Registration:
    """A completed row of this command's own, without a key."""
    now = timezone.now()
    return Registration(
        request_id=writer.new_request_id(),
        at=now,
        actor=ACTOR,
        **namespace.columns,
        operation=f"{'model-versions' if item.version else 'registered-models'}.{change}",
        kind="model_version" if item.version else "registered_model",
        object_name=item.name,
        version=item.version,
        outcome=Registration.Outcome.IMPORTED,
        completed_at=now,
        **columns,
    )
