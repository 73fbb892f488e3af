"""References to MLflow's objects: the kind and the id, or a registered model's name. Pure."""

from dataclasses import dataclass

DEFAULT_EXPERIMENT = "0"  # MLflow's own, which exists only where it has no workspaces
KIND_LABELS = {
    "logged_model": "logged model",
    "registered_model": "registered model",
    "label_schema": "label schema",
    "review_queue": "review queue",
    "artifact": "artifact path",
}


@dataclass(frozen=True, kw_only=True)
class ObjectRef:
    """An object at MLflow: its kind and its id; a registered model's name is its id."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{KIND_LABELS.get(self.kind, self.kind)} “{self.name[:200]}”"


@dataclass(frozen=True, kw_only=True)
class RequestObjects:
    """The objects that a request acts on, by their role in `proxy.routes.served`: `on=`, `in=`, `claim=`,
    `ref=`."""

    targets: tuple[ObjectRef, ...] = ()
    parents: tuple[ObjectRef, ...] = ()
    claims: tuple[ObjectRef, ...] = ()
    references: tuple[ObjectRef, ...] = ()

    @property
    def first(self) -> ObjectRef | None:
        return next(iter((*self.targets, *self.claims, *self.parents)), None)
