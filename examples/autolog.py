"""Let MLflow log a training by itself: parameters, metrics, the model, and its registration. No PyTorch needed.

pip install mlflow scikit-learn
export MLFLOW_TRACKING_URI=https://HOST/api/mlflow MLFLOW_TRACKING_TOKEN=hk_live_…
python autolog.py [MODEL]
"""

import sys

import mlflow
from sklearn.datasets import load_diabetes
from sklearn.ensemble import RandomForestRegressor

model_name = sys.argv[1] if len(sys.argv) > 1 else "example-diabetes"
mlflow.sklearn.autolog(registered_model_name=model_name)
features, progression = load_diabetes(return_X_y=True)

mlflow.set_experiment(model_name)
with mlflow.start_run(run_name="diabetes") as run:
    RandomForestRegressor(n_estimators=20, random_state=0).fit(features, progression)

logged = mlflow.get_run(run.info.run_id).data
print(f"run {run.info.run_id}: {len(logged.params)} parameters, {len(logged.metrics)} metrics")
[version] = mlflow.search_model_versions(
    filter_string=f"name = '{model_name}' and run_id = '{run.info.run_id}'"
)
print(f"registered {version.name}, version {version.version}")
