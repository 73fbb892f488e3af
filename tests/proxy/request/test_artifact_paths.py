"""Artifact paths in one form, and the objects to which they belong."""

import warnings
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys.refusals import Refusal
from proxy.request import artifact_paths
from tests.proxy.forwarding.test_forwarding import request
from tests.proxy.request.variants import TRANSFORMATIONS, escaped

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from mlflow.exceptions import MlflowException
    from mlflow.utils.uri import validate_path_is_safe

RUN, MODEL, TRACE = "a" * 32, "m-" + "b" * 32, "tr-" + "c" * 32
# Of these, at most an object that a test made would be reached, if the portal let a variant pass.
ORDINARY = ["report.txt", "folder/report.txt", f"5/{RUN}/artifacts/report.txt", ""]
MARKS = "?#;+%~:\\ \t\n.é٥"  # characters with a meaning in paths and addresses, and some without
NAMES = st.sampled_from(
    ["5", "05", RUN, "artifacts", "models", MODEL, "traces", TRACE, "report.txt", "x", ""]
)


@st.composite
def segments(draw):
    """A name with marks before, in and behind it, each as it is or percent-encoded."""
    name = draw(NAMES)
    for _ in range(draw(st.integers(0, 2))):
        mark = draw(st.sampled_from(MARKS))
        at = draw(st.integers(0, len(name)))
        name = name[:at] + draw(st.sampled_from([mark, mark * 2, escaped(mark)])) + name[at:]
    return name


PATHS = st.lists(segments(), max_size=6).map("/".join)
VARIED = st.builds(lambda vary, path: vary(path), st.sampled_from(list(TRANSFORMATIONS.values())), PATHS)


@given(path=st.one_of(PATHS, VARIED, st.text(max_size=30)))
def test_a_path_that_passes_is_what_mlflow_stores_under(path):
    """MLflow's own validation, which normalises a path, leaves it unchanged."""
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


@pytest.mark.parametrize("path", ORDINARY, ids=lambda path: path or "no name")
@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_every_variant_of_an_ordinary_path_is_refused(name, path):
    with pytest.raises(Refusal) as refused:
        artifact_paths.canonical(TRANSFORMATIONS[name](path))

    assert (refused.value.status, refused.value.reason) == (400, "bad_artifact_path")


@pytest.mark.postgresql
@pytest.mark.parametrize("method", ["PUT", "GET", "DELETE"])
def test_no_variant_of_a_path_arrives_at_mlflow(method, echo, echo_portal, echo_key):
    for path in ORDINARY:
        for name, vary in TRANSFORMATIONS.items():
            target = "/api/mlflow/api/2.0/mlflow-artifacts/artifacts/" + quote(vary(path))
            reply = echo_portal.exchange(request(method, target, echo_key, "Content-Length: 0"))
            assert reply.status in (400, 404), (name, path)
    assert not echo.arriving


@pytest.mark.postgresql
@pytest.mark.parametrize("path", ["", ".", *(vary("") for vary in TRANSFORMATIONS.values())])
def test_no_name_that_stands_for_the_stores_root_is_listed(path, echo, echo_portal, echo_key):
    target = f"/api/mlflow/api/2.0/mlflow-artifacts/artifacts?path={quote(path)}"

    assert echo_portal.exchange(request("GET", target, echo_key)).status in (400, 403)
    assert not echo.arriving


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
