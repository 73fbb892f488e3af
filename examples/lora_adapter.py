"""Upload a LoRA adapter, large files streamed, and register it with the tags that Hokusai reads.

    pip install mlflow
    export MLFLOW_TRACKING_URI=https://HOST/api/mlflow MLFLOW_TRACKING_TOKEN=hk_live_…
    python lora_adapter.py [--megabytes 64] [MODEL]

The weights are random here; yours come from `peft`'s `model.save_pretrained(folder)`, in the same two files.
"""

import argparse
import hashlib
import json
import os
import sys
import tempfile
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import RestException

BLOCK = 2**20  # bytes
# The tags that Hokusai reads from a version: its token, and its result on a benchmark.
TAGS = {
    "hokusai_token_id": "hok-summaries",  # up to 64 letters, digits and hyphens
    "benchmark_metric": "rouge_l",
    "benchmark_value": "0.412",  # a number
}


def write_adapter(folder: Path, *, megabytes: int) -> None:
    """adapter_config.json and adapter_model.safetensors: an 8-byte length, a JSON header, then the tensors."""
    config = {"peft_type": "LORA", "base_model_name_or_path": "example/base-7b", "r": 16, "lora_alpha": 32}
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2))
    size = megabytes * BLOCK
    tensor = {"dtype": "F16", "shape": [size // 32, 16], "data_offsets": [0, size]}
    header = json.dumps({"base_model.model.lora_A.weight": tensor}).encode()
    with (folder / "adapter_model.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for _ in range(megabytes):
            file.write(os.urandom(BLOCK))


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of each file, by its name."""
    by_name = {}
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            by_name[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return by_name


def register(name: str, *, megabytes: int, folder: Path) -> None:
    client = MlflowClient()
    adapter = folder / "adapter"
    adapter.mkdir()
    write_adapter(adapter, megabytes=megabytes)
    mlflow.set_experiment(name)
    with mlflow.start_run(run_name="lora") as run:
        mlflow.log_params({"r": 16, "lora_alpha": 32})
        mlflow.log_metric(TAGS["benchmark_metric"], float(TAGS["benchmark_value"]))
        mlflow.log_artifacts(str(adapter), "adapter")
    print(f"run {run.info.run_id}: {megabytes} MiB of weights uploaded")

    try:
        client.create_registered_model(name)
    except RestException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    source = f"{run.info.artifact_uri}/adapter"
    version = client.create_model_version(name, source, run.info.run_id, tags=TAGS)
    print(f"registered {name}, version {version.version}")

    back = folder / "back"
    back.mkdir()
    mlflow.artifacts.download_artifacts(f"models:/{name}/{version.version}", dst_path=str(back))
    if digests(back) != digests(adapter):
        sys.exit("The weights that came back from the registry are not those that went up.")
    print("downloaded and compared")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", default="example-lora", help="the registered model's name")
    parser.add_argument("--megabytes", type=int, default=64, help="the size of the weights (default: 64)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        register(given.model, megabytes=given.megabytes, folder=Path(temporary))
