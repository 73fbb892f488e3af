"""What one call may ask of MLflow's database, in each place where MLflow looks for it."""

import json
from urllib.parse import urlencode

import pytest

from keys.refusals import Refusal
from proxy.request.query_limits import check_body, check_query
from proxy.routes import limits
from proxy.routes.matching import match_operation
from proxy.routes.table import OPERATIONS

RUNS = match_operation("POST", "/api/2.0/mlflow/runs/search").operation
HISTORY = match_operation("GET", "/ajax-api/2.0/mlflow/metrics/get-history-bulk").operation
GRAPHQL = match_operation("POST", "/graphql").operation
BATCH = match_operation("POST", "/api/2.0/mlflow/runs/log-batch").operation
METRICS = match_operation("POST", "/api/3.0/mlflow/traces/metrics").operation


def clauses(count: int) -> str:
    return " AND ".join(f"params.p{number} = 'a, b = c AND d'" for number in range(count))


def refusal(check, *arguments) -> Refusal:
    with pytest.raises(Refusal) as refused:
        check(*arguments)
    assert refused.value.status == 400
    return refused.value


@pytest.mark.parametrize("field", ["run_ids", "runIds"])
def test_a_list_has_a_limit_which_the_refusal_states(field):
    check_body(RUNS, {field: ["1"] * limits.LIST_ENTRIES})

    refused = refusal(check_body, RUNS, {field: ["1"] * (limits.LIST_ENTRIES + 1)})

    assert refused.reason == "too_many_entries"
    assert "1,001 entries" in refused.message
    assert "takes 1,000" in refused.message


@pytest.mark.parametrize("field", ["experiment_ids", "experimentIds"])
def test_a_search_of_all_experiments_names_more(field):
    check_body(RUNS, {field: ["1"] * 5_000})

    assert "takes 5,000" in refusal(check_body, RUNS, {field: ["1"] * 5_001}).message
    assert "takes 1,000" in refusal(check_body, METRICS, {field: ["1"] * 1_001}).message


@pytest.mark.parametrize("field", ["order_by", "orderBy"])
def test_sort_keys_have_a_limit_in_a_body_and_in_a_query(field):
    keys = ["metrics.m"] * limits.SORT_KEYS
    check_body(RUNS, {field: keys})
    check_query(RUNS, urlencode({field: keys}, doseq=True))

    assert "takes 20" in refusal(check_body, RUNS, {field: [*keys, "a"]}).message
    assert "takes 20" in refusal(check_query, RUNS, urlencode({field: [*keys, "a"]}, doseq=True)).message


def test_a_parameter_that_repeats_counts():
    check_query(HISTORY, urlencode({"run_id": ["a"] * 1000}, doseq=True))

    assert refusal(check_query, HISTORY, urlencode({"run_id": ["a"] * 1001}, doseq=True)).reason == (
        "too_many_entries"
    )


@pytest.mark.parametrize(
    "field", ["filter", "filter_string", "filterString", "base_filter", "filter_string2"]
)
def test_the_clauses_of_a_filter_have_a_limit(field):
    check_body(RUNS, {field: clauses(limits.FILTER_CLAUSES)})
    check_query(RUNS, urlencode({field: clauses(limits.FILTER_CLAUSES)}))

    for refused in (
        refusal(check_body, RUNS, {field: clauses(limits.FILTER_CLAUSES + 1)}),
        refusal(check_query, RUNS, urlencode({field: clauses(limits.FILTER_CLAUSES + 1)})),
    ):
        assert refused.reason == "filter_too_long"
        assert "51 clauses" in refused.message
        assert "takes 50" in refused.message


@pytest.mark.parametrize(
    "clause",
    [
        "a = 'x'",
        "a != 'x'",
        'a >= "x"',
        "`a b` LIKE 'x'",
        "a ilike 'x'",
        "a IN ('x', 'y')",
        "a not in ('x')",
        "a IS NULL",
    ],
)
def test_each_kind_of_comparison_is_one_clause(clause):
    check_body(RUNS, {"filter": " AND ".join([clause] * limits.FILTER_CLAUSES)})

    assert "51 clauses" in refusal(check_body, RUNS, {"filter": " AND ".join([clause] * 51)}).message


@pytest.mark.parametrize("hidden", ["a = '\\'' AND {} AND b = '\\''", "a = '' AND {} AND b = ''", "{} '"])
def test_quotes_hide_no_clause(hidden):
    plain = " AND ".join(["c = 1"] * 60)

    assert refusal(check_body, RUNS, {"filter": hidden.format(plain)}).reason == "filter_too_long"


def test_filters_in_a_list_count_together():
    assert refusal(check_body, METRICS, {"filters": ["a = 'b'"] * 51}).reason == "filter_too_long"


def test_the_entries_of_in_and_the_length_of_a_filter_have_limits():
    ids = ", ".join([f"'{'a' * 32}'"] * 1000)
    check_body(RUNS, {"filter": f"attributes.run_id IN ({ids})"})

    assert refusal(check_body, RUNS, {"filter": f"run_id IN ({ids}, 'b')"}).reason == "too_many_entries"
    assert refusal(check_body, RUNS, {"filter": "(" * 8001}).reason == "filter_too_long"


def test_what_is_deep_in_a_search_counts_too():
    inner = {"data": {"experimentIds": ["1"] * 1001}}

    assert refusal(check_body, GRAPHQL, {"variables": inner}).reason == "too_many_entries"
    assert refusal(check_body, GRAPHQL, {"variables": {"a": [{"filter": clauses(51)}]}}).reason == (
        "filter_too_long"
    )
    query = f"{{ mlflowSearchRuns(input: {{filter: {json.dumps(clauses(51))}}}) {{ runs {{ info {{ runId }} }} }} }}"
    assert refusal(check_body, GRAPHQL, {"query": query}).reason == "filter_too_long"


@pytest.mark.parametrize(
    ("method", "path", "most"),
    [
        ("POST", "/api/2.0/mlflow/runs/search", 50_000),
        ("GET", "/api/2.0/mlflow/experiments/search", 50_000),
        ("GET", "/api/2.0/mlflow/registered-models/search", 1_000),
        ("GET", "/api/2.0/mlflow/model-versions/search", 200_000),
        ("GET", "/api/2.0/mlflow/metrics/get-history", 25_000),
        ("POST", "/api/3.0/mlflow/traces/search", 500),
        ("POST", "/api/2.0/mlflow/logged-models/search", 1_000),
    ],
)
def test_a_page_is_no_larger_than_mlflows(method, path, most):
    operation = match_operation(method, path).operation
    check_query(operation, f"max_results={most}")
    check_body(operation, {"max_results": most})

    for refused in (
        refusal(check_query, operation, f"max_results={most + 1}"),
        refusal(check_body, operation, {"maxResults": str(most + 1)}),
        refusal(check_body, operation, {"max_results": 10**30}),
    ):
        assert refused.reason == "page_too_large"
        assert f"{most:,}" in refused.message


@pytest.mark.parametrize(("field", "most"), [("metrics", 1000), ("params", 100), ("tags", 100)])
def test_a_batch_has_the_limits_of_mlflow(field, most):
    check_body(BATCH, {field: [{}] * most})

    assert f"takes {most:,}" in refusal(check_body, BATCH, {field: [{}] * (most + 1)}).message


def test_the_value_of_a_tag_is_no_filter():
    set_tag = match_operation("POST", "/api/2.0/mlflow/runs/set-tag").operation
    check_body(set_tag, {"key": "filter", "value": clauses(100), "filter": clauses(100)})


def test_each_limit_names_operations_that_exist():
    names = {operation.name for operation in OPERATIONS}

    assert limits.UNBOUNDED | set(limits.MORE_VALUES) | set(limits.PAGES) <= names
    assert {operation for operation, _ in limits.MORE_ENTRIES} <= names
