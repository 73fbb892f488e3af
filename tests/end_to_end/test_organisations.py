"""Organisations with the stock client and a real MLflow: what one creates, the other cannot read, and its team can."""

import secrets
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import RestException

from tests.portals import Portal

pytestmark = [pytest.mark.mlflow, pytest.mark.postgresql]


class Team:
    """An organisation with two members, each with a key, and the stock client."""

    def __init__(self, portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
        self.slug = f"team-{secrets.token_hex(4)}"
        self.portal, self.monkeypatch = portal, monkeypatch
        portal.manage("organisation", "create", self.slug)
        self.people = [f"{self.slug}-{name}" for name in ("ann", "ben")]
        self.keys = {}
        for number, person in enumerate(self.people):
            first = portal.issue(person, "--preset", "full")  # creates the user, and so lies in `shared`
            portal.manage("revoke_key", first["id"], check=False)
            role = "member" if number else "owner"
            portal.manage("organisation", "add-member", self.slug, person, "--role", role)
            self.keys[person] = portal.issue(person, "--preset", "full")

    def client(self, number: int = 0) -> MlflowClient:
        self.monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", self.keys[self.people[number]]["key"])
        url = f"{self.portal.url}/api/mlflow"
        return MlflowClient(url, registry_uri=url)


@pytest.fixture
def teams(mlflow_portal, monkeypatch) -> tuple[Team, Team]:
    return Team(mlflow_portal, monkeypatch), Team(mlflow_portal, monkeypatch)


def test_the_same_name_is_two_models_and_neither_is_read_by_the_other(teams, tmp_path: Path):
    one, other = teams
    (tmp_path / "weights.txt").write_text("the secret weights")
    made = {}
    for team in teams:
        client = team.client()
        experiment = client.create_experiment("training")
        run = client.create_run(experiment).info
        client.log_artifact(run.run_id, str(tmp_path / "weights.txt"))
        client.create_registered_model("churn", description=team.slug)
        client.create_model_version("churn", f"{run.artifact_uri}", run.run_id)
        made[team.slug] = (experiment, run)

    client = one.client()

    assert client.get_registered_model("churn").description == one.slug
    assert [each.description for each in client.search_registered_models()] == [one.slug]
    experiment, run = made[other.slug]
    with pytest.raises(RestException, match="RESOURCE_DOES_NOT_EXIST"):
        client.get_experiment(experiment)
    with pytest.raises(RestException, match="RESOURCE_DOES_NOT_EXIST"):
        client.get_run(run.run_id)
    assert client.search_runs([experiment]) == []


def test_a_team_works_on_one_model_in_turn_and_goes_on_when_one_leaves(teams):
    team, _ = teams
    team.client(0).create_registered_model("fraud")
    team.client(1).update_registered_model("fraud", "by the second")
    team.client(0).set_registered_model_tag("fraud", "stage", "checked")

    team.portal.manage("organisation", "remove-member", team.slug, team.people[1])

    with pytest.raises(RestException, match="revoked"):
        team.client(1).get_registered_model("fraud")
    team.client(0).update_registered_model("fraud", "by the first")
    assert team.client(0).get_registered_model("fraud").description == "by the first"
