import os
import tempfile

import ray
from ray import tune
from ray.air.integrations.mlflow import MLflowLoggerCallback


def train(config):
    tune.report({"loss": config["x"] ** 2})


ray.init(num_cpus=1, include_dashboard=False, configure_logging=False)
callback = MLflowLoggerCallback(
    tracking_uri=os.environ["MLFLOW_TRACKING_URI"], experiment_name=os.environ["MLFLOW_EXPERIMENT_NAME"]
)
tune.Tuner(
    train,
    param_space={"x": tune.grid_search([1, 2])},
    run_config=tune.RunConfig(storage_path=tempfile.mkdtemp(), callbacks=[callback], verbose=0),
).fit()
