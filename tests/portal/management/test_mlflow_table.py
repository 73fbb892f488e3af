"""An upgrade of MLflow cannot open a hole silently: what it adds is refused, and named."""

import pytest
from django.core.management import CommandError, call_command

from portal.management.commands.mlflow_table import differences

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def installed():
    from portal.management import installed_mlflow

    return installed_mlflow.routes()


def test_the_table_is_the_installed_mlflows(capsys):
    call_command("mlflow_table")

    assert "rows agree" in capsys.readouterr().out


def test_a_route_that_is_new_is_named(installed):
    new = installed | {("POST", "/ajax-api/3.0/mlflow/shiny"), ("PUT", "/api/2.0/mlflow/runs/get")}

    assert differences(new) == ["new: POST /api/3.0/mlflow/shiny", "new: PUT /api/2.0/mlflow/runs/get"]


def test_a_route_that_is_gone_is_named(installed):
    gone = installed - {("GET", "/api/2.0/mlflow/runs/get")}

    assert differences(gone) == ["gone: GET /api/2.0/mlflow/runs/get"]


def test_the_command_fails_and_says_what_to_do(monkeypatch, installed, capsys):
    monkeypatch.setattr(
        "portal.management.installed_mlflow.routes", lambda: installed | {("GET", "/api/4.0/mlflow/x")}
    )

    with pytest.raises(CommandError, match="is not in the table is refused"):
        call_command("mlflow_table")

    assert "new: GET /api/4.0/mlflow/x" in capsys.readouterr().out


def test_a_changed_field_is_named(monkeypatch, capsys):
    from portal.management import installed_mlflow

    facts = installed_mlflow.facts({"POST /api/2.0/mlflow/runs/create"})
    monkeypatch.setattr("portal.management.installed_mlflow.facts", lambda served: facts)

    with pytest.raises(CommandError):
        call_command("mlflow_table")

    assert "changed: the fields" in capsys.readouterr().out
