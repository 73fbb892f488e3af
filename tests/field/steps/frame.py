"""The frame of the steps: what a step is, what it gets, and how its outcome is recorded.

These files run under every MLflow client from 2.9 on, in that client's own environment, and import nothing else.
"""

import json
import os
import signal
import tempfile
import time
import traceback
import uuid

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

CLIENT = tuple(int(part) for part in mlflow.__version__.split(".")[:2])
STEP_SECONDS = 120
STEPS = []


class NotInThisRelease(Exception):
    """The client has no such function."""


class TooSlow(Exception):
    pass


def step(since="2.9", before=None, refused=""):
    """Registers a function as a step, for clients from `since` on and before `before`.

    `refused` names the section of the documents by which the portal refuses this step although MLflow allows it.
    """

    def register(function):
        first = tuple(int(part) for part in since.split("."))
        last = tuple(int(part) for part in before.split(".")) if before else (99,)
        STEPS.append((function, first <= CLIENT < last, refused))
        return function

    return register


class State:
    """What steps share: a client, an experiment of their own, and a prefix for names."""

    def __init__(self):
        self.client = MlflowClient()
        self.prefix = "compat-" + uuid.uuid4().hex[:8]
        self.experiment_id = self.client.create_experiment(self.prefix)
        self.folder = tempfile.mkdtemp()
        mlflow.set_experiment(self.prefix)

    def name(self, word):
        return self.prefix + "-" + word

    def run(self):
        """The id of a new run."""
        return self.client.create_run(self.experiment_id).info.run_id

    def file(self, name, content):
        path = os.path.join(tempfile.mkdtemp(dir=self.folder), name)
        with open(path, "wb") as file:
            file.write(content)
        return path

    def model(self, word):
        """The name of a new registered model."""
        self.client.create_registered_model(self.name(word))
        return self.name(word)

    def version(self, name):
        """The number of a new version of a model; its source is a file of a new run."""
        run = self.run()
        self.client.log_text(run, "weights", "model/weights.txt")
        return self.client.create_model_version(name, f"runs:/{run}/model", run_id=run).version


def request(method, path, **arguments):
    """A request as MLflow's client sends it, with its credentials; `path` starts with a slash."""
    from mlflow.tracking._tracking_service.utils import _get_store
    from mlflow.utils.rest_utils import http_request

    return http_request(_get_store().get_host_creds(), path, method, **arguments)


def eventually(look, seconds=4):
    """What `look` returns once it is true; MLflow's client sends some things in the background."""
    end = time.monotonic() + seconds
    while True:
        seen = look()
        if seen or time.monotonic() > end:
            return seen
        time.sleep(0.2)


def error_of(function, *arguments, **named):
    """The error code with which a call fails, or its HTTP status; AssertionError if it passes."""
    try:
        function(*arguments, **named)
    except MlflowException as error:
        return error.error_code
    except Exception as error:
        response = getattr(error, "response", None)
        if response is None:
            raise
        return response.status_code
    raise AssertionError("the call passed")


def on_alarm(*_):
    raise TooSlow(f"the step took more than {STEP_SECONDS} seconds")


def outcome(function, state):
    signal.alarm(STEP_SECONDS)
    try:
        return {"status": "ok", "value": function(state)}
    except NotInThisRelease as error:
        return {"status": "n/a", "text": str(error)}
    except BaseException as error:
        return {
            "status": "failed",
            "text": f"{type(error).__name__}: {str(error)[:1500]}",
            "traceback": traceback.format_exc()[-6000:],
        }
    finally:
        signal.alarm(0)
        while mlflow.active_run():
            mlflow.end_run()


def run_all(output):
    signal.signal(signal.SIGALRM, on_alarm)
    state = State()
    results = []
    for function, is_there, refused in STEPS:
        result = {"step": function.__name__, "refused": refused, "status": "n/a"}
        if is_there:
            started = time.monotonic()
            result.update(outcome(function, state))
            result["seconds"] = round(time.monotonic() - started, 2)
        results.append(result)
        with open(output, "w") as file:  # after each step, so that a crash loses none
            json.dump({"client": mlflow.__version__, "steps": results}, file)
