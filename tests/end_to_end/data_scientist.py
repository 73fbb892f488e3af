"""A data scientist's day with the stock client: run with MLFLOW_TRACKING_URI and MLFLOW_TRACKING_TOKEN alone.

Prints one JSON object: what was made, under names that start with the first argument. A second argument, `short`,
makes the day shorter without another kind of call: MLflow is told what the model needs (to find out takes seconds of
CPU and calls no server), and the 500 metrics come after the model (MLflow logs each metric of a run once more with it).
"""

import hashlib
import json
import os
import sys
import tempfile
from pathlib import Path

import mlflow
import numpy
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from sklearn.linear_model import LogisticRegression

SIZE = 50 * 2**20


def main(name: str, *, is_short: bool = False) -> dict[str, object]:
    client = MlflowClient()
    experiment_id = client.create_experiment(f"{name}-experiment")
    mlflow.set_experiment(experiment_id=experiment_id)
    with tempfile.TemporaryDirectory() as folder, mlflow.start_run(run_name=f"{name}-run") as run:
        mlflow.log_param("learning_rate", 0.1)
        mlflow.log_metric("loss", 0.5, step=1)
        mlflow.log_metrics({"a": 1.0, "b": float("nan")}, step=2)
        if not is_short:
            log_much(client, run.info.run_id)
        mlflow.set_tag("note", "über alles hinaus ✓")
        artifact = Path(folder) / "blob ä #1.bin".replace("#", "no")
        content = os.urandom(SIZE)
        artifact.write_bytes(content)
        mlflow.log_artifact(str(artifact), "data")
        fetched = Path(client.download_artifacts(run.info.run_id, f"data/{artifact.name}", folder + "/"))
        assert hashlib.sha256(fetched.read_bytes()).digest() == hashlib.sha256(content).digest()
        mlflow.log_text("hello", "notes/readme.txt")
        assert mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/notes/readme.txt") == "hello"
        assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["data", "notes"]

        model = LogisticRegression().fit(numpy.array([[0.0], [1.0]]), [0, 1])
        mlflow.sklearn.log_model(
            model,
            name="model",
            registered_model_name=f"{name}-model",
            pip_requirements=["scikit-learn"] if is_short else None,
        )
        if is_short:
            log_much(client, run.info.run_id)
    loaded = mlflow.sklearn.load_model(f"models:/{name}-model/1")
    assert loaded.predict([[1.0]]).tolist() == [1]

    client.set_registered_model_alias(f"{name}-model", "champion", "1")
    assert client.get_model_version_by_alias(f"{name}-model", "champion").version == "1"
    client.set_model_version_tag(f"{name}-model", "1", "quality", "good")
    client.update_registered_model(f"{name}-model", description="a model")
    version = mlflow.register_model(f"runs:/{run.info.run_id}/model", f"{name}-model")
    assert [found.name for found in client.search_registered_models(f"name = '{name}-model'")] == [
        f"{name}-model"
    ]
    assert len(client.search_model_versions(f"name = '{name}-model'")) == 2
    assert client.search_runs([experiment_id], "metrics.loss < 1")[0].info.run_id == run.info.run_id
    client.delete_registered_model_alias(f"{name}-model", "champion")
    client.delete_model_version_tag(f"{name}-model", "1", "quality")
    client.delete_model_version(f"{name}-model", version.version)  # a DELETE with a body

    with mlflow.start_span("question") as span:
        span.set_inputs({"q": 1})
    mlflow.flush_trace_async_logging()
    assert mlflow.get_trace(span.trace_id).info.trace_id == span.trace_id
    mlflow.set_trace_tag(span.trace_id, "kind", "test")
    mlflow.genai.register_prompt(name=f"{name}-prompt", template="Say {{word}}")
    client.log_metric(run.info.run_id, "late", 1.0)
    return {
        "experiment_id": experiment_id,
        "run_id": run.info.run_id,
        "user_id": client.get_run(run.info.run_id).info.user_id,
        "model_id": client.search_logged_models([experiment_id])[0].model_id,
        "model": f"{name}-model",
        "trace_id": span.trace_id,
    }


def log_much(client: MlflowClient, run_id: str) -> None:
    client.log_batch(
        run_id,
        metrics=[Metric(f"m{number}", number, 1, 0) for number in range(500)],
        params=[Param(f"p{number}", str(number)) for number in range(100)],
        tags=[RunTag("team", "vision")],
    )


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], is_short="short" in sys.argv[2:])))
