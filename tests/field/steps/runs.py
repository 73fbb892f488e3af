"""Steps on runs: params, metrics, tags, inputs, searches."""

import math
import subprocess
import sys

import mlflow
from frame import NotInThisRelease, error_of, eventually, request, step
from mlflow.entities import Metric, Param, RunTag, ViewType


@step()
def fluent_run_with_params_metrics_and_tags(s):
    with mlflow.start_run(run_name="fluent", description="a run", tags={"a": "b"}) as run:
        mlflow.log_param("learning_rate", 0.1)
        mlflow.log_params({"depth": 3, "kind": "größer ✓"})
        mlflow.log_metric("loss", 0.5, step=1)
        mlflow.log_metrics({"accuracy": 0.75, "f1": 0.5}, step=2)
        mlflow.set_tag("note", "über alles hinaus")
        mlflow.set_tags({"x": 1, "y": ""})
    done = s.client.get_run(run.info.run_id)
    assert done.info.run_name == "fluent"
    return [
        done.info.status,
        done.data.params,
        done.data.metrics,
        {name: done.data.tags[name] for name in "axy"},
    ]


@step()
def run_that_fails_is_marked(s):
    try:
        with mlflow.start_run() as run:
            raise KeyError("a failure of the training")
    except KeyError:
        return s.client.get_run(run.info.run_id).info.status


@step()
def nested_runs(s):
    with mlflow.start_run() as parent, mlflow.start_run(nested=True) as child:
        mlflow.log_metric("inner", 1)
    assert s.client.get_parent_run(child.info.run_id).info.run_id == parent.info.run_id
    found = s.client.search_runs([s.experiment_id], f"tags.mlflow.parentRunId = '{parent.info.run_id}'")
    return len(found)


@step()
def run_is_resumed_by_its_id(s):
    run = s.run()
    with mlflow.start_run(run_id=run):
        mlflow.log_metric("resumed", 1)
    return s.client.get_run(run).data.metrics


@step()
def batch_of_a_thousand(s):
    run = s.run()
    s.client.log_batch(
        run,
        metrics=[
            Metric("m%s" % (number % 50), number, 1700000000000 + number, number) for number in range(800)
        ],
        params=[Param(f"p{number}", "v" * 100) for number in range(100)],
        tags=[RunTag(f"t{number}", "v" * 100) for number in range(100)],
    )
    data = s.client.get_run(run).data
    return [
        data.metrics["m49"],
        len(data.metrics),
        len(data.params),
        sum(name[0] == "t" for name in data.tags),
    ]


@step()
def batch_beyond_the_limit(s):
    metrics = [Metric(f"m{number}", number, 1, 0) for number in range(1001)]
    from mlflow.protos.service_pb2 import LogBatch
    from mlflow.tracking._tracking_service.utils import _get_store
    from mlflow.utils.proto_json_utils import message_to_json

    run = s.run()
    body = message_to_json(LogBatch(run_id=run, metrics=[metric.to_proto() for metric in metrics]))
    return error_of(_get_store()._call_endpoint, LogBatch, body)


@step()
def metrics_that_are_no_numbers(s):
    run = s.run()
    for number, value in enumerate((math.nan, math.inf, -math.inf, 1e-300)):
        s.client.log_metric(run, f"odd{number}", value)
    s.client.log_batch(run, metrics=[Metric("odd4", math.nan, 1, 0)])
    return [str(s.client.get_run(run).data.metrics[f"odd{number}"]) for number in range(5)]


@step()
def names_with_spaces_slashes_and_letters(s):
    run = s.run()
    s.client.log_metric(run, "val/loss: best-of 1.0", 1)
    s.client.log_param(run, "model/größe: x", "1")
    data = s.client.get_run(run).data
    return [data.metrics, data.params]


@step()
def param_that_changes(s):
    run = s.run()
    s.client.log_param(run, "warehouse", "postgresql://warehouse/train")
    s.client.log_param(run, "warehouse", "postgresql://warehouse/train")
    try:
        s.client.log_param(run, "warehouse", "postgresql://warehouse/test")
    except mlflow.exceptions.MlflowException as error:
        return [error.error_code, "Changing param values is not allowed" in str(error)]
    raise AssertionError("the call passed")


@step()
def param_of_six_thousand_characters(s):
    run = s.run()
    s.client.log_param(run, "long", "v" * 6000)
    return len(s.client.get_run(run).data.params["long"])


@step()
def value_that_looks_like_an_address(s):
    run = s.run()
    s.client.set_tag(run, "source", "s3://bucket/data?x=1&y=2#part")
    s.client.log_param(run, "command", "SELECT * FROM users; -- not ours")
    data = s.client.get_run(run).data
    return [data.tags["source"], data.params["command"]]


@step()
def tag_is_deleted(s):
    run = s.run()
    s.client.set_tag(run, "gone", "1")
    s.client.delete_tag(run, "gone")
    return [error_of(s.client.delete_tag, run, "gone"), "gone" in s.client.get_run(run).data.tags]


@step()
def metric_history(s):
    run = s.run()
    for number in range(5):
        s.client.log_metric(run, "loss", 1 / (number + 1), timestamp=1700000000000 + number, step=number)
    return [[each.step, each.value, each.timestamp] for each in s.client.get_metric_history(run, "loss")]


@step()
def history_of_many_runs(s):
    """Clients and MLflow's pages send up to a hundred run ids, each as a parameter of its own."""
    runs = [s.run() for _ in range(3)]
    for run in runs:
        s.client.log_metric(run, "loss", 0.5)
    many = runs + [f"{number:032x}" for number in range(97)]
    response = request(
        "GET", "/ajax-api/2.0/mlflow/metrics/get-history-bulk", params={"run_id": many, "metric_key": "loss"}
    )
    return [response.status_code, len(response.json()["metrics"])]


@step(since="2.10")
def history_of_many_runs_at_intervals(s):
    run = s.run()
    for number in range(20):
        s.client.log_metric(run, "loss", number, step=number)
    response = request(
        "GET",
        "/api/2.0/mlflow/metrics/get-history-bulk-interval",
        params={"run_ids": [run], "metric_key": "loss", "max_results": 5},
    )
    return [response.status_code, len(response.json().get("metrics", []))]


@step()
def metrics_in_the_background(s):
    if not hasattr(mlflow, "flush_async_logging"):
        raise NotInThisRelease("flush_async_logging")
    with mlflow.start_run() as run:
        for number in range(30):
            mlflow.log_metric("background", number, step=number, synchronous=False)
        mlflow.log_params({"one": 1}, synchronous=False)
        mlflow.flush_async_logging()
    return [
        len(s.client.get_metric_history(run.info.run_id, "background")),
        s.client.get_run(run.info.run_id).data.params,
    ]


@step()
def dataset_is_logged_as_input(s):
    import numpy

    data = mlflow.data.from_numpy(numpy.zeros((4, 2)), name="train", targets=numpy.zeros(4))
    with mlflow.start_run() as run:
        mlflow.log_input(data, context="training", tags={"split": "a"})
    inputs = s.client.get_run(run.info.run_id).inputs.dataset_inputs
    return [[each.dataset.name, {tag.key: tag.value for tag in each.tags}] for each in inputs]


@step()
def run_is_renamed_and_ended(s):
    run = s.run()
    s.client.update_run(run, status="FAILED", name="renamed")
    s.client.set_terminated(run, "KILLED", end_time=1700000000000)
    info = s.client.get_run(run).info
    return [info.status, info.run_name, info.end_time]


@step()
def run_is_deleted_and_restored(s):
    run = s.run()
    s.client.delete_run(run)
    stages = [s.client.get_run(run).info.lifecycle_stage]
    stages.append(error_of(s.client.log_metric, run, "late", 1))
    s.client.restore_run(run)
    return [*stages, s.client.get_run(run).info.lifecycle_stage]


@step()
def runs_are_searched_with_filter_order_and_pages(s):
    experiment_id = s.client.create_experiment(s.name("search"))
    for number in range(5):
        run = s.client.create_run(experiment_id).info.run_id
        s.client.log_metric(run, "loss", number)
        s.client.log_param(run, "even", number % 2 == 0)
    found, token = [], None
    while True:
        page = s.client.search_runs(
            [experiment_id],
            "metrics.loss > 0 AND params.even != 'unknown'",
            run_view_type=ViewType.ALL,
            order_by=["metrics.loss DESC"],
            max_results=2,
            page_token=token,
        )
        found += [run.data.metrics["loss"] for run in page]
        token = page.token
        if not token:
            return found


@step()
def runs_are_searched_into_a_table(s):
    table = mlflow.search_runs(experiment_names=[s.prefix], filter_string="tags.note LIKE 'über%'")
    return [len(table), "metrics.loss" in table.columns]


@step()
def search_filter_that_is_invalid(s):
    return error_of(s.client.search_runs, [s.experiment_id], "metrics.loss >> 1")


@step()
def run_that_does_not_exist(s):
    return error_of(s.client.get_run, "0" * 32)


@step()
def command_line_lists_experiments(s):
    done = subprocess.run(
        [sys.executable, "-m", "mlflow", "experiments", "search"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=55,
    )
    assert s.prefix in done.stdout, done.stdout[-1500:]
    return done.returncode


@step()
def system_metrics(s):
    try:
        import psutil  # noqa: F401
    except ImportError:
        raise NotInThisRelease("psutil is not installed") from None
    mlflow.set_system_metrics_sampling_interval(0.2)
    mlflow.set_system_metrics_samples_before_logging(1)
    with mlflow.start_run(log_system_metrics=True) as run:
        run_id = run.info.run_id
        eventually(lambda: s.client.get_run(run_id).data.metrics)
    return any(name.startswith("system/") for name in s.client.get_run(run_id).data.metrics)
