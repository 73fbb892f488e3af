"""What the ledger tells of a day with the stock client."""

import json
from concurrent.futures import ThreadPoolExecutor

import mlflow
import pytest

from tests.end_to_end.ledger.conftest import rows
from tests.experiments import new_experiment

pytestmark = [pytest.mark.mlflow, pytest.mark.postgresql]

TAGS = {"hokusai_token_id": "msg-ai", "benchmark_metric": "accuracy", "benchmark_value": "0.9"}


@pytest.mark.filterwarnings("ignore")
def test_the_ledger_tells_who_registered_what_through_renames_and_deletions(alice, bob, name, mlflow_portal):
    alice.register(name, TAGS)
    alice.register(name)
    bob.register(f"{name}-bobs", {"hokusai_token_id": "-bad-"})
    alice.client.set_model_version_tag(name, "2", "benchmark_value", "0.8")
    alice.client.rename_registered_model(name, f"{name}-new")
    alice.client.transition_model_version_stage(f"{name}-new", "1", "Production")
    alice.client.set_registered_model_alias(f"{name}-new", "champion", "2")
    alice.client.delete_model_version(f"{name}-new", "2")
    bob.client.delete_registered_model(f"{name}-bobs")
    bob.register(f"{name}-bobs", TAGS)

    told = rows(mlflow_portal, alice.issued)
    assert [(row["operation"], row["object_name"], row["version"], row["outcome"]) for row in told] == [
        ("registered-models.create", name, "", "done"),
        ("model-versions.create", name, "1", "done"),
        ("registered-models.create", name, "", "refused_by_mlflow"),
        ("model-versions.create", name, "2", "done"),
        ("model-versions.set-tag", name, "2", "done"),
        ("registered-models.rename", name, "", "done"),
        ("model-versions.transition-stage", f"{name}-new", "1", "done"),
        ("registered-models.set-alias", f"{name}-new", "2", "done"),
        ("model-versions.delete", f"{name}-new", "2", "done"),
    ]
    assert {row["username"] for row in told} == {"alice"}
    assert told[2]["reason"] == "RESOURCE_ALREADY_EXISTS"
    assert told[1]["tags"].items() >= TAGS.items()
    assert told[1]["source"] == f"runs:/{told[1]['run_id']}/model"
    assert told[5]["new_name"] == f"{name}-new"
    assert told[6]["detail"]["stage"] == "Production"

    bobs = rows(mlflow_portal, bob.issued)
    made = [row for row in bobs if row["operation"] == "model-versions.create"]
    assert [row["version"] for row in made] == ["1", "1"]  # a model made again counts from 1
    assert made[0]["created_ms"] < made[1]["created_ms"]
    version = alice.client.get_model_version(f"{name}-bobs", "1")
    assert made[1]["created_ms"] == version.creation_timestamp

    script = (
        "from proxy.models import Registration as R; from proxy.ledger import compliance; import json; "
        "from keys.models import Namespace; "
        f"story = R.objects.effective().of_model(Namespace.shared('live'), '{name}-new').order_by('id'); "
        f"versions = list(R.objects.versions().filter(object_name__startswith='{name}').order_by('id')); "
        "now = compliance.current_versions(versions); "
        "print(json.dumps({'story': [row.operation for row in story], "
        "'rules': [[str(row.tag_rules), str(now[row.pk].finding), now[row.pk].is_deleted] for row in versions]}))"
    )
    found = json.loads(mlflow_portal.manage("shell", "--no-imports", "-c", script).stdout)
    assert len(found["story"]) == 8  # what was refused is not part of it
    complete, missing = "complete", "missing; hokusai_token_id is missing; benchmark_metric is missing"
    assert found["rules"] == [
        [complete, complete, False],
        [f"{missing}; benchmark_value is missing", missing, True],
        [
            "malformed; hokusai_token_id starts or ends with a hyphen; benchmark_metric is missing; "
            "benchmark_value is missing",
        ]
        * 2
        + [True],
        [complete, complete, False],
    ]
    assert mlflow_portal.manage("verify_ledger").stdout.startswith("The ledger is whole")


@pytest.mark.filterwarnings("ignore")
def test_prompts_and_logged_models_are_in_it(alice, name, mlflow_portal):
    client = alice.client
    mlflow.genai.register_prompt(name=name, template="Say {{word}}")
    experiment = client.create_experiment(name)
    model = client.create_logged_model(experiment, name="net").model_id
    client.set_logged_model_tags(model, {"a": "1"})
    client.finalize_logged_model(model, "READY")
    client.delete_logged_model(model)

    told = rows(mlflow_portal, alice.issued)
    assert {row["outcome"] for row in told} == {"done"}
    prompts = [row["operation"] for row in told if row["is_prompt"]]
    assert prompts == ["registered-models.create", "model-versions.create"]
    assert [row["operation"] for row in told if row["kind"] == "logged_model"] == [
        "logged-models.create",
        "logged-models.set-tags",
        "logged-models.finalize",
        "logged-models.delete",
    ]
    assert {row["object_name"] for row in told if row["kind"] == "logged_model"} == {model}


@pytest.mark.filterwarnings("ignore")
def test_parallel_registrations_by_the_stock_client_make_one_chain(alice, name, mlflow_portal):
    client = alice.client
    client.create_registered_model(name)
    run = client.create_run(new_experiment(client)).info.run_id
    with ThreadPoolExecutor(8) as pool:
        versions = list(
            pool.map(
                lambda number: client.create_model_version(name, f"runs:/{run}/model", run_id=run).version,
                range(16),
            )
        )

    told = [row for row in rows(mlflow_portal, alice.issued) if row["operation"] == "model-versions.create"]
    assert sorted(row["version"] for row in told if row["outcome"] == "done") == sorted(map(str, versions))
    assert json.loads(mlflow_portal.manage("verify_ledger", "--json").stdout)["ok"]
