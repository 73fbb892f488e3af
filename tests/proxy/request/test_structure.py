"""Values are counted as a JSON parser finds them, without parsing."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys.refusals import Refusal
from proxy.request import messages, structure
from proxy.routes.limits import DEPTH, VALUES
from proxy.routes.matching import match_operation

LOG_BATCH = match_operation("POST", "/api/2.0/mlflow/runs/log-batch").operation
TEXT = st.text(alphabet='a"\\[]{},:\n\u00e9', max_size=8)
JSON = st.recursive(
    st.none() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


def marks(value: object) -> int:
    """The brackets, commas and colons of a value's JSON."""
    if isinstance(value, list):
        return 2 + max(0, len(value) - 1) + sum(map(marks, value))
    if isinstance(value, dict):
        return 2 + max(0, len(value) - 1) + len(value) + sum(map(marks, value.values()))
    return 0


@given(JSON, st.booleans(), st.integers(1, 9))
def test_the_count_is_that_of_the_parsed_value_wherever_the_text_is_cut(value, is_ascii, size):
    content = json.dumps(value, ensure_ascii=is_ascii).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(structure, "SMALL", 0)
        patch.setattr(structure, "SLICE", size)
        structure.check(content, most=marks(value))
        if marks(value):
            with pytest.raises(Refusal):
                structure.check(content, most=marks(value) - 1)


@pytest.mark.parametrize("piece", [b"1", b"[]", b"{}", b'""', b'{"a":1}', b"[[],[]]"])
def test_many_small_values_are_refused_before_they_are_parsed(piece, monkeypatch):
    body = b'{"metrics": [' + b",".join([piece] * 50_000) + b"]}"
    monkeypatch.setattr(messages.strict_json, "loads", None)  # it is not called

    with pytest.raises(Refusal) as refused:
        messages.read(LOG_BATCH, body)

    assert (refused.value.status, refused.value.error_code) == (413, "RESOURCE_EXHAUSTED")
    assert refused.value.reason == "body_too_complex"
    assert f"{VALUES:,}" in refused.value.message
    assert not refused.value.headers


def test_the_json_in_a_json_string_is_counted_too():
    body = json.dumps('{"metrics": [' + ",".join(["1"] * 50_000) + "]}").encode()

    with pytest.raises(Refusal) as refused:
        messages.read(LOG_BATCH, body)

    assert refused.value.reason == "body_too_complex"


def test_a_long_text_is_one_value_whatever_it_contains():
    text = json.dumps([{"a": "b"}] * 20_000)
    structure.check(json.dumps({"records": text}).encode(), most=10)


def test_deep_nesting_is_refused_before_it_is_parsed():
    within, beyond = (b"[" * depth + b"1" * 20_000 + b"]" * depth for depth in (DEPTH, DEPTH + 1))
    structure.check(within, most=VALUES)
    with pytest.raises(RecursionError):
        structure.check(beyond, most=VALUES)


def test_a_small_body_is_not_counted_and_a_large_one_is_counted_fast():
    structure.check(b"[" * structure.SMALL, most=0)
    body = json.dumps({"metrics": [{"key": "loss", "value": 1.0, "timestamp": 1, "step": 0}] * 1000}).encode()

    counting, parsing = seconds(lambda: structure.check(body, most=VALUES)), seconds(lambda: json.loads(body))

    assert counting < 5 * parsing + 0.005


def seconds(run) -> float:
    """The shortest of five runs."""
    times = []
    for _ in range(5):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return min(times)
