"""The most that one request may ask for: bytes, JSON values, entries of lists, clauses of filters, page sizes. Pure.

`docs/limits.md` states the same numbers. Where MLflow 3.17 has a limit of its own, the portal's is not lower than what
MLflow's client sends.
"""

import re
from collections.abc import Mapping

from proxy.routes.operations import Operation

KIB, MIB = 1024, 1024 * 1024

SEARCH_BYTES = 64 * KIB  # of every operation that only reads
WRITE_BYTES = 4 * MIB
# Only MAX_JSON_BODY limits these: spans, a dataset's records, schema and profile, a model's signature.
UNBOUNDED = frozenset(
    {
        *("traces.start", "traces.export-otlp", "runs.log-inputs", "runs.log-model"),
        *("datasets.create", "datasets.upsert-records"),
    }
)

# The number of brackets, commas and colons outside of strings. 1,000 metrics with all their fields have 18,000.
VALUES = 40_000
MORE_VALUES = {"traces.start": 600_000}  # 5,000 spans with ten attributes have 550,000
DEPTH = 100  # levels of nesting; protobuf's JSON parser goes to 100

LIST_ENTRIES = 1_000
MORE_ENTRIES: Mapping[tuple[str, str], int] = {
    ("runs.log-batch", "params"): 100,
    ("runs.log-batch", "tags"): 100,
    ("artifacts.mpu-complete", "parts"): 10_000,
    ("datasets.delete-records", "dataset_record_ids"): 10_000,
    # mlflow.search_runs(search_all_experiments=True) names every experiment; more do not fit into SEARCH_BYTES.
    ("runs.search", "experiment_ids"): 5_000,
}
SORT_KEYS = 20
FILTER_CLAUSES = 50
FILTER_CHARACTERS = 8_000  # outside of quotes

PAGE = 50_000  # MLflow's SEARCH_MAX_RESULTS_THRESHOLD
PAGES: Mapping[str, int] = {
    "datasets.get-records": 10_000,
    "logged-models.search": 1_000,
    "mcp-servers.search": 1_000,
    "metrics.get-history": 25_000,
    "metrics.get-history-bulk": 25_000,
    "metrics.get-history-bulk-interval": 2_500,
    "model-versions.search": 200_000,
    "registered-models.search": 1_000,
    "traces.metrics": 1_000,
    "traces.search": 500,
    "traces.search-v2": 500,
}


def most_bytes(operation: Operation, most: int) -> int:
    """The largest body of an operation, at most `most` bytes (0: no limit)."""
    if operation.name in UNBOUNDED:
        return most
    own = SEARCH_BYTES if operation.is_read else WRITE_BYTES
    return min(own, most) if most else own


def most_values(operation: Operation) -> int:
    return MORE_VALUES.get(operation.name, VALUES)


def most_entries(operation: Operation, field: str) -> int:
    """`field` may also be in camelCase."""
    snake = re.sub("[A-Z]", lambda match: f"_{match[0].lower()}", field)
    return MORE_ENTRIES.get((operation.name, snake), LIST_ENTRIES)


def largest_page(operation: Operation) -> int:
    return PAGES.get(operation.name, PAGE)
