"""Steps on models: logged, registered, their versions, aliases, stages and tags."""

import mlflow
from frame import CLIENT, error_of, eventually, step
from mlflow.pyfunc import PythonModel


class Doubler(PythonModel):
    def predict(self, context, model_input, params=None):
        return model_input * 2


def log_model(**more):
    where = {"name": "model"} if CLIENT >= (3, 0) else {"artifact_path": "model"}
    return mlflow.pyfunc.log_model(python_model=Doubler(), pip_requirements=["cloudpickle"], **where, **more)


def predicted(uri):
    import pandas

    return mlflow.pyfunc.load_model(uri).predict(pandas.DataFrame({"x": [1.0, 2.0]}))["x"].tolist()


@step()
def model_is_logged_and_loaded(s):
    with mlflow.start_run() as run:
        mlflow.log_metric("loss", 0.5)
        info = log_model()
    if CLIENT >= (3, 0):
        assert predicted(info.model_uri) == [2, 4]
    return predicted(f"runs:/{run.info.run_id}/model")


@step()
def model_is_logged_with_signature_example_and_code(s):
    import pandas
    from mlflow.models import infer_signature

    example = pandas.DataFrame({"x": [1.0, 2.0]})
    with mlflow.start_run():
        info = log_model(
            signature=infer_signature(example, example), input_example=example, metadata={"team": "a"}
        )
    return [predicted(info.model_uri), mlflow.models.get_model_info(info.model_uri).metadata["team"]]


@step()
def model_is_logged_and_registered_at_once(s):
    with mlflow.start_run():
        log_model(registered_model_name=s.name("at-once"))
    return predicted("models:/{}/1".format(s.name("at-once")))


@step()
def scikit_learn_model(s):
    import numpy
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression().fit(numpy.array([[0.0], [1.0]]), [0, 1])
    where = {"name": "sk"} if CLIENT >= (3, 0) else {"artifact_path": "sk"}
    with mlflow.start_run() as run:
        mlflow.sklearn.log_model(model, pip_requirements=["scikit-learn"], **where)
    return mlflow.sklearn.load_model(f"runs:/{run.info.run_id}/sk").predict([[1.0]]).tolist()


@step()
def run_is_registered(s):
    with mlflow.start_run() as run:
        log_model()
    version = mlflow.register_model(f"runs:/{run.info.run_id}/model", s.name("registered"), tags={"a": "1"})
    again = mlflow.register_model(f"runs:/{run.info.run_id}/model", s.name("registered"))
    return [version.version, again.version, predicted("models:/{}/2".format(s.name("registered")))]


@step()
def registered_model_is_created_described_and_tagged(s):
    name = s.name("described")
    s.client.create_registered_model(name, tags={"team": "vision"}, description="first")
    s.client.update_registered_model(name, "second ✓")
    s.client.set_registered_model_tag(name, "stage", "new")
    s.client.delete_registered_model_tag(name, "team")
    model = s.client.get_registered_model(name)
    return [model.description, model.tags.get("stage"), "team" in model.tags]


@step()
def registered_model_that_exists(s):
    return error_of(s.client.create_registered_model, s.model("twice"))


@step()
def registered_model_that_does_not_exist(s):
    return error_of(s.client.get_registered_model, s.name("missing"))


@step()
def registered_model_is_renamed(s):
    name = s.model("before")
    s.client.rename_registered_model(name, s.name("after"))
    return [
        s.client.get_registered_model(s.name("after")).name == s.name("after"),
        error_of(s.client.get_registered_model, name),
    ]


@step()
def registered_model_is_renamed_to_a_name_that_exists(s):
    return error_of(s.client.rename_registered_model, s.model("one"), s.model("two"))


@step()
def registered_model_is_deleted_and_created_again(s):
    name = s.model("again")
    s.version(name)
    s.client.delete_registered_model(name)
    s.client.create_registered_model(name)
    return s.version(name)


@step()
def version_from_a_run_that_the_client_names(s):
    name, run = s.model("source"), s.run()
    s.client.log_text(run, "weights", "model/weights.txt")
    source = s.client.get_run(run).info.artifact_uri + "/model"
    version = s.client.create_model_version(name, source, run_id=run, tags={"a": "1"}, description="first")
    got = s.client.get_model_version(name, version.version)
    return [got.version, got.status, got.description, got.tags["a"], got.source == source]


@step()
def version_is_described_tagged_and_deleted(s):
    name = s.model("version")
    version = s.version(name)
    s.client.update_model_version(name, version, "good")
    s.client.set_model_version_tag(name, version, "hokusai_token_id", "weather-1")
    s.client.set_model_version_tag(name, version, "gone", "1")
    s.client.delete_model_version_tag(name, version, "gone")
    got = s.client.get_model_version(name, version)
    s.client.delete_model_version(name, version)
    tags = sorted(name for name in got.tags if name in ("gone", "hokusai_token_id"))
    return [
        got.description,
        tags,
        error_of(s.client.get_model_version, name, version),
    ]


@step()
def alias(s):
    name = s.model("alias")
    versions = [s.version(name), s.version(name)]
    s.client.set_registered_model_alias(name, "champion", versions[0])
    first = s.client.get_model_version_by_alias(name, "champion").version
    s.client.set_registered_model_alias(name, "champion", versions[1])
    second = s.client.get_model_version_by_alias(name, "champion").version
    aliases = s.client.get_registered_model(name).aliases
    s.client.delete_registered_model_alias(name, "champion")
    return [first, second, aliases, error_of(s.client.get_model_version_by_alias, name, "champion")]


@step()
def model_is_loaded_by_alias(s):
    with mlflow.start_run():
        log_model(registered_model_name=s.name("loaded"))
    s.client.set_registered_model_alias(s.name("loaded"), "best", "1")
    return predicted("models:/{}@best".format(s.name("loaded")))


@step()
def stage(s):
    name = s.model("stage")
    versions = [s.version(name), s.version(name)]
    s.client.transition_model_version_stage(name, versions[0], "Staging")
    s.client.transition_model_version_stage(name, versions[1], "Staging", archive_existing_versions=True)
    latest = s.client.get_latest_versions(name, stages=["Staging", "Archived"])
    return sorted([each.version, each.current_stage] for each in latest)


@step()
def latest_versions(s):
    name = s.model("latest")
    s.version(name)
    s.version(name)
    return [each.version for each in s.client.get_latest_versions(name)]


@step()
def registered_models_are_searched_with_pages(s):
    for number in range(3):
        s.model(f"find{number}")
    where = f"name LIKE '{s.prefix}-find%'"
    first = s.client.search_registered_models(where, max_results=2, order_by=["name DESC"])
    second = s.client.search_registered_models(
        where, max_results=2, order_by=["name DESC"], page_token=first.token
    )
    return [each.name[len(s.prefix) :] for each in list(first) + list(second)]


@step()
def versions_are_searched(s):
    name = s.model("versions")
    numbers = [s.version(name) for _ in range(3)]
    s.client.set_model_version_tag(name, numbers[0], "find", "me")
    found = s.client.search_model_versions(f"name = '{name}'", order_by=["version_number ASC"])
    tagged = s.client.search_model_versions(f"name = '{name}' AND tags.find = 'me'")
    return [[each.version for each in found], [each.version for each in tagged]]


@step()
def version_is_copied_to_another_model(s):
    with mlflow.start_run():
        log_model(registered_model_name=s.name("from"))
    copy = s.client.copy_model_version("models:/{}/1".format(s.name("from")), s.name("to"))
    return [copy.version, predicted("models:/{}/1".format(s.name("to")))]


@step()
def version_where_it_is_stored(s):
    name = s.model("where")
    return s.client.get_model_version_download_uri(name, s.version(name)).split("/")[-1]


@step()
def model_name_with_odd_characters(s):
    name = s.name("größe & Co. (v2) #1 100%?")
    s.client.create_registered_model(name)
    s.client.set_registered_model_tag(name, "a", "1")
    version = s.version(name)
    s.client.set_registered_model_alias(name, "best", version)
    got = s.client.get_model_version_by_alias(name, "best")
    s.client.delete_registered_model(name)
    return [got.name == name, got.version]


@step(since="3.0")
def logged_model_is_created_tagged_searched_and_deleted(s):
    model = mlflow.create_external_model(
        name="agent", params={"temperature": "0.1"}, tags={"a": "1"}, model_type="agent"
    )
    s.client.set_logged_model_tags(model.model_id, {"b": "2"})
    s.client.delete_logged_model_tag(model.model_id, "a")
    found = s.client.search_logged_models([s.experiment_id], filter_string="name = 'agent'")
    got = s.client.get_logged_model(model.model_id)
    s.client.delete_logged_model(model.model_id)
    return [len(found), got.tags.get("b"), "a" in got.tags, got.params, str(got.status)]


@step(since="3.0")
def logged_model_with_metrics_and_a_dataset(s):
    import numpy

    data = mlflow.data.from_numpy(numpy.zeros((4, 2)), name="eval")
    with mlflow.start_run() as run:
        info = log_model()
        mlflow.log_metric("accuracy", 0.75, model_id=info.model_id, dataset=data, step=1)
    got = s.client.get_logged_model(info.model_id)
    outputs = s.client.get_run(run.info.run_id).outputs.model_outputs
    return [[[metric.key, metric.value] for metric in got.metrics], len(outputs), str(got.status)]


@step(since="3.0")
def logged_model_artifacts(s):
    with mlflow.start_run():
        info = log_model()
    s.client.log_model_artifact(info.model_id, s.file("extra.txt", b"extra"))
    listed = [file.path for file in s.client.list_logged_model_artifacts(info.model_id)]
    return ["MLmodel" in listed, "extra.txt" in listed]


@step(since="3.0")
def logged_model_is_registered_by_its_id(s):
    with mlflow.start_run():
        info = log_model()
    version = mlflow.register_model("models:/" + info.model_id, s.name("by-id"))
    return [
        version.version,
        version.model_id == info.model_id,
        predicted("models:/{}/1".format(s.name("by-id"))),
    ]


@step(since="3.0")
def model_is_active_for_traces(s):
    mlflow.set_active_model(name="active")
    try:
        with mlflow.start_span("with-model") as span:
            span.set_inputs({"q": 1})
        if hasattr(mlflow, "flush_trace_async_logging"):
            mlflow.flush_trace_async_logging()
        got = eventually(lambda: mlflow.get_trace(span.trace_id))
        return got.info.trace_metadata["mlflow.modelId"] == mlflow.get_active_model_id()
    finally:
        mlflow.clear_active_model()
