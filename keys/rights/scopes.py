"""What a key may be allowed to do: scopes. Pure."""

from collections.abc import Callable, Iterable
from enum import StrEnum


class Scope(StrEnum):
    """One kind of act on one kind of thing. MLflow's own categories, folded to what a person can weigh."""

    TRACKING_READ = "tracking:read"
    TRACKING_WRITE = "tracking:write"
    TRACKING_DELETE = "tracking:delete"
    REGISTRY_READ = "registry:read"
    REGISTRY_WRITE = "registry:write"
    REGISTRY_DELETE = "registry:delete"
    ARTIFACTS_READ = "artifacts:read"
    ARTIFACTS_WRITE = "artifacts:write"
    ARTIFACTS_DELETE = "artifacts:delete"
    TRACES_READ = "traces:read"
    TRACES_WRITE = "traces:write"
    TRACES_DELETE = "traces:delete"
    PORTAL_READ = "portal:read"
    PORTAL_INTROSPECT = "portal:introspect"
    PORTAL_ADMIN = "portal:admin"
    PORTAL_SCIM = "portal:scim"


PORTAL = frozenset(scope for scope in Scope if scope.startswith("portal:"))  # none at MLflow
PORTAL_SCOPE_LABELS = {
    Scope.PORTAL_READ: "See in the management API what its user may see in the portal",
    Scope.PORTAL_INTROSPECT: "Ask the portal whether a key is good, and whose",
    Scope.PORTAL_ADMIN: "Do in the management API what its user may do in the portal",
    Scope.PORTAL_SCIM: "Keep users and groups in step with a directory (SCIM)",
}


AREA_LABELS = {
    "tracking": "experiments, runs, metrics, logged models and datasets",
    "registry": "registered models, their versions and prompts",
    "artifacts": "artifact files",
    "traces": "traces and their assessments",
}
ACTS = {"read": "Read", "write": "Create and change", "delete": "Delete"}


class Preset(StrEnum):
    """The sets of scopes that people choose from."""

    READER = "reader"
    CONTRIBUTOR = "contributor"
    FULL = "full"

    @property
    def scopes(self) -> tuple[Scope, ...]:
        acts = {"reader": ("read",), "contributor": ("read", "write"), "full": tuple(ACTS)}[self.value]
        return tuple(scope for scope in Scope if scope not in PORTAL and scope.partition(":")[2] in acts)

    @property
    def label(self) -> str:
        return {
            "reader": "Reader: reads everything, changes nothing",
            "contributor": "Contributor: reads everything, creates and changes its user's own",
            "full": "Full: as Contributor, and deletes its user's own",
        }[self.value]


DEFAULT_PRESET = Preset.CONTRIBUTOR


def parse_scopes(names: Iterable[str]) -> tuple[Scope, ...]:
    """The scopes of these names, in their standard order, each once. Raises ValueError naming the unknown."""
    wanted = set(names)
    if unknown := wanted - set(Scope):
        raise ValueError(f"unknown scopes {', '.join(sorted(unknown))}; there are {', '.join(Scope)}")
    return tuple(scope for scope in Scope if scope in wanted)


def allows(held: Iterable[str], needed: Iterable[Scope]) -> bool:
    """Whether a key with the scopes `held` may do what takes all of `needed`."""
    return set(needed) <= set(held)


def describe_scopes(held: Iterable[str], translate: Callable[[str], str] = str) -> list[str]:
    """What these scopes allow, one sentence an act: "Read experiments, runs, …; traces and …".

    Pages pass gettext as `translate`."""
    lines = []
    for act, verb in ACTS.items():
        things = [translate(words) for thing, words in AREA_LABELS.items() if f"{thing}:{act}" in set(held)]
        if things:
            lines.append(translate("{act} {areas}").format(act=translate(verb), areas="; ".join(things)))
    return lines + [translate(words) for scope, words in PORTAL_SCOPE_LABELS.items() if scope in set(held)]


def find_preset(held: Iterable[str]) -> Preset | None:
    """The preset that has exactly these scopes."""
    return next((preset for preset in Preset if set(preset.scopes) == set(held)), None)


def describe_missing_reads(held: Iterable[str]) -> list[str]:
    """A warning for each area that a key may write or delete but not read. MLflow's client reads an object before it
    changes it: `end_run` reads the run, and without that leaves it RUNNING."""
    scopes = set(held)
    return [
        f"The key may change {words} but not read them, and MLflow's client reads before it writes"
        f"{' (end_run leaves the run RUNNING)' if area == 'tracking' else ''}. Add the scope {area}:read."
        for area, words in AREA_LABELS.items()
        if scopes & {f"{area}:write", f"{area}:delete"} and f"{area}:read" not in scopes
    ]
