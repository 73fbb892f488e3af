"""Creates runs, experiments, models and versions in a loop until the file OUTPUT.stop exists, with the retries that
MLflow's client has by itself. Each line of OUTPUT is a creation: kind, name, id, error ("": none).

Runs under every MLflow client from 2.22 on, in that client's own environment.
"""

import json
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mlflow import MlflowClient

OUTPUT = Path(sys.argv[1])
STOP = OUTPUT.with_suffix(".stop")
THREADS, ROUNDS = 24, 4
EXPERIMENT = os.environ["EXPERIMENT_ID"]
lock = threading.Lock()
output = OUTPUT.open("w")


def attempt(kind, name, create):
    """The id of what `create` returns; None after an error."""
    made, error = None, ""
    try:
        made = create()
    except Exception as problem:
        error = " ".join(f"{type(problem).__name__}: {problem}".split())[:500]
    with lock:
        output.write(json.dumps([kind, name, made or "", error]) + "\n")
        output.flush()
    return made


def create_all(client, name, with_model):
    run = attempt("run", name, lambda: client.create_run(EXPERIMENT, run_name=name).info.run_id)
    if run is None:
        return
    attempt("metric", name, lambda: client.log_metric(run, "loss", 0.5) or run)
    attempt("artifact", name, lambda: client.log_text(run, name, "name.txt") or run)
    if with_model:
        attempt("experiment", name, lambda: client.create_experiment(name))
        if attempt("model", name, lambda: client.create_registered_model(name).name):
            source = client.get_run(run).info.artifact_uri
            attempt("version", name, lambda: client.create_model_version(name, source, run_id=run).version)


def work(thread):
    client = MlflowClient()
    number = 0
    while number < ROUNDS or not STOP.exists():
        create_all(client, f"{thread:02}-{number:04}", with_model=number % 4 == thread % 4)
        number += 1


with ThreadPoolExecutor(THREADS) as threads:
    list(threads.map(work, range(THREADS)))
