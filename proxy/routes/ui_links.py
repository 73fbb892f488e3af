"""Links from the portal's pages to MLflow's own pages about an object. Pure."""

from urllib.parse import quote

ROOT = "/mlflow/"
# As MLflow 3.17's pages route them, behind the hash.
PAGES = {
    "experiment": "#/experiments/{name}",
    "run": "#/runs/{name}",
    "registered_model": "#/models/{name}",
    "model_version": "#/models/{name}/versions/{version}",
    "prompt": "#/prompts/{name}",
}


def address(environment: str, kind: str, name: str, version: str = "", *, is_prompt: bool = False) -> str:
    """The path of MLflow's page about an object, "" if there is none. A model version's `name` is its model's.

    A model version without its number gets its model's page. MLflow's pages show only the live registry, so objects of
    the test environment have none.
    """
    if environment != "live":
        return ""
    if kind == "model_version" and not version:
        kind = "registered_model"
    if is_prompt and kind in ("registered_model", "model_version"):
        kind = "prompt"
    if not name or kind not in PAGES:
        return ""
    return ROOT + PAGES[kind].format(name=quote(name, safe=""), version=quote(version, safe=""))
