"""A Kedro project with kedro-mlflow, as `kedro new` and `kedro mlflow init` make it, with one node."""

import os
import pathlib
import subprocess
import sys
import tempfile

PIPELINES = """
from kedro.pipeline import node, pipeline

def train(depth):
    return {"loss": {"value": 0.5, "step": 1}}, "a report"

def register_pipelines():
    return {"__default__": pipeline([node(train, "params:depth", ["metrics", "report"])])}
"""
CATALOG = """
metrics:
  type: kedro_mlflow.io.metrics.MlflowMetricsHistoryDataset
report:
  type: kedro_mlflow.io.artifacts.MlflowArtifactDataset
  dataset:
    type: text.TextDataset
    filepath: data/report.txt
"""

os.environ["KEDRO_DISABLE_TELEMETRY"] = "1"
os.chdir(tempfile.mkdtemp())
kedro = [sys.executable, "-m", "kedro"]
subprocess.run(
    [*kedro, "new", "--name", "line", "--tools", "none", "--example", "n", "--telemetry", "no"], check=True
)
os.chdir("line")
subprocess.run([*kedro, "mlflow", "init"], check=True)
pathlib.Path("src/line/pipeline_registry.py").write_text(PIPELINES)
pathlib.Path("conf/base/catalog.yml").write_text(CATALOG)
pathlib.Path("conf/base/parameters.yml").write_text("depth: 3\n")
settings = pathlib.Path("conf/local/mlflow.yml")
settings.write_text(
    settings.read_text().replace("name: line", "name: " + os.environ["MLFLOW_EXPERIMENT_NAME"])
)
sys.exit(subprocess.run([*kedro, "run"], check=False).returncode)
