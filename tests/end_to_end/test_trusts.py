"""A stock client with nothing but a signed token of a trusted issuer registers a model, and the record names both."""

import csv
import io
import json
import secrets

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import RestException

from tests.issuers import AUDIENCE, Issuer
from tests.portals import wait_for

pytestmark = [pytest.mark.mlflow, pytest.mark.postgresql]
SUBJECT = "repo:acme/models:ref:refs/heads/main"


def test_a_model_is_registered_with_a_token_alone(mlflow_portal, monkeypatch, tmp_path):
    portal, issuer = mlflow_portal, Issuer(f"https://{secrets.token_hex(4)}.example")
    slug = f"team-{secrets.token_hex(4)}"
    (tmp_path / "keys.json").write_text(json.dumps(issuer.key_set))
    portal.command("organisation", "create", slug)
    made = portal.command(
        *("create_trust", slug, "--name", "nightly", "--issuer", issuer.url, "--audience", AUDIENCE),
        *(
            "--claim",
            "repository=acme/*",
            "--jwks",
            str(tmp_path / "keys.json"),
            "--preset",
            "full",
            "--json",
        ),
    )
    trust = json.loads(made)
    url = f"{portal.url}/api/mlflow"
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", issuer.token())
    client = MlflowClient(url, registry_uri=url)

    run = client.create_run(client.create_experiment("training"))
    client.log_text(run.info.run_id, "weights", "model/weights.txt")
    client.create_registered_model("churn")
    client.create_model_version("churn", f"runs:/{run.info.run_id}/model", run.info.run_id)

    assert client.get_run(run.info.run_id).data.tags["mlflow.user"] == f"{slug}.nightly"
    ledger = portal.command("list_registrations", "--key", trust["id"], "--csv")
    rows = list(csv.DictReader(io.StringIO(ledger)))
    assert {(row["key"], row["subject"], row["outcome"]) for row in rows} == {("nightly", SUBJECT, "done")}
    assert len(rows) == 2

    def calls() -> list[dict]:
        log = portal.command("list_calls", "--key", trust["id"], "--csv")
        return list(csv.DictReader(io.StringIO(log)))

    assert wait_for(lambda: len(calls()) >= 6)
    assert {(row["key"], row["subject"]) for row in calls()} == {("nightly", SUBJECT)}
    assert "whole: " in portal.command("verify_ledger")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", issuer.token(repository="evil/models"))
    with pytest.raises(RestException, match="claim repository"):
        client.get_registered_model("churn")
