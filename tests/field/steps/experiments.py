"""Steps on experiments."""

import multiprocessing

import mlflow
from frame import CLIENT, error_of, step
from mlflow.entities import ViewType


@step()
def experiment_is_found_by_name_and_id(s):
    experiment = s.client.get_experiment_by_name(s.prefix)
    assert experiment.experiment_id == s.experiment_id
    return s.client.get_experiment(s.experiment_id).lifecycle_stage


@step()
def experiment_with_tags(s):
    experiment_id = s.client.create_experiment(s.name("tags"), tags={"team": "vision", "ü": "ñ✓"})
    tags = s.client.get_experiment(experiment_id).tags
    return {name: tags[name] for name in ("team", "ü")}


@step()
def experiment_with_an_artifact_location_of_the_proxy(s):
    location = "mlflow-artifacts:/" + s.name("location")
    experiment_id = s.client.create_experiment(s.name("located"), artifact_location=location)
    run = s.client.create_run(experiment_id)
    s.client.log_text(run.info.run_id, "text", "note.txt")
    return [file.path for file in s.client.list_artifacts(run.info.run_id)]


@step()
def experiment_tag(s):
    s.client.set_experiment_tag(s.experiment_id, "stage", "explore")
    return s.client.get_experiment(s.experiment_id).tags["stage"]


@step(since="3.0")
def experiment_tag_is_deleted(s):
    s.client.set_experiment_tag(s.experiment_id, "gone", "1")
    s.client.delete_experiment_tag(s.experiment_id, "gone")
    return "gone" in s.client.get_experiment(s.experiment_id).tags


@step()
def experiment_is_renamed(s):
    experiment_id = s.client.create_experiment(s.name("old"))
    s.client.rename_experiment(experiment_id, s.name("new"))
    assert s.client.get_experiment(experiment_id).name == s.name("new")
    return s.client.get_experiment_by_name(s.name("old")) is None


@step()
def experiment_is_renamed_to_a_name_that_exists(s):
    experiment_id = s.client.create_experiment(s.name("second"))
    return error_of(s.client.rename_experiment, experiment_id, s.prefix)


@step()
def experiment_name_that_exists(s):
    return error_of(s.client.create_experiment, s.prefix)


@step()
def experiment_that_does_not_exist(s):
    return error_of(s.client.get_experiment, "987654321")


@step()
def experiments_are_searched_with_filter_and_pages(s):
    for number in range(3):
        s.client.create_experiment(s.name(f"page{number}"), tags={"pages": "yes"})
    where = f"name LIKE '{s.prefix}-page%' AND tags.pages = 'yes'"
    first = s.client.search_experiments(filter_string=where, max_results=2, order_by=["name ASC"])
    second = s.client.search_experiments(
        filter_string=where, max_results=2, order_by=["name ASC"], page_token=first.token
    )
    return [each.name[len(s.prefix) :] for each in list(first) + list(second)]


@step()
def experiment_is_deleted_and_restored(s):
    experiment_id = s.client.create_experiment(s.name("deleted"))
    s.client.delete_experiment(experiment_id)
    stages = [s.client.get_experiment(experiment_id).lifecycle_stage]
    found = s.client.search_experiments(
        view_type=ViewType.DELETED_ONLY, filter_string="name = '{}'".format(s.name("deleted"))
    )
    s.client.restore_experiment(experiment_id)
    return [*stages, len(found), s.client.get_experiment(experiment_id).lifecycle_stage]


def set_it(name, outcomes):
    try:
        mlflow.set_experiment(name)
        outcomes.put("ok")
    except Exception as error:
        outcomes.put(str(error)[:200])


@step()
def set_experiment_races_of_six_processes(s):
    """MLflow 2.9 has no answer to the race itself."""
    context = multiprocessing.get_context("fork")
    outcomes = context.Queue()
    processes = [context.Process(target=set_it, args=(s.name("race"), outcomes)) for _ in range(6)]
    for process in processes:
        process.start()
    results = [outcomes.get(timeout=50) for _ in processes]
    for process in processes:
        process.join(5)
    failures = [each for each in results if each != "ok"]
    if CLIENT < (2, 20):
        assert all("RESOURCE_ALREADY_EXISTS" in each for each in failures), failures
        return "some may fail"
    assert not failures, failures
    return len(results)
