"""What a key may be allowed to do: scopes. Pure."""

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
