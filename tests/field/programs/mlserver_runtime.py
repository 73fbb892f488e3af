import asyncio

import mlflow
import numpy
from mlserver.codecs import NumpyCodec
from mlserver.settings import ModelParameters, ModelSettings
from mlserver.types import InferenceRequest
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
    request = InferenceRequest(inputs=[NumpyCodec.encode_input("predict", numpy.array([[1.0]]))])
    request.parameters = None
    print((await runtime.predict(request)).outputs[0].data)


asyncio.run(serve())
