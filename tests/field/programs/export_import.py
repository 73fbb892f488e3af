import os
import subprocess
import sys
import tempfile

address, key = os.environ["MLFLOW_TRACKING_URI"], os.environ.pop("MLFLOW_TRACKING_TOKEN")
os.environ["MLFLOW_TRACKING_URI"] = address.replace("://", "://any:" + key + "@")
import mlflow  # noqa: E402

name = os.environ["MLFLOW_EXPERIMENT_NAME"]
with mlflow.start_run():
    mlflow.log_param("depth", 3)
    mlflow.log_metric("loss", 0.5)
    mlflow.log_text("hello", "notes/readme.txt")
folder = tempfile.mkdtemp()
for command in (
    ["export-experiment", "--experiment", name, "--output-dir", folder],
    ["import-experiment", "--experiment-name", name + "-copy", "--input-dir", folder],
):
    done = subprocess.run(command, check=False)
    if done.returncode:
        sys.exit(done.returncode)
copies = mlflow.search_runs(experiment_names=[name + "-copy"])
assert len(copies) == 1, copies
