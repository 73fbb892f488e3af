"""One real round trip through the portal with the stock MLflow client, run as a program of its own.

It imports nothing of the portal and knows only MLFLOW_TRACKING_URI and MLFLOW_TRACKING_TOKEN, as a third
party would. It writes one line per step done; at the first failure the reason, and ends with status 1.
"""

import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

EXPERIMENT = "first-experiment"
MODEL = "first-model"
CONTENT = "It went through the portal and came back.\n"


def steps(folder: Path) -> Iterator[str]:
    """Do the steps one by one; each yields what it did. Done again, it uses what is there already."""
    from mlflow import MlflowClient
    from mlflow.exceptions import RestException

    client = MlflowClient()
    found = client.get_experiment_by_name(EXPERIMENT)
    experiment = found.experiment_id if found else client.create_experiment(EXPERIMENT)
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


def say(line: str) -> None:
    """Write a line at once: whoever started this shows it as it comes."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    """Run every step; the exit status is 0 only if all went well."""
    warnings.simplefilter("ignore")
    done = 0
    try:
        with tempfile.TemporaryDirectory() as folder:
            for line in steps(Path(folder)):
                say(f"ok {line}")
                done += 1
    except Exception as error:  # whatever went wrong is what the reader must see
        reason = " ".join(str(error).split()) or type(error).__name__
        say(f"failed at step {done + 1}: {reason[:400]}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
