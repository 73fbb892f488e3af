import os

from dagster import job, op
from dagster_mlflow import end_mlflow_on_run_finished, mlflow_tracking


@op(required_resource_keys={"mlflow"})
def train(context):
    context.resources.mlflow.log_params({"depth": 3})
    context.resources.mlflow.log_metric("loss", 0.5)


@end_mlflow_on_run_finished
@job(resource_defs={"mlflow": mlflow_tracking})
def nightly():
    train()


nightly.execute_in_process(
    run_config={
        "resources": {
            "mlflow": {
                "config": {
                    "experiment_name": os.environ["MLFLOW_EXPERIMENT_NAME"],
                    "mlflow_tracking_uri": os.environ["MLFLOW_TRACKING_URI"],
                }
            }
        }
    }
)
