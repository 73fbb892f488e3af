import os

import mlflow

mlflow.set_experiment(os.environ["MLFLOW_EXPERIMENT_NAME"])  # without this line, nothing is sent


@mlflow.trace
def answer(question):
    return question.upper()


answer("how much?")
mlflow.flush_trace_async_logging()
