"""Refuses input that MLflow accepts although it reaches the server's files or secrets, by field. Pure."""

import ntpath
import re
from collections.abc import Callable, Iterable
from urllib.parse import parse_qsl

from django.conf import settings

from keys.credentials.tokens import KEY_LIKE_PATTERN
from keys.refusals import Refusal, forbidden, invalid
from proxy.policy import direct_artifacts
from proxy.policy.attribution import tag_keys
from proxy.policy.server_tags import LOCATION_TAGS, first_refused
from proxy.request import artifact_paths, names
from proxy.request.messages import Json, values
from proxy.routes.operations import Match

PROMPT_SOURCES = frozenset({"dummy-source", "prompt-template"})
# Without a query, which MLflow treats differently.
STORE_LOCATION = re.compile(r"mlflow-artifacts:/([^/?][^?]*)")
VERSION_SOURCE = re.compile(r"(?:runs|models|mlflow-artifacts):/\S.*", re.DOTALL)
SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
TRACE_ID = re.compile(r"tr-[0-9a-f]{32}")


def check(match: Match, content: Json, query: str) -> None:
    """Raise Refusal (400, 403) for dangerous input of this operation."""
    if not settings.DIRECT_ARTIFACTS:
        direct_artifacts.refuse(match.operation, query)
    for rule in RULES.get(match.operation.name, ()):
        rule(match, content, query)
    refuse_server_tags(tag_keys(match, content))
    if match.operation.name.startswith("traces."):
        refuse_location_tags(match, content)


def refuse_server_tags(keys: Iterable[str]) -> None:
    """Raise Refusal (400) for a tag that makes MLflow's server act with its own rights."""
    if refused := first_refused(keys):
        key, tag = refused
        raise invalid(
            "server_tag",
            f"The tag {key[:100]} decides for MLflow's server: {tag.effect}. No caller may set or delete it. Leave it "
            "out, or ask your administrator to set it at MLflow.",
        )


def refuse_location_tags(match: Match, content: Json) -> None:
    for key in tag_keys(match, content):
        if key in LOCATION_TAGS:
            raise invalid(
                "location_tag",
                f"The tag {key} tells MLflow's server which files to open, so only MLflow sets it. Leave it out.",
            )


def artifact_location(match: Match, content: Json, query: str) -> None:
    """An experiment's files must be in MLflow's own store, in a folder of no other experiment, run or model."""
    location = content.get("artifact_location", "")
    if not location or has_allowed_scheme(location):
        return
    inside = STORE_LOCATION.fullmatch(location)
    if inside is None:
        raise invalid(
            "artifact_location",
            "The artifact_location is outside of MLflow's artifact store. Leave it out, or set it to "
            "mlflow-artifacts:/some/folder.",
        )
    folder = artifact_paths.canonical(inside[1].rstrip("/"))
    if artifact_paths.is_skill_content(folder):
        raise invalid(
            "artifact_location",
            "The artifact_location is in the folder skills/, which MLflow from 3.18 keeps for its skills: it refuses "
            "every upload there. Leave it out, or name another folder.",
        )
    if artifact_paths.holder(folder)[0] != "artifact":
        raise invalid(
            "artifact_location",
            "The artifact_location is in the folder of an experiment, run or model. Leave it out, or name "
            "a folder that is not a number.",
        )


def key_as_name(match: Match, content: Json, query: str) -> None:
    """Names are stored, listed and used in addresses, which would expose a key in a name everywhere."""
    if any(KEY_LIKE_PATTERN.search(str(content.get(field, ""))) for field in ("name", "new_name")):
        raise invalid(
            "key_as_name",
            "The name contains an API key. Choose another name; if the key is real, have it revoked and use a "
            "new one.",
        )


def invisible_name(match: Match, content: Json, query: str) -> None:
    for field in ("name", "new_name"):
        names.refuse_invisible(str(content.get(field, "")), field)


def version_source(match: Match, content: Json, query: str) -> None:
    """A model version's source must be in MLflow's store: MLflow itself compares these forms with the run. A source in
    another store that names a run or model is compared with its artifacts (`proxy.policy.upstream_checks`)."""
    source = content.get("source", "")
    if is_foreign_source(source) and not (content.get("run_id") or content.get("model_id")):
        raise foreign_source()


def is_foreign_source(source: str) -> bool:
    return bool(source) and not (
        VERSION_SOURCE.fullmatch(source) or has_allowed_scheme(source) or source in PROMPT_SOURCES
    )


def foreign_source() -> Refusal:
    return invalid(
        "version_source",
        "The model version's source is not runs:/…, models:/… or mlflow-artifacts:/…, nor in the artifacts of a run or "
        "logged model of yours that the call names. Log the model to a run first (mlflow.<flavor>.log_model) and "
        "register it from there.",
    )


def has_allowed_scheme(location: str) -> bool:
    scheme = SCHEME.match(location)
    return scheme is not None and scheme[1].lower() in settings.ALLOWED_ARTIFACT_SCHEMES


def started_trace(match: Match, content: Json, query: str) -> None:
    """The id becomes a folder's name; `ownership.bind_assessments` checks the ids of assessments."""
    for trace_id in values(content, "trace.trace_info.trace_id"):
        if not TRACE_ID.fullmatch(trace_id):
            raise invalid(
                "bad_trace_id", "The trace's id is malformed. Send tr- and 32 lower-case hexadecimal digits."
            )
    if any(values(content, "trace.trace_info.assessments[].overrides")):
        raise invalid(
            "assessment_id",
            "A new trace must not bring assessments that override others. Log them after the trace.",
        )


def direct_upload(match: Match, content: Json, query: str) -> None:
    """Raise Refusal (403) for a request for addresses that would let artifacts bypass the portal."""
    if not settings.DIRECT_ARTIFACTS:
        raise forbidden(
            "route_refused",
            f"{match.operation.name} is closed to every API key: artifacts pass through the portal. "
            "Use MLflow's client (log_artifact), which uploads through it by itself.",
        )


def artifact_path(match: Match, content: Json, query: str) -> None:
    artifact_paths.canonical(match.arguments["artifact_path"])


def artifact_upload(match: Match, content: Json, query: str) -> None:
    """A name with a question mark arrives with its second part as the query."""
    if query:
        raise artifact_paths.bad_artifact_path(
            "The address of the upload contains a question mark, and MLflow would cut the file's name there. Rename "
            "the file."
        )


def multipart_name(match: Match, content: Json, query: str) -> None:
    """Of `path`, a local path of the client, MLflow uses the last part."""
    name = ntpath.basename(str(content.get("path", "")))
    if name:
        artifact_paths.canonical(f"{match.arguments['artifact_path']}/{name}")


def skill_content(match: Match, content: Json, query: str) -> None:
    """Raise Refusal (403) for a change of a skill's content."""
    if artifact_paths.is_skill_content(match.arguments["artifact_path"]):
        raise forbidden(
            "route_refused",
            f"{match.operation.name} is closed to every API key below skills/: MLflow keeps the content of its skills "
            "there, and no key may change skills. Log artifacts to a run.",
        )


def artifact_deletion(match: Match, content: Json, query: str) -> None:
    path = artifact_paths.canonical(match.arguments["artifact_path"])
    if artifact_paths.holder(path)[0] in ("experiment", "artifact"):
        artifact_paths.refuse_tree(artifact_paths.in_workspace(path).partition("/")[0], "delete")


def artifact_listing(match: Match, content: Json, query: str) -> None:
    """Without `path`, MLflow lists the store's root; of several, it uses the first."""
    paths = [value for name, value in parse_qsl(query, keep_blank_values=True) if name == "path"]
    if len(paths) > 1:
        raise invalid("bad_query", "The query contains “path” more than once. Send it once.")
    path = listed_path(paths[0]) if paths else ""
    if not path:
        artifact_paths.refuse_tree("", "list")
    artifact_paths.refuse_tree(artifact_paths.canonical(path), "list")


def listed_path(path: str) -> str:
    """The folder that a listing names, "" for the root. `download_artifacts(".")` adds “.” segments, which MLflow's
    stores leave out."""
    segments = [segment for segment in path.rstrip("/").split("/") if segment != "."]
    return "/".join(segments)


Rule = Callable[[Match, Json, str], None]
RULES: dict[str, tuple[Rule, ...]] = {
    "experiments.create": (artifact_location, invisible_name),
    "experiments.update": (invisible_name,),
    "model-versions.create": (version_source,),
    "registered-models.create": (key_as_name, invisible_name),
    "registered-models.rename": (key_as_name, invisible_name),
    "traces.start": (started_trace,),
    "artifacts.upload": (artifact_upload, artifact_path, skill_content),
    "artifacts.download": (artifact_path,),
    "artifacts.presigned": (artifact_path,),
    "artifacts.delete": (artifact_deletion, skill_content),
    "artifacts.list": (artifact_listing,),
    "artifacts.presigned-upload-url": (direct_upload,),
    "artifacts.mpu-create": (artifact_path, multipart_name, skill_content),
    "artifacts.mpu-complete": (artifact_path, multipart_name, skill_content),
    "artifacts.mpu-abort": (artifact_path, multipart_name, skill_content),
}
