"""Releases of MLflow's server: what the table says about each, and what operators and callers read."""

import pytest

from proxy.routes import releases
from proxy.routes.table import OPERATIONS


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("3.17.2", (3, 17)), ("2.22.5\n", (2, 22)), ("3.18.0.dev0", (3, 18)), ("3.10.0rc1", (3, 10))],
)
def test_a_version_is_read(text, numbers):
    assert releases.parse(text).numbers == numbers


@pytest.mark.parametrize("text", ["", "OK", "<html>", "3", "v3.17", "3.17.2 <b>", "3.17" + "1" * 60])
def test_what_is_no_version_is_not_taken_for_one(text):
    assert releases.parse(text) is None


@pytest.mark.parametrize(
    ("release", "since", "until", "expected"),
    [
        ("3.10.1", "3.14", "", False),
        ("3.11.0", "3.14", "", None),  # between two tested releases
        ("3.14.0", "3.14", "", True),
        ("3.18.0", "3.14", "", True),
        ("2.9.2", "3.1", "", False),
        ("3.18.0", "", "3.17", False),
        ("3.17.5", "", "3.17", True),
        ("3.15.0", "", "3.14", None),
    ],
)
def test_whether_a_release_has_a_route(release, since, until, expected):
    assert releases.parse(release).has(since=since, until=until) is expected


def test_every_tested_release_has_the_routes_that_all_clients_need():
    names = {
        "runs.create",
        "runs.log-batch",
        "model-versions.create",
        "artifacts.upload",
        "experiments.create",
    }
    for release in map(releases.parse, releases.TESTED):
        had = {row.name for row in OPERATIONS if release.has(since=row.since, until=row.until)}
        assert names <= had
    newest = releases.parse(releases.TESTED[-1])
    assert all(newest.has(since=row.since, until=row.until) for row in OPERATIONS)


def test_a_tested_release_needs_no_words():
    assert [releases.describe_release(releases.parse(f"{text}.9")) for text in releases.TESTED] == [""] * 6
    assert releases.describe_routes(releases.parse("3.17.2")) == "none"


@pytest.mark.parametrize(
    ("release", "expected", "routes"),
    [
        ("2.9.2", "What does not work: traces; logged models", "removed before 2.22"),
        ("3.12.0", "3.12.0 has not been tested", "may lack"),
        ("4.0.0", "refuses its new routes", "added after 3.18"),
    ],
)
def test_another_release_is_described(release, expected, routes):
    assert expected in releases.describe_release(releases.parse(release))
    assert routes in releases.describe_routes(releases.parse(release))
