"""One round trip through the portal with the stock MLflow client, run as a separate program.

It imports nothing of the portal and knows only MLFLOW_TRACKING_URI and MLFLOW_TRACKING_TOKEN, like a third
party. It prints one line per completed step. At the first failure it prints the reason and exits with status 1.
"""

import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

EXPERIMENT = "first-experiment"
MODEL = "first-model"
CONTENT = "This file was uploaded and downloaded through the portal.\n"


def steps(folder: Path) -> Iterator[str]:
    """Run the steps one by one; each yields a description. A second run reuses existing objects."""
    from mlflow import MlflowClient
    from mlflow.exceptions import RestException

    client = MlflowClient()
    existing = client.get_experiment_by_name(EXPERIMENT)
    experiment = existing.experiment_id if existing else client.create_experiment(EXPERIMENT)
    yield f"experiment {EXPERIMENT}"
    run = client.create_run(experiment)
    yield f"run {run.info.run_name}"
    client.log_metric(run.info.run_id, "accuracy", 0.9)
    metric = client.get_run(run.info.run_id).data.metrics.get("accuracy")
    if metric != 0.9:
        raise ValueError(f"the metric came back as {metric}")
    yield "metric accuracy logged and read back"
    (folder / "hello.txt").write_text(CONTENT)
    client.log_artifact(run.info.run_id, str(folder / "hello.txt"), "model")
    back = Path(client.download_artifacts(run.info.run_id, "model/hello.txt", str(folder)))
    if back.read_text() != CONTENT:
        raise ValueError("the artifact came back changed")
    yield "artifact uploaded, downloaded and compared"
    try:
        client.create_registered_model(MODEL)
    except RestException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    yield f"registered model {MODEL}"
    version = client.create_model_version(MODEL, f"{run.info.artifact_uri}/model", run.info.run_id)
    client.set_terminated(run.info.run_id)
    yield f"model version {version.version}"


def write(line: str) -> None:
    """Print a line at once: `make run` shows each as it arrives."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    """Run all steps; the exit status is 0 only if all passed."""
    warnings.simplefilter("ignore")
    done = 0
    try:
        with tempfile.TemporaryDirectory() as folder:
            for line in steps(Path(folder)):
                write(f"ok {line}")
                done += 1
    except Exception as error:  # any failure is reported to the user
        reason = " ".join(str(error).split()) or type(error).__name__
        write(f"failed at step {done + 1}: {reason[:400]}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
