"""Generated paths against the rule: `workspaces/<own>/…` or no such prefix, in any case and encoding."""

import posixpath
import warnings
from urllib.parse import quote, unquote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keys.refusals import Refusal
from proxy.policy import dangerous_input, quarantine
from proxy.policy.organisations import store_paths
from proxy.request import artifact_paths
from proxy.routes.matching import match_operation
from proxy.routes.table import OPERATIONS
from tests.proxy.request.variants import TRANSFORMATIONS, escaped, escaped_twice

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from mlflow.exceptions import MlflowException
    from mlflow.utils.uri import validate_path_is_safe

RUN = "a" * 32
FOLDERS = ["workspaces", "Workspaces", "WORKSPACES", "workſpaces", "workspaces.", "workspaces "]
WRITTEN = [str, escaped, escaped_twice, lambda name: escaped(name[:1]) + name[1:], lambda name: name + ";"]
SEGMENT = st.builds(
    lambda write, name: write(name),
    st.sampled_from(WRITTEN),
    st.sampled_from([*FOLDERS, "own", "other", "5", RUN, "artifacts", "x.txt", "..", ".", ""]),
)
PATHS = st.lists(SEGMENT, min_size=1, max_size=6).map("/".join)
VARIED = st.builds(lambda vary, path: vary(path), st.sampled_from(list(TRANSFORMATIONS.values())), PATHS)
BASE = "/api/2.0/mlflow-artifacts/artifacts"


def is_accepted(method: str, path: str) -> bool:
    """Whether the rules let the operation on this path pass in the organisation `own`."""
    try:
        if method == "LIST":
            match, query = match_operation("GET", BASE), f"path={quote(path)}"
        else:
            match, query = match_operation(method, f"{BASE}/{path}"), ""
        dangerous_input.check(match, {}, query)
        store_paths.check("own", match, {}, query)
    except Refusal as refusal:
        assert refusal.status in (400, 403, 404)
        return False
    return True


def reached(path: str) -> str:
    """The path in the store on which MLflow acts in the workspace `own`, without a guard of MLflow's."""
    plain = posixpath.normpath(validate_path_is_safe(path).lstrip("/"))
    return plain if plain.partition("/")[0] == "workspaces" else posixpath.join("workspaces/own", plain)


@settings(suppress_health_check=[HealthCheck.too_slow])  # of a busy machine
@given(path=st.one_of(PATHS, VARIED), method=st.sampled_from(["GET", "PUT", "DELETE", "LIST"]))
def test_no_path_that_passes_reaches_another_organisations_folder(path, method):
    if not is_accepted(method, path):
        return
    try:
        at = reached(path)
    except MlflowException:
        return
    for _ in range(12):
        segments = artifact_paths.plain_segments(at)
        assert segments[:2] == ["workspaces", "own"]
        assert artifact_paths.fold(artifact_paths.plain_segments(path)[0]) != "workspaces" or path.startswith(
            ("workspaces/own/", "./workspaces/own/")
        )
        at = unquote(at)


@pytest.mark.parametrize("prefix", ["", "workspaces/own/"])
@pytest.mark.parametrize("name", ["x.txt", "a b.txt", "ä?b.txt", "workspaces/other/x", "Workspaces/x"])
def test_an_own_path_passes_with_and_without_the_prefix(prefix, name):
    path = f"{prefix}5/{RUN}/artifacts/{name}"

    for method in ("GET", "PUT", "DELETE", "LIST"):
        assert is_accepted(method, path), method
    assert artifact_paths.holder(path) == ("run", RUN)


@pytest.mark.parametrize(
    "path", ["workspaces", "workspaces/own", "workspaces/own/5", "./workspaces/./own/5/", "5"]
)
def test_no_whole_folder_of_an_organisation_or_experiment_is_listed_or_deleted(path):
    assert not is_accepted("LIST", path)
    assert not is_accepted("DELETE", path.strip("./"))


def test_every_operation_that_takes_a_path_of_the_store_refuses_another_organisations():
    """A new row of the table with such a path needs a rule."""
    rows = [each for each in OPERATIONS if "{artifact_path:path}" in each.path and not each.refused]
    assert len(rows) >= 7
    for operation in rows:
        path = operation.path.replace("{artifact_path:path}", f"workspaces/other/5/{RUN}/artifacts/x")
        with pytest.raises(Refusal) as refused:
            store_paths.check("own", match_operation(operation.method, path), {}, "")
        assert (refused.value.status, refused.value.reason) == (403, "other_workspace")


@pytest.mark.parametrize(
    "source",
    [
        f"mlflow-artifacts:/workspaces/other/5/{RUN}/artifacts/m",
        f"mlflow-artifacts://host:5000/workspaces/other/5/{RUN}/artifacts/m",
        f"mlflow-artifacts:/%77orkspaces/other/5/{RUN}/artifacts/m",
        f"MLFLOW-ARTIFACTS:///Workspaces/own/5/{RUN}/artifacts/m",
        f"mlflow-artifacts:/5/../workspaces/other/5/{RUN}/artifacts/m",
        f"https://portal.example/api/2.0/mlflow-artifacts/artifacts/workspaces/other/5/{RUN}/artifacts/m",
    ],
)
def test_a_versions_source_in_another_organisation_is_refused(source):
    create = match_operation("POST", "/api/2.0/mlflow/model-versions/create")
    with pytest.raises(Refusal, match="outside of the organisation"):
        store_paths.check("own", create, {"name": "m", "source": source}, "")
    store_paths.check(
        "own", create, {"name": "m", "source": f"mlflow-artifacts:/workspaces/own/5/{RUN}/m"}, ""
    )


def test_quarantined_files_are_the_same_with_and_without_the_prefix():
    plain = quarantine.files_of("mlflow-artifacts:/5/folder/model")
    prefixed = quarantine.files_of("mlflow-artifacts:/workspaces/own/5/folder/model")

    assert plain == prefixed
    assert plain.experiment_id == "5"
