"""Links from the portal's pages into MLflow's own."""

import pytest
from django.template import Context, Template

from proxy.routes.ui_links import address


@pytest.mark.parametrize(
    ("thing", "where"),
    [
        (("run", "0af1"), "/mlflow/#/runs/0af1"),
        (("experiment", "12"), "/mlflow/#/experiments/12"),
        (("registered_model", "a/b ä"), "/mlflow/#/models/a%2Fb%20%C3%A4"),
        (("model_version", "fraud", "3"), "/mlflow/#/models/fraud/versions/3"),
        (("model_version", "fraud"), "/mlflow/#/models/fraud"),
        (("logged_model", "m-1"), ""),
        (("trace", "tr-1"), ""),
        (("run", ""), ""),
    ],
)
def test_a_thing_has_the_address_that_mlflow_gives_it(thing, where):
    assert address("live", *thing) == where


def test_a_prompt_has_a_page_of_its_own():
    assert address("live", "model_version", "greeting", "2", is_prompt=True) == "/mlflow/#/prompts/greeting"


def test_what_is_of_the_test_environment_has_none():
    assert address("test", "run", "0af1") == ""


def test_templates_link_with_a_tag():
    template = Template('{% load mlflow %}{% mlflow_page "live" "run" name as where %}<a href="{{ where }}">')
    assert template.render(Context({"name": "0af1"})) == '<a href="/mlflow/#/runs/0af1">'
