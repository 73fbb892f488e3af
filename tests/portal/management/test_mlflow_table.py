"""An upgrade of MLflow cannot open a hole silently: what it adds is refused, and named."""

import json

import pytest
from django.core.management import CommandError, call_command

from portal.management import table_comparison
from portal.management.table_comparison import gone_routes, merge_types, new_fields, new_routes, new_tags
from proxy.routes import releases
from proxy.routes.message_types import FIELDS
from proxy.routes.parsing import parse_refused
from proxy.routes.table import OPERATIONS

pytestmark = pytest.mark.filterwarnings("ignore")

RELEASE = releases.parse("3.17.2")
GET_RUN = ("GET", "/api/2.0/mlflow/runs/get")


@pytest.fixture(scope="module")
def installed():
    from portal.management import installed_mlflow

    return installed_mlflow.routes()


def test_the_table_is_the_installed_mlflows(capsys):
    call_command("mlflow_table")

    assert "rows agree" in capsys.readouterr().out


def test_a_route_that_is_new_is_named_on_the_mount_that_serves_it(installed):
    ajax_only = ("POST", "/ajax-api/3.0/mlflow/shiny")
    both = {("GET", "/api/3.0/mlflow/bright"), ("GET", "/ajax-api/3.0/mlflow/bright")}
    other_method = ("PUT", "/api/2.0/mlflow/runs/get")

    assert new_routes(OPERATIONS, installed | {ajax_only, other_method} | both, RELEASE) == [
        ("GET", "/api/3.0/mlflow/bright"),
        ajax_only,
        other_method,
    ]


def test_a_route_that_is_gone_is_named(installed):
    ajax_only = installed - {GET_RUN}

    assert gone_routes(
        OPERATIONS, installed - {GET_RUN, ("GET", "/ajax-api/2.0/mlflow/runs/get")}, RELEASE
    ) == [GET_RUN]
    assert gone_routes(OPERATIONS, ajax_only, RELEASE) == [GET_RUN]


def test_a_row_of_another_release_is_new_in_this_one(installed):
    skills = ("GET", "/api/3.0/mlflow/skills")

    assert new_routes(OPERATIONS, installed | {skills}, RELEASE) == [skills]
    assert new_routes(OPERATIONS, installed | {skills}, releases.parse("3.18.0")) == []


def test_the_patch_refuses_what_is_new_and_ends_what_is_gone():
    new = [("POST", "/ajax-api/3.0/mlflow/shiny"), ("GET", "/api/3.0/mlflow/@{owner}/x")]
    sources = {
        "proxy/routes/served.py": "        runs.get  GET  /api/2.0/mlflow/runs/get\n",
        "proxy/routes/refused.py": "REASONS: dict[str, str] = {\n}\n",
        "proxy/routes/releases.py": 'TESTED = ("3.17", "3.18")\n',
    }
    patch = table_comparison.format_patch(sources, new, [GET_RUN], releases.parse("3.19.1"))
    added = [line[1:] for line in patch.splitlines() if line.startswith("+") and "+++" not in line]

    assert added == [
        "        runs.get  GET  /api/2.0/mlflow/runs/get until=3.18",
        f'    "{table_comparison.UNDECIDED}": """',
        "        POST   /ajax-api/3.0/mlflow/shiny since=3.19",
        "        GET    /api/3.0/mlflow/@{owner}/x since=3.19",
        '    """,',
        'TESTED = ("3.17", "3.18", "3.19")',
    ]


def test_the_notation_of_refused_rows_knows_releases():
    [row] = parse_refused({"why": "  GET /x since=3.10 until=3.17"})

    assert (row.since, row.until, row.refused) == ("3.10", "3.17", "why")
    for wrong in ("GET /x since=3.11", "GET /x from=3.10"):
        with pytest.raises(ValueError, match=r"3\.11|unknown notes from"):
            parse_refused({"why": wrong})


def test_the_command_fails_and_says_what_to_do(monkeypatch, installed, capsys):
    monkeypatch.setattr(
        "portal.management.installed_mlflow.routes", lambda: installed | {("GET", "/api/4.0/mlflow/x")}
    )
    monkeypatch.setattr("portal.management.installed_mlflow.tags", lambda: {"mlflow.shinyTag"})

    with pytest.raises(CommandError, match="is not in the table is refused"):
        call_command("mlflow_table")

    output = capsys.readouterr().out
    assert "new: GET /api/4.0/mlflow/x" in output
    assert "+        GET    /api/4.0/mlflow/x since=3.17" in output
    assert "tag: mlflow.shinyTag" in output


def test_changed_fields_are_named():
    known = json.loads(FIELDS.read_text())
    run = known["messages"]["mlflow.CreateRun"]
    installed = {
        "mlflow": "3.19.0",
        "requests": {"POST /api/2.0/mlflow/runs/create": "mlflow.CreateRun"},
        "messages": {"mlflow.CreateRun": {**run, "shiny": "string", "user_id": "int64"}},
        "oneofs": {"mlflow.CreateRun": [["user_id", "shiny"]]},
    }

    assert new_fields(known, installed) == [
        "mlflow.CreateRun.user_id was string and is int64",
        "mlflow.CreateRun.shiny is new: string",
        "mlflow.CreateRun takes only one of user_id, shiny",
    ]
    merged = table_comparison.merge_facts(known, installed)
    assert new_fields(merged, installed) == []
    assert merged["messages"]["mlflow.LogMetric"] == known["messages"]["mlflow.LogMetric"]


def test_an_enum_keeps_the_names_of_all_releases():
    assert merge_types("repeated enum A|0|B|1", "repeated enum A|0|C|2") == "repeated enum A|0|B|1|C|2"
    assert merge_types("int64", "double") == "double"


def test_new_tags_are_those_that_no_row_covers():
    assert new_tags(["mlflow.runName", "mlflow.issueDetection.schedule.x", "mlflow.new"]) == ["mlflow.new"]
