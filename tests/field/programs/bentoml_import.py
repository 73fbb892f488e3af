import bentoml
import mlflow
import numpy
from sklearn.linear_model import LogisticRegression

model = LogisticRegression().fit(numpy.array([[0.0], [1.0]]), [0, 1])
with mlflow.start_run():
    mlflow.sklearn.log_model(
        model, name="model", registered_model_name="bentoml", pip_requirements=["scikit-learn"]
    )
bentoml.mlflow.import_model("classifier", "models:/bentoml/1")
print(bentoml.mlflow.load_model("classifier:latest").predict(numpy.array([[1.0]])))
