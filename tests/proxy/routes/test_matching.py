"""The table of MLflow's routes: each row is found, nothing else is, and what is closed is closed."""

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys.refusals import Refusal
from proxy.routes import matching
from proxy.routes.operations import Operation
from proxy.routes.table import OPERATIONS
from tests.proxy.forwarding.test_forwarding import request

OPEN = [operation for operation in OPERATIONS if not operation.refused]
REFUSED = [operation for operation in OPERATIONS if operation.refused]
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
# Routes that would be reached in two ways if a word in the path counted, as it did before.
NAMED_LIKE_OTHERS = [
    ("GET", "/api/2.0/mlflow/logged-models/search", "logged-models.get", {"model_id": "search"}),
    ("GET", "/api/3.0/mlflow/traces/search", "traces.get-info", {"trace_id": "search"}),
    ("GET", "/api/3.0/mlflow/datasets/search", "datasets.search", {}),
    ("GET", "/api/3.0/mlflow/datasets/create", "datasets.get", {"dataset_id": "create"}),
    ("GET", "/api/3.0/mlflow/mcp-servers/endpoints", "mcp-servers.search-endpoints", {}),
    ("GET", "/api/3.0/mlflow/mcp-servers/a/b", "mcp-servers.get", {"name": "a/b"}),
    (
        "GET",
        "/api/3.0/mlflow/mcp-servers/a/b/versions/1.0/x",
        "mcp-servers.get-version",
        {"name": "a/b", "version": "1.0/x"},
    ),
    (
        "PUT",
        "/api/2.0/mlflow-artifacts/artifacts/search/get/list",
        "artifacts.upload",
        {"artifact_path": "search/get/list"},
    ),
]


def example(operation: Operation) -> str:
    """A path that this row is for."""
    path = re.sub(r"\{\w+:path\}", "some/where", operation.path)
    return re.sub(r"\{\w+\}", "something", path).rstrip("/")


def identity(operation: Operation) -> str:
    return f"{operation.method} {operation.path}"


def found(method: str, path: str) -> Operation:
    """The row for a request, closed ones too."""
    for candidate in matching.candidate_paths(path):
        root = matching.roots_by_method().get(method)
        if root and (seen := matching.walk(root, candidate.strip("/").split("/"), 0, {})):
            return seen[0]
    raise LookupError(f"{method} {path}")


def test_no_two_rows_are_for_the_same_request():
    rows = [(operation.method, re.sub(r"\{\w+", "{", operation.path)) for operation in OPERATIONS]

    assert len(rows) == len(set(rows))
    with pytest.raises(ValueError):
        matching.build_tree((*OPERATIONS, OPERATIONS[0]))


@pytest.mark.parametrize("operation", OPERATIONS, ids=identity)
def test_each_row_is_found_by_a_path_of_its_own(operation):
    assert found(operation.method, example(operation)) is operation


@pytest.mark.parametrize("operation", [row for row in OPEN if row.path.startswith("/api/")], ids=identity)
def test_the_ajax_mount_is_the_same_row_on_the_standard_path(operation):
    path = example(operation)
    match = matching.match_operation(operation.method, path.replace("/api/", "/ajax-api/", 1))

    assert (match.operation, match.path) == (operation, path)


@pytest.mark.parametrize("operation", REFUSED, ids=identity)
def test_a_closed_route_is_refused_with_the_reason(operation):
    with pytest.raises(Refusal) as caught:
        matching.match_operation(operation.method, example(operation))

    assert (caught.value.status, caught.value.error_code) == (403, "PERMISSION_DENIED")
    assert operation.refused in caught.value.message


@pytest.mark.parametrize(("method", "path", "name", "arguments"), NAMED_LIKE_OTHERS)
def test_a_name_in_a_path_is_no_other_route(method, path, name, arguments):
    match = matching.match_operation(method, path)

    assert (match.operation.name, match.arguments, match.path) == (name, arguments, path)


@pytest.mark.parametrize("operation", OPEN, ids=identity)
def test_no_row_is_found_with_something_around_its_path(operation):
    path = example(operation)
    around = [f"{path}/", f"x{path}", f"/x{path}", f"/api{path}", path.upper()]
    if not operation.path.endswith("}"):
        around += [path[:-1], f"{path}x", f"{path}?a=1"]
    for other in around:
        with contextlib.suppress(LookupError):
            assert found(operation.method, other) is not operation


@given(st.sampled_from(METHODS), st.text("/abcdeimnpst-_.{}~", max_size=60))
def test_what_is_not_in_the_table_is_not_found(method, text):
    with pytest.raises(Refusal) as caught:
        matching.match_operation(method, "/api/2.0/mlflow/" + text)

    assert (caught.value.status, caught.value.error_code) == (404, "ENDPOINT_NOT_FOUND")


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "TRACE", "get", ""])
def test_no_row_is_for_another_method(method):
    for operation in OPERATIONS:
        with pytest.raises(LookupError):
            found(method, example(operation))


def test_what_deletes_is_not_called_a_write_and_what_reads_not_either():
    """Deletes hide in POSTs and reads too, so the method alone says nothing."""
    scopes = {identity(operation): " ".join(map(str, operation.scopes)) for operation in OPEN}
    for row in ("experiments/delete", "runs/delete", "traces/delete-traces"):
        assert "delete" in scopes[f"POST /api/2.0/mlflow/{row}"]
    for row in ("runs/search", "registered-models/get-latest-versions", "experiments/search"):
        assert scopes[f"POST /api/2.0/mlflow/{row}"].endswith(":read")
    assert all("write" not in scope or not row.startswith("GET ") for row, scope in scopes.items())


@pytest.mark.postgresql
def test_no_key_reaches_a_closed_route_on_any_mount(echo, echo_portal, echo_key):
    for operation in REFUSED:
        for mount in ("/api/mlflow", "/mlflow"):
            target = mount + example(operation)
            reply = echo_portal.exchange(request(operation.method, target, echo_key, "Content-Length: 0"))
            assert (reply.status, reply.json()["error_code"]) == (403, "PERMISSION_DENIED"), target
    assert not echo.arriving


@pytest.mark.postgresql
def test_at_the_bare_host_closed_routes_are_refused_or_not_there(echo, echo_portal, echo_key):
    for operation in REFUSED:
        if operation.path != "/":
            reply = echo_portal.exchange(
                request(operation.method, example(operation), echo_key, "Content-Length: 0")
            )
            assert reply.status in (403, 404), identity(operation)
    assert not echo.arriving


def test_another_method_of_a_known_path_is_named():
    with pytest.raises(Refusal, match="This path accepts POST"):
        matching.match_operation("GET", "/api/2.0/mlflow/runs/create")
    with pytest.raises(Refusal, match="once; check whether"):
        matching.match_operation("GET", "/api/mlflow/api/2.0/mlflow/runs/get")


@pytest.mark.parametrize("path", ["/api/2.0/mlflow/experiments/list", "/api/2.0/preview/mlflow/runs/create"])
def test_a_route_of_mlflow_1_names_the_clients_age(path):
    with pytest.raises(Refusal) as refused:
        matching.match_operation("GET", path)
    assert refused.value.status == 404
    assert "older than MLflow 2" in refused.value.message
    assert "newer" not in refused.value.message
