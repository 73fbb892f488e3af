"""Artifact paths in one form, and the objects to which they belong."""

import warnings
from urllib.parse import quote, unquote

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


@pytest.mark.parametrize(
    "path",
    [
        *("5/x.txt", f"5/{RUN}/artifacts/a b.txt", "5/ä?b+c~.txt", "folder/sub"),
        *("5/a;b.csv", "5/a;b/c", "5/100%", "5/a%zz", "5/blank behind ", f"5/{RUN}/artifacts/a%17b.png"),
    ],
)
def test_a_name_that_mlflow_leaves_as_it_is_passes(path):
    assert artifact_paths.canonical(path) == path == validate_path_is_safe(path)


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("a%20b.txt", "a b.txt"),
        ("a%252525b", "a%b"),
        ("a%1Fb", "a%1fb"),
        ("a%f0b", "a\ufffdb"),
        ("a%09b", "ab"),
    ],
)
def test_a_name_that_mlflow_would_change_is_refused_with_the_name_that_it_would_get(name, stored):
    with pytest.raises(Refusal) as refused:
        artifact_paths.canonical(f"5/{RUN}/artifacts/{name}")

    assert f"as “5/{RUN}/artifacts/{stored}”" in refused.value.message


# log_image of clients 2.11 to 3.10; the digits after the last % begin a random id.
IMAGE = "images/dog%step%{step}%timestamp%1731000000000%{start}1f2e3d-4c5b-4a69-8877-665544332211{end}"


@pytest.mark.parametrize("start", ["f0", "17", "2f", "2e", "3f", "41", "00", "0a", "20"])
@pytest.mark.parametrize(("step", "end"), [("0", ".png"), ("-1", "%compressed.webp"), ("253", ".png")])
def test_the_names_of_old_clients_images_pass_damaged_or_not_and_stay_in_their_folder(start, step, end):
    path = f"5/{RUN}/artifacts/{IMAGE.format(step=step, start=start, end=end)}"

    assert artifact_paths.canonical(path) == path
    assert validate_path_is_safe(path) == artifact_paths.stored_path(path)
    assert artifact_paths.stored_path(path).startswith(f"5/{RUN}/artifacts/images/dog")


@given(path=st.one_of(PATHS, VARIED, st.text(max_size=30), st.from_regex(artifact_paths.STOCK_IMAGE)))
def test_no_number_of_decodings_leads_out_of_the_folder(path):
    try:
        artifact_paths.canonical(path)
    except Refusal:
        return
    before, holder = path, artifact_paths.holder(path)
    for _ in range(25):
        path = unquote(path)
        assert not {"..", "."} & set(path.split("/"))
        assert "\\" not in path
        assert artifact_paths.holder(path)[0] == holder[0]
        if "/" in before:
            assert path.startswith(before.rpartition("/")[0] + "/")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        *(("skills/x/y", True), ("Skills/x", True), ("./skills/x", True), ("workspaces/a/skills/b", True)),
        *(("5/skills/x", False), ("skillset/x", False), ("", False), ("workspaces/skills", False)),
    ],
)
def test_the_folder_of_mlflows_skills(path, expected):
    assert artifact_paths.is_skill_content(path) is expected
