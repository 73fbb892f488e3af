"""Artifact paths in one form, and whose they are."""

import warnings

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from keys.refusals import Refusal
from proxy.request import artifact_paths

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from mlflow.exceptions import MlflowException
    from mlflow.utils.uri import validate_path_is_safe

RUN, MODEL, TRACE = "a" * 32, "m-" + "b" * 32, "tr-" + "c" * 32
PARTS = st.sampled_from(
    [
        *("5", "05", RUN, "artifacts", "models", MODEL, "traces", TRACE, "x", "", ".", "..", " ", "\t", "\n"),
        *("x?", "?", "a?b", "a#b", "a+b", "~", "é", "٥", "\\", "%", "%zz", "%35", "%2e", "%3F", "%20"),
        *("file:5", "C:", "http:"),
    ]
)


@given(path=st.one_of(st.lists(PARTS, max_size=6).map("/".join), st.text(max_size=30)))
@example(path="5?/x")
@example(path=f"5/{RUN}/artifacts?")
def test_a_path_that_passes_is_what_mlflow_stores_under(path):
    """MLflow's own validation (up to ten more decodings, urlparse, …) leaves it as it is."""
    try:
        artifact_paths.canonical(path)
    except Refusal as refusal:
        assert (refusal.status, refusal.reason) == (400, "bad_artifact_path")
        return
    try:
        stored = validate_path_is_safe(path)
    except MlflowException:
        return
    assert stored == path


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (f"5/{RUN}/artifacts/x", ("run", RUN)),
        (f"5/{RUN}/artifacts", ("run", RUN)),
        (f"some/folder/{RUN}/artifacts/x", ("run", RUN)),
        (f"5/models/{MODEL}/artifacts/MLmodel", ("logged_model", MODEL)),
        (f"5/traces/{TRACE}/artifacts/traces.json", ("trace", TRACE)),
        (f"5/{RUN}/artifacts/models/{MODEL}/artifacts/x", ("run", RUN)),
        (f"5/models/{MODEL}/artifacts/{RUN}/artifacts/x", ("logged_model", MODEL)),
        ("5/x", ("experiment", "5")),
        ("5", ("experiment", "5")),
        (f"5/{RUN}", ("experiment", "5")),
        (f"5/{RUN.upper()}/artifacts/x", ("experiment", "5")),
        ("05/x", ("artifact", "05/x")),
        ("folder/x", ("artifact", "folder/x")),
    ],
)
def test_the_first_id_on_the_way_down_is_the_holder(path, expected):
    assert artifact_paths.holder(path) == expected


@pytest.mark.parametrize("path", ["5/x.txt", f"5/{RUN}/artifacts/a b.txt", "5/ä?b+c~.txt", "folder/sub"])
def test_plain_paths_pass(path):
    assert artifact_paths.canonical(path) == path
