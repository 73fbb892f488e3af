"""Train a scikit-learn model, log it with what it was made from, and register it.

    pip install mlflow scikit-learn
    export MLFLOW_TRACKING_URI=https://HOST/api/mlflow MLFLOW_TRACKING_TOKEN=hk_live_…
    python scikit_learn.py [MODEL]

MODEL is the registered model's name: yours, if nobody had it before.
"""

import sys

import mlflow
import sklearn
from mlflow.models import infer_signature
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

model_name = sys.argv[1] if len(sys.argv) > 1 else "example-iris"
features, labels = load_iris(return_X_y=True)
train_x, test_x, train_y, test_y = train_test_split(features, labels, random_state=0)

mlflow.set_experiment(model_name)
with mlflow.start_run(run_name="iris") as run:
    parameters = {"C": 0.5, "max_iter": 500}
    model = LogisticRegression(**parameters).fit(train_x, train_y)
    accuracy = model.score(test_x, test_y)
    mlflow.log_params(parameters)
    mlflow.log_metric("accuracy", accuracy)
    logged = mlflow.sklearn.log_model(
        model,
        name="model",
        signature=infer_signature(train_x, model.predict(train_x)),
        pip_requirements=[f"scikit-learn=={sklearn.__version__}"],
        registered_model_name=model_name,
    )

version = logged.registered_model_version
loaded = mlflow.sklearn.load_model(f"models:/{model_name}/{version}")
if (loaded.predict(test_x) != model.predict(test_x)).any():
    sys.exit("The model that came back from the registry is not the one that was registered.")

print(f"run {run.info.run_id}: accuracy {accuracy:.3f}")
print(f"registered {model_name}, version {version}")
