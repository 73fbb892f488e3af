"""The steps of `--write`: an experiment and a run of its own, an artifact, a registered model, a version.

Each step takes the context and returns its finding, or raises Failed or Skipped.
"""

import hashlib
import os
import secrets
import time
from urllib.parse import urlsplit

from portal.doctor.context import (
    API,
    ARTIFACTS,
    Context,
    CreatedObject,
    describe_refusal,
    missing_scopes,
)
from portal.doctor.outcomes import Failed, Skipped

SIZE = 2**20  # bytes of the artifact
PART = (1000, 1999)  # first and last byte of the Range


def create_experiment(context: Context) -> str:
    """The experiment's name depends on the key, so that a key that cannot delete it uses it again."""
    name = f"hokusai-doctor-{hashlib.sha256(context.key.encode()).hexdigest()[:12]}"
    reply = context.send("POST", f"{API}/experiments/create", content={"name": name})
    if reply.error_code == "RESOURCE_ALREADY_EXISTS":
        found = context.call("GET", f"{API}/experiments/get-by-name", query={"experiment_name": name})
        experiment = found.content.get("experiment", {})
        content = {"experiment_id": str(experiment["experiment_id"])}
        if experiment.get("lifecycle_stage") == "deleted":
            context.call("POST", f"{API}/experiments/restore", content=content)
    elif reply.status != 200:
        raise describe_refusal(reply)
    else:
        content = {"experiment_id": str(reply.content["experiment_id"])}
    context.experiment_id = content["experiment_id"]
    context.created.append(
        CreatedObject(
            name=f"experiment {name}", method="POST", path=f"{API}/experiments/delete", content=content
        )
    )
    return name


def create_run(context: Context) -> str:
    experiment = create_experiment(context)
    content = {
        "experiment_id": context.experiment_id,
        "run_name": "hokusai-doctor",
        "start_time": int(time.time() * 1000),
    }
    run = context.call("POST", f"{API}/runs/create", content=content).content.get("run", {})
    context.run_id, context.artifact_uri = run["info"]["run_id"], run["info"]["artifact_uri"]
    context.created.append(
        CreatedObject(
            name=f"run {context.run_id}",
            method="POST",
            path=f"{API}/runs/delete",
            content={"run_id": context.run_id},
        )
    )
    tags = {tag["key"]: tag["value"] for tag in run.get("data", {}).get("tags", [])}
    context.owner_id = tags.get("hokusai.user_id", "")
    context.call("POST", f"{API}/runs/update", content={"run_id": context.run_id, "status": "FINISHED"})
    return f"run {context.run_id} in the experiment {experiment}"


def artifact_path(context: Context) -> str:
    """The path of the artifact. Raises Failed if artifacts do not go through MLflow."""
    parts = urlsplit(context.artifact_uri)
    if parts.scheme != "mlflow-artifacts":
        raise Failed(
            f"MLflow keeps this run's artifacts at {parts.scheme or 'a path of its own'}:, outside MLflow, so "
            "clients would have to reach that store directly.",
            "The operator must start MLflow with --serve-artifacts and the default artifact root mlflow-artifacts:/.",
        )
    return f"{ARTIFACTS}/{parts.path.strip('/')}/hokusai-doctor.bin"


def upload(context: Context) -> str:
    path, content = artifact_path(context), os.urandom(SIZE)
    started = time.perf_counter()
    context.call("PUT", path, body=content, headers={"Content-Type": "application/octet-stream"})
    context.content = content
    context.created.append(CreatedObject(name="artifact", method="DELETE", path=path))
    return f"1 MiB in {(time.perf_counter() - started) * 1000:.0f} ms"


def download(context: Context) -> str:
    reply = context.call("GET", artifact_path(context))
    if reply.body != context.content:
        raise Failed(
            f"The artifact came back changed: {len(reply.body)} bytes instead of {SIZE}, or different ones.",
            "A server in between changes or truncates transfers; tell the portal's operator.",
        )
    return "1 MiB came back, byte for byte"


def download_range(context: Context) -> str:
    first, last = PART
    reply = context.call("GET", artifact_path(context), headers={"Range": f"bytes={first}-{last}"})
    wanted = f"bytes {first}-{last}/{SIZE}"
    if reply.status != 206 or reply.headers.get("Content-Range") != wanted:
        raise Failed(
            f"A range was requested, but status {reply.status} with {len(reply.body)} bytes came back.",
            "Interrupted downloads cannot be resumed. A server in between, or MLflow's store, ignores Range.",
        )
    if reply.body != context.content[first : last + 1]:
        raise Failed(
            "The range that came back is not the one that was requested.", "Tell the portal's operator."
        )
    return f"206, {wanted}"


def register_model(context: Context) -> str:
    context.model = context.model or f"hokusai-doctor-{context.owner_id or secrets.token_hex(4)}"
    reply = context.send("POST", f"{API}/registered-models/create", content={"name": context.model})
    if reply.error_code == "RESOURCE_ALREADY_EXISTS":
        return f"registered model {context.model} existed already"
    if reply.status != 200:
        raise describe_refusal(reply)
    path, content = f"{API}/registered-models/delete", {"name": context.model}
    context.created.append(
        CreatedObject(name=f"registered model {context.model}", method="DELETE", path=path, content=content)
    )
    return f"registered model {context.model}"


def register_version(context: Context) -> str:
    asked = {"name": context.model, "source": context.artifact_uri, "run_id": context.run_id}
    version = context.call("POST", f"{API}/model-versions/create", content=asked).content.get(
        "model_version", {}
    )
    named = {"name": context.model, "version": str(version.get("version"))}
    path = f"{API}/model-versions/delete"
    context.created.append(
        CreatedObject(name=f"version {named['version']}", method="DELETE", path=path, content=named)
    )
    again = context.call("GET", f"{API}/model-versions/get", query=named).content.get("model_version", {})
    if again.get("run_id") != context.run_id:
        raise Failed(
            "The version that came back is not the one that was registered.", "Tell the portal's operator."
        )
    return f"version {named['version']} of {context.model}, from the run"


def clean_up(context: Context) -> str:
    """Delete the created objects in reverse order, as far as the key allows."""
    if not context.created:
        raise Skipped("nothing was created")
    deleted, lacking = [], []
    while context.created:
        created = context.created.pop()
        reply = context.send(created.method, created.path, content=created.content)
        if 200 <= reply.status < 300 or reply.error_code == "RESOURCE_DOES_NOT_EXIST":
            deleted.append(created.name)
        elif missing := missing_scopes(reply):
            lacking.append(f"{created.name} ({', '.join(missing)})")
        else:
            raise Failed(
                f"The {created.name} could not be deleted: {reply.message}", describe_refusal(reply).advice
            )
    if lacking:
        done = f"deleted {', '.join(deleted)}; " if deleted else ""
        raise Skipped(f"{done}the key has no scope to delete {', '.join(lacking)}, which stay")
    return f"deleted {', '.join(deleted)}"
