"""Register a model and load it: `register NAME`, or `load NAME VERSION` with the registry URI of the environment.

Runs in the environment of each MLflow release that `tests.field.organisations` tries.
"""

import json
import sys

import mlflow
from mlflow import MlflowClient


class Doubling(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return [2 * each for each in model_input]


def register(name: str) -> None:
    mlflow.set_experiment(f"for {name}")
    with mlflow.start_run() as run:
        mlflow.log_param("secret", "of the publisher")
        mlflow.log_text("not published", "notes.txt")
        mlflow.pyfunc.log_model(
            "model", python_model=Doubling(), registered_model_name=name, pip_requirements=[]
        )
    found = MlflowClient().search_model_versions(f"name='{name}'")
    told = {"run_id": run.info.run_id, "experiment_id": run.info.experiment_id, "versions": len(found)}
    print(json.dumps(told))


def load(name: str, version: str) -> None:
    model = mlflow.pyfunc.load_model(f"models:/{name}/{version}")
    mlflow.set_registry_uri(mlflow.get_registry_uri())
    described = MlflowClient().get_model_version(name, version)
    print(json.dumps({"predicted": model.predict([1, 2]), "run_id": described.run_id}))


if __name__ == "__main__":
    {"register": register, "load": load}[sys.argv[1]](*sys.argv[2:])
