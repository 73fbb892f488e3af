"""Steps on prompts, datasets for evaluation, evaluation, judges and reviews."""

import mlflow
from frame import CLIENT, NotInThisRelease, error_of, step
from traces import new_trace


def prompts():
    return mlflow.genai if CLIENT >= (3, 0) else mlflow


@step(since="2.21")
def prompt_is_registered_in_two_versions_and_loaded(s):
    name = s.name("prompt")
    prompts().register_prompt(name=name, template="Say {{word}}", commit_message="first", tags={"a": "1"})
    prompts().register_prompt(name=name, template="Sing {{word}} ✓")
    first = prompts().load_prompt(f"prompts:/{name}/1")
    second = prompts().load_prompt(f"prompts:/{name}/2")
    return [first.format(word="hello"), second.template, first.commit_message]


@step(since="2.21")
def prompt_alias(s):
    name = s.name("prompt-alias")
    prompts().register_prompt(name=name, template="Say {{word}}")
    prompts().set_prompt_alias(name, alias="production", version=1)
    loaded = prompts().load_prompt(f"prompts:/{name}@production").version
    prompts().delete_prompt_alias(name, alias="production")
    return int(loaded)


@step(since="3.0")
def prompts_are_searched(s):
    prompts().register_prompt(name=s.name("prompt-find"), template="a")
    found = prompts().search_prompts(filter_string="name = '{}'".format(s.name("prompt-find")))
    return [each.name == s.name("prompt-find") for each in found]


@step(since="3.0")
def prompt_tags(s):
    name = s.name("prompt-tags")
    prompts().register_prompt(name=name, template="a")
    s.client.set_prompt_tag(name, "team", "vision")
    s.client.set_prompt_version_tag(name, "1", "quality", "good")
    tags = [
        s.client.get_prompt(name).tags.get("team"),
        s.client.get_prompt_version(name, "1").tags.get("quality"),
    ]
    s.client.delete_prompt_tag(name, "team")
    s.client.delete_prompt_version_tag(name, "1", "quality")
    return tags


@step(since="3.0")
def prompt_is_deleted(s):
    name = s.name("prompt-gone")
    prompts().register_prompt(name=name, template="a")
    s.client.delete_prompt_version(name, "1")
    s.client.delete_prompt(name)
    return s.client.get_prompt(name) is None


@step(since="3.0")
def prompt_is_used_in_a_run_and_a_trace(s):
    name = s.name("prompt-used")
    prompts().register_prompt(name=name, template="Say {{word}}")
    with mlflow.start_run() as run:
        prompt = prompts().load_prompt(f"prompts:/{name}/1")
        with mlflow.start_span("uses-prompt"):
            prompt.format(word="x")
    return s.client.get_run(run.info.run_id).info.status


@step(since="3.4")
def dataset_is_created_filled_and_deleted(s):
    from mlflow.genai import datasets

    made = datasets.create_dataset(name=s.name("dataset"), experiment_id=[s.experiment_id], tags={"a": "1"})
    made.merge_records(
        [
            {"inputs": {"q": "1 + 1"}, "expectations": {"a": "2"}},
            {"inputs": {"q": "2 + 2"}, "tags": {"hard": "no"}},
        ]
    )
    got = datasets.get_dataset(dataset_id=made.dataset_id)
    records = len(got.to_df())
    datasets.set_dataset_tags(dataset_id=made.dataset_id, tags={"b": "2"})
    datasets.delete_dataset_tag(dataset_id=made.dataset_id, key="a")
    tags = datasets.get_dataset(dataset_id=made.dataset_id).tags
    found = datasets.search_datasets(experiment_ids=[s.experiment_id])
    datasets.delete_dataset(dataset_id=made.dataset_id)
    return [records, tags.get("b"), "a" in tags, len(found)]


@step(since="3.4")
def dataset_from_traces(s):
    from mlflow.genai import datasets

    made = datasets.create_dataset(name=s.name("from-traces"), experiment_id=s.experiment_id)
    trace_id = new_trace()
    mlflow.log_expectation(trace_id=trace_id, name="expected", value="1")
    made.merge_records([mlflow.get_trace(trace_id)])
    return len(datasets.get_dataset(dataset_id=made.dataset_id).to_df())


@step(since="3.5")
def dataset_in_two_experiments(s):
    from mlflow.genai import datasets

    other = s.client.create_experiment(s.name("other-dataset"))
    made = datasets.create_dataset(name=s.name("in-two"), experiment_id=s.experiment_id)
    datasets.add_dataset_to_experiments(dataset_id=made.dataset_id, experiment_ids=[other])
    got = len(datasets.get_dataset(dataset_id=made.dataset_id).experiment_ids)
    datasets.remove_dataset_from_experiments(dataset_id=made.dataset_id, experiment_ids=[other])
    return got


@step(since="3.4")
def evaluation_with_a_scorer_of_ones_own(s):
    from mlflow.genai.scorers import scorer

    @scorer
    def exact(outputs, expectations):
        return outputs == expectations["answer"]

    result = mlflow.genai.evaluate(
        data=[
            {"inputs": {"q": "1"}, "outputs": "a", "expectations": {"answer": "a"}},
            {"inputs": {"q": "2"}, "outputs": "b", "expectations": {"answer": "c"}},
        ],
        scorers=[exact],
    )
    return [result.metrics["exact/mean"], len(mlflow.search_traces(run_id=result.run_id, return_type="list"))]


@step(since="3.4")
def evaluation_of_a_function(s):
    from mlflow.genai.scorers import scorer

    @scorer
    def is_short(outputs):
        return len(outputs) < 10

    result = mlflow.genai.evaluate(
        data=[{"inputs": {"question": "a"}}, {"inputs": {"question": "b"}}],
        predict_fn=lambda question: question * 3,
        scorers=[is_short],
    )
    return result.metrics["is_short/mean"]


@step(since="3.5")
def judge_is_registered_and_deleted(s):
    """Its definition is stored; nothing runs it."""
    from mlflow.genai.judges import make_judge
    from mlflow.genai.scorers import delete_scorer, get_scorer, list_scorers

    judge = make_judge(
        name="polite", instructions="Is {{ outputs }} polite? yes or no", model="openai:/gpt-4o-mini"
    )
    judge.register(experiment_id=s.experiment_id)
    names = [each.name for each in list_scorers(experiment_id=s.experiment_id)]
    got = get_scorer(name="polite", experiment_id=s.experiment_id).name
    delete_scorer(name="polite", experiment_id=s.experiment_id, version="all")
    return [names, got]


@step(since="3.14")
def label_schema(s):
    try:
        from mlflow.genai import label_schemas
        from mlflow.genai.label_schemas import InputNumeric
    except ImportError:
        raise NotInThisRelease("label schemas") from None
    made = label_schemas.create_label_schema(
        "quality",
        type="feedback",
        input=InputNumeric(min_value=0, max_value=5),
        experiment_id=s.experiment_id,
    )
    names = [each.name for each in label_schemas.list_label_schemas(experiment_id=s.experiment_id)]
    label_schemas.delete_label_schema(schema_id=made.schema_id)
    return names


@step(since="3.17")
def review_queue(s):
    from mlflow.genai import review_queues

    trace_id = new_trace()
    queue = review_queues.create_review_queue(
        name="queue", experiment_id=s.experiment_id, queue_type="custom"
    )
    review_queues.add_items_to_review_queue(queue.queue_id, item_ids=[trace_id])
    items = len(review_queues.list_review_queue_items(queue.queue_id))
    review_queues.delete_review_queue(queue.queue_id)
    return items


@step(since="3.4")
def dataset_that_does_not_exist(s):
    from mlflow.genai import datasets

    return error_of(datasets.get_dataset, dataset_id="d-" + "0" * 32)
