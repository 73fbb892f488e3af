"""Steps that MLflow allows and the portal refuses by design; each names the section that says so."""

from frame import NotInThisRelease, step

INPUT = "docs/authorization.md: Refused for every key"
ROUTES = "docs/operations.md: Refused"


@step(refused=INPUT)
def experiment_whose_artifacts_are_files_of_the_server(s):
    s.client.create_experiment(s.name("files"), artifact_location="file://" + s.folder)


@step(refused=INPUT)
def artifacts_of_a_whole_experiment_are_listed(s):
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    s.client.log_text(s.run(), "1", "one.txt")
    root = "mlflow-artifacts:/" + s.experiment_id
    assert get_artifact_repository(root).list_artifacts()


@step(since="3.3", refused=ROUTES)
def webhooks(s):
    try:
        s.client.list_webhooks()
    except AttributeError:
        raise NotInThisRelease("webhooks") from None
