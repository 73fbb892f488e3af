import os
import subprocess

os.environ.update(ZENML_ANALYTICS_OPT_IN="false", ZENML_ENABLE_IMPLICIT_AUTH_METHODS="true")
for command in (
    "experiment-tracker register portal --flavor=mlflow --tracking_uri={MLFLOW_TRACKING_URI}"
    " --tracking_token={MLFLOW_TRACKING_TOKEN}",
    "stack register portal -o default -a default -e portal --set",
):
    subprocess.run(["zenml", *command.format(**os.environ).split()], check=True)

import mlflow  # noqa: E402
from zenml import pipeline, step  # noqa: E402


@step(experiment_tracker="portal", enable_cache=False)
def train() -> None:
    mlflow.log_param("depth", 3)
    mlflow.log_metric("loss", 0.5)


@pipeline
def zenml_pipeline():
    train()


zenml_pipeline()
