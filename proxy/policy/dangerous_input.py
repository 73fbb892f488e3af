"""Input that MLflow accepts and that would reach the server's files or secrets, refused by field. Pure."""

import re
from collections.abc import Callable
from urllib.parse import parse_qsl

from django.conf import settings

from keys.credentials.tokens import KEY_LIKE_PATTERN
from keys.refusals import Refusal, forbidden, invalid
from proxy.policy.attribution import tag_keys
from proxy.request import artifact_paths
from proxy.request.messages import CANONICAL_INTEGER, Json, values
from proxy.routes.operations import Match

# The server opens what these tags point to (mlflow/store/tracking/sqlalchemy_store.py).
LOCATION_TAGS = frozenset(
    {"mlflow.artifactLocation", "mlflow.trace.archiveLocation", "mlflow.trace.spansLocation"}
)
PROMPT_SOURCES = frozenset({"dummy-source", "prompt-template"})
STORE_LOCATION = re.compile(r"mlflow-artifacts:/([^/?][^?]*)")  # behind a ?, MLflow adds no more folders
VERSION_SOURCE = re.compile(r"(?:runs|models|mlflow-artifacts):/\S.*", re.DOTALL)
SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
TRACE_ID = re.compile(r"tr-[0-9a-f]{32}")


def check(match: Match, content: Json, query: str) -> None:
    """Raise Refusal (400, 403) for dangerous input of this operation."""
    for rule in RULES.get(match.operation.name, ()):
        rule(match, content, query)
    if match.operation.name.startswith("traces."):
        refuse_location_tags(match, content)


def refuse_location_tags(match: Match, content: Json) -> None:
    for key in tag_keys(match, content):
        if key in LOCATION_TAGS:
            raise dangerous(
                "location_tag", f"The tag {key} tells MLflow's server which files to open; MLflow sets it."
            )


def artifact_location(match: Match, content: Json, query: str) -> None:
    """An experiment's files lie in MLflow's own store, in a folder that is no other experiment's."""
    location = content.get("artifact_location", "")
    if not location or has_allowed_scheme(location):
        return
    inside = STORE_LOCATION.fullmatch(location)
    if inside is None:
        raise dangerous(
            "artifact_location",
            "An experiment's artifact_location has to be empty or mlflow-artifacts:/some/folder. Leave it out.",
        )
    folder = artifact_paths.canonical(inside[1].rstrip("/"))
    if artifact_paths.holder(folder)[0] != "artifact":
        raise dangerous(
            "artifact_location",
            "The artifact_location lies in the folder of an experiment, run or model. Leave it out, or name "
            "a folder that is not a number.",
        )


def key_as_name(match: Match, content: Json, query: str) -> None:
    """Names are kept, listed and put into addresses: a key that got into one by mistake would be everywhere."""
    if any(KEY_LIKE_PATTERN.search(str(content.get(field, ""))) for field in ("name", "new_name")):
        raise invalid(
            "key_as_name",
            "The name holds an API key. Choose another name; and if the key is real, have it revoked and use a "
            "new one.",
        )


def version_source(match: Match, content: Json, query: str) -> None:
    """A model version points to what came through MLflow: MLflow itself compares these forms with the run."""
    source = content.get("source", "")
    if (
        not source
        or VERSION_SOURCE.fullmatch(source)
        or has_allowed_scheme(source)
        or source in PROMPT_SOURCES
    ):
        return
    raise dangerous(
        "version_source",
        "A model version's source has to be runs:/…, models:/… or mlflow-artifacts:/…. Log the model to a run "
        "first (mlflow.<flavor>.log_model) and register it from there.",
    )


def has_allowed_scheme(location: str) -> bool:
    scheme = SCHEME.match(location)
    return scheme is not None and scheme[1].lower() in settings.ALLOWED_ARTIFACT_SCHEMES


def started_trace(match: Match, content: Json, query: str) -> None:
    """The id becomes a folder's name; assessments by id could be taken from other traces."""
    for trace_id in values(content, "trace.trace_info.trace_id"):
        if not TRACE_ID.fullmatch(trace_id):
            raise invalid("bad_trace_id", "A trace's id is tr- and 32 hexadecimal digits in lower case.")
    assessments = "trace.trace_info.assessments[]"
    if any(values(content, f"{assessments}.assessment_id")) or any(
        values(content, f"{assessments}.overrides")
    ):
        raise dangerous(
            "assessment_id",
            "A new trace brings no assessments with ids of their own, nor overrides; log them afterwards.",
        )


def direct_upload(match: Match, content: Json, query: str) -> None:
    """Raise Refusal (403) for addresses by which artifacts would be uploaded past the portal."""
    if not settings.DIRECT_ARTIFACTS:
        raise forbidden(
            "route_refused",
            f"{match.operation.name} is closed to every API key: artifacts pass through the portal here. "
            "MLflow's client does so by itself (log_artifact).",
        )


def artifact_path(match: Match, content: Json, query: str) -> None:
    artifact_paths.canonical(match.arguments["artifact_path"])


def artifact_deletion(match: Match, content: Json, query: str) -> None:
    path = artifact_paths.canonical(match.arguments["artifact_path"])
    if artifact_paths.holder(path)[0] in ("experiment", "artifact"):
        artifact_paths.refuse_tree(path.partition("/")[0], "delete")


def artifact_listing(match: Match, content: Json, query: str) -> None:
    """MLflow lists the store's root if `path` is missing, and takes the first of several."""
    paths = [value for name, value in parse_qsl(query, keep_blank_values=True) if name == "path"]
    if len(paths) > 1:
        raise invalid("bad_query", "“path” stands in the query twice. Send it once.")
    path = paths[0].rstrip("/") if paths else ""
    if path in ("", "."):
        artifact_paths.refuse_tree("", "list")
    artifact_paths.refuse_tree(artifact_paths.canonical(path), "list")


def experiment_ids(match: Match, content: Json, query: str) -> None:
    """Raise Refusal (400) for experiment ids that MLflow would read as another text: " 1", "01", "+1"."""
    for place in (*match.operation.targets, *match.operation.parents):
        if place.kind == "experiment" and not place.field.startswith(("{", "@")):
            for value in values(content, place.field):
                if not CANONICAL_INTEGER.fullmatch(str(value)):
                    raise invalid(
                        "bad_experiment_id", f"“{place.field}” has to be an experiment's id, such as 12."
                    )


def dangerous(reason: str, message: str) -> Refusal:
    return invalid(reason, message)


Rule = Callable[[Match, Json, str], None]
RULES: dict[str, tuple[Rule, ...]] = {
    "experiments.create": (artifact_location,),
    "model-versions.create": (version_source,),
    "registered-models.create": (key_as_name,),
    "registered-models.rename": (key_as_name,),
    "traces.start": (started_trace,),
    "artifacts.upload": (artifact_path,),
    "artifacts.download": (artifact_path,),
    "artifacts.delete": (artifact_deletion,),
    "artifacts.list": (artifact_listing,),
    "artifacts.presigned-upload-url": (direct_upload,),
    "artifacts.mpu-create": (artifact_path,),
    "artifacts.mpu-complete": (artifact_path,),
    "artifacts.mpu-abort": (artifact_path,),
}
