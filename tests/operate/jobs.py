"""A training script, JOBS times: `python jobs.py NAME`. Prints one line of JSON: how many jobs failed, and why.

Uses MLflow's client as it is, with its own retries.
"""

import json
import os
import sys
import time

import mlflow
from mlflow import MlflowClient

NAME = sys.argv[1]
JOBS, PAUSE = int(os.environ["JOBS"]), float(os.environ["PAUSE"])


def train(number: int) -> None:
    with mlflow.start_run(run_name=f"{NAME}-{number}"):
        mlflow.log_params({"number": number, "client": NAME})
        for step in range(3):
            mlflow.log_metric("loss", 1 / (step + 1), step=step)
        mlflow.log_text(f"{NAME} {number}", "notes.txt")
        source = mlflow.get_artifact_uri()
        run = mlflow.active_run().info.run_id
    if number % 5 == 0:
        MlflowClient().create_model_version(NAME, source, run_id=run)
    assert mlflow.get_run(run).info.status == "FINISHED"


def main() -> None:
    failed = []
    mlflow.set_experiment(NAME)
    MlflowClient().create_registered_model(NAME)
    for number in range(JOBS):
        try:
            train(number)
        except Exception as error:
            failed.append(f"{number}: {type(error).__name__}: {error}"[:500])
        time.sleep(PAUSE)
    print(json.dumps({"failed": failed, "version": mlflow.__version__}))


main()
