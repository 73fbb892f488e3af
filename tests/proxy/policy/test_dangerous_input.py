"""Locations of artifacts that MLflow would normalise are refused, whatever they would become."""

import pytest

from keys.refusals import Refusal
from proxy.policy import dangerous_input
from proxy.routes.matching import match_operation
from tests.proxy.request.variants import TRANSFORMATIONS

CREATE = match_operation("POST", "/api/2.0/mlflow/experiments/create")


def check(location: str) -> None:
    dangerous_input.check(CREATE, {"name": "x", "artifact_location": location}, "")


@pytest.mark.parametrize("name", [name for name in TRANSFORMATIONS if name != "a slash behind it"])
def test_an_artifact_location_in_another_form_than_the_plain_one_is_refused(name):
    with pytest.raises(Refusal) as refused:
        check("mlflow-artifacts:/" + TRANSFORMATIONS[name]("folder/part"))

    assert refused.value.status == 400


@pytest.mark.parametrize("location", ["", "mlflow-artifacts:/folder", "mlflow-artifacts:/folder/part/"])
def test_a_plain_artifact_location_passes(location):
    check(location)


@pytest.mark.parametrize(
    "folder", ["27", "27/part", f"27/{'a' * 32}/artifacts", f"part/{'a' * 32}/artifacts"]
)
@pytest.mark.parametrize("query", ["", "?", "?/part"])
def test_a_location_in_an_experiments_folder_is_refused_with_and_without_a_query(folder, query):
    with pytest.raises(Refusal):
        check(f"mlflow-artifacts:/{folder}{query}")
