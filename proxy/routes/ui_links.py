"""Where MLflow's own pages show a thing, for links from ours. Pure."""

from urllib.parse import quote

ROOT = "/mlflow/"
# As MLflow 3.17's pages route them, behind the hash.
PLACES = {
    "experiment": "#/experiments/{name}",
    "run": "#/runs/{name}",
    "registered_model": "#/models/{name}",
    "model_version": "#/models/{name}/versions/{version}",
    "prompt": "#/prompts/{name}",
}


def address(environment: str, kind: str, name: str, version: str = "", *, is_prompt: bool = False) -> str:
    """The path of MLflow's page about a thing (a model version's `name` is its model's), "" if there is none.

    Without a version, that of a model version is its model's. The pages show the live registry alone: what is of
    the test environment has none.
    """
    if environment != "live":
        return ""
    if kind == "model_version" and not version:
        kind = "registered_model"
    if is_prompt and kind in ("registered_model", "model_version"):
        kind = "prompt"
    if not name or kind not in PLACES:
        return ""
    return ROOT + PLACES[kind].format(name=quote(name, safe=""), version=quote(version, safe=""))
