import asyncio

import mlflow
import numpy
from mlserver.codecs import NumpyRequestCodec
from mlserver.settings import ModelParameters, ModelSettings
from mlserver_mlflow import MLflowRuntime
from sklearn.linear_model import LogisticRegression

model = LogisticRegression().fit(numpy.array([[0.0], [1.0]]), [0, 1])
with mlflow.start_run():
    mlflow.sklearn.log_model(
        model, "model", registered_model_name="mlserver", pip_requirements=["scikit-learn"]
    )


async def serve():
    path = mlflow.artifacts.download_artifacts("models:/mlserver/1")  # MLServer itself reads files
    settings = ModelSettings(
        name="mlserver", implementation=MLflowRuntime, parameters=ModelParameters(uri=path)
    )
    runtime = MLflowRuntime(settings)
    runtime.ready = await runtime.load()
    request = NumpyRequestCodec.encode_request(numpy.array([[1.0]]))
    print((await runtime.predict(request)).outputs[0].data)


asyncio.run(serve())
