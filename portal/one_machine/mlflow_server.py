"""`mlflow server` with one worker, in one process: the program that `start_mlflow` starts.

The command itself starts uvicorn in a second Python, which loads MLflow once more, and then only waits for it:
2 s of CPU time and 170 MB for nothing.
"""

import os
from typing import Any

import mlflow.server
import uvicorn
from mlflow.cli import cli


def run_here(command: list[str], *, extra_env: dict[str, str], **options: Any) -> None:
    """Run uvicorn here until it ends, and exit, where MLflow would start `python -m uvicorn …`."""
    if command[1:3] != ["-m", "uvicorn"]:
        raise SystemExit(f"MLflow starts {command[:3]}, not uvicorn: this release needs another start.")
    os.environ.update(extra_env)
    uvicorn.main(command[3:])


if __name__ == "__main__":
    vars(mlflow.server)["_exec_cmd"] = run_here
    cli()
