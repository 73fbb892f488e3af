"""Experiments of a test's own: with organisations, nobody has MLflow's experiment 0."""

import secrets
from collections.abc import Callable
from typing import Any


def new_experiment(client: Any) -> str:
    """The id of a new experiment of the client's user."""
    return str(client.create_experiment(f"experiment-{secrets.token_hex(4)}"))


def created_by(call: Callable[..., Any], api: str = "/api/2.0/mlflow") -> str:
    """The id of a new experiment of the caller's; `call` takes the method, the path and the JSON."""
    content = {"name": f"experiment-{secrets.token_hex(4)}"}
    return str(call("POST", f"{api}/experiments/create", content).json()["experiment_id"])
