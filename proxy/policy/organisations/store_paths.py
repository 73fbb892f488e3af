"""Refuses artifact paths in another organisation's part of the store. Pure."""

import re
from collections.abc import Iterator
from urllib.parse import parse_qsl

from proxy.request import artifact_paths
from proxy.request.messages import Json
from proxy.routes.operations import Match

# The path within the store, in the address of a version's files or of an experiment's: MLflow leaves out the host.
STORE_ADDRESS = re.compile(r"\s*mlflow-artifacts:(?://[^/]*)?/?(.*)", re.DOTALL | re.IGNORECASE)
WEB_ADDRESS = re.compile(r"\s*https?:.*?/mlflow-artifacts/artifacts/(.*)", re.DOTALL | re.IGNORECASE)


def check(slug: str, match: Match, content: Json, query: str) -> None:
    """Raise Refusal (403) if the call names a path in another organisation's folder than that of `slug`."""
    for path in paths_of(match, content, query):
        artifact_paths.check_workspace(path, slug)


def paths_of(match: Match, content: Json, query: str) -> Iterator[str]:
    """The paths from the store's root that the call names. Paths below a run or a model are not among them."""
    if path := match.arguments.get("artifact_path"):
        yield path
    match match.operation.name:
        case "artifacts.list":
            yield from (value for name, value in parse_qsl(query) if name == "path")
        case "experiments.create":
            yield from paths_in_address(str(content.get("artifact_location", "")))
        case "model-versions.create":
            yield from paths_in_address(str(content.get("source", "")))


def paths_in_address(address: str) -> Iterator[str]:
    """The path that an address names in MLflow's store, also where only a decoded form of the address names one."""
    for spelling in (address, *artifact_paths.decodings(address)):
        for form in (STORE_ADDRESS, WEB_ADDRESS):
            if inside := form.match(spelling):
                yield inside[1]
