"""What the portal itself asks of MLflow, and answers that are none."""

import pytest

from keys.models import Namespace
from proxy.upstream.registry import Registry, RegistryError
from proxy.upstream.workspaces import Workspace
from tests.echo import Script


def registry(url: str) -> Registry:
    return Registry(url, namespace=Namespace.shared("live"), workspace=Workspace("shared"))


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"{}", "has no “registered_model”"),
        (b'{"registered_model": "m"}', "has no “registered_model”"),
        (b"<html>", "is not JSON"),
        (b"[]", "is not JSON"),
    ],
)
def test_an_answer_that_lacks_what_was_asked_for_is_a_problem_of_mlflows_and_told_so(echo, body, problem):
    echo.script = Script(headers=[("Content-Type", "application/json")], body=body)

    with pytest.raises(RegistryError, match=rf"^MLflow's response to GET /api/2\.0/\S+ {problem}\.$"):
        registry(echo.url).model("m")


def test_what_is_not_there_is_none(echo):
    echo.script = Script(status=404, headers=[("Content-Type", "application/json")], body=b"{}")

    assert registry(echo.url).version("m", "1") is None
