"""Quarantined versions: no caller deletes, copies, aliases or stages one, or registers its files again."""

import pytest
from django.db import OperationalError

from keys.credentials import cache
from keys.credentials.caller import Caller
from keys.refusals import Refusal
from proxy.policy import quarantine
from proxy.routes import matching
from tests.proxy.ledger_rows import pending, row

RUN, OTHER_RUN, MODEL = "a" * 32, "b" * 32, "m-" + "c" * 32
API = "/api/2.0/mlflow"
CREATE = "POST model-versions/create"


def mark(name: str = "bad", version: str = "1", **columns) -> None:
    columns = {"source": f"runs:/{RUN}/model", "run_id": RUN, **columns}
    tags = {"hokusai.quarantine": "key leaked"}
    row(None, "model-versions.set-tag", name, version=version, actor="quarantine", tags=tags, **columns)
    quarantine.known_marks.drop(f"{columns.get('environment', 'live')} 1")  # as PostgreSQL announces it


def lift(name: str = "bad", version: str = "1") -> None:
    tags = {"hokusai.quarantine": None}
    row(None, "model-versions.delete-tag", name, version=version, actor="quarantine", tags=tags)
    quarantine.known_marks.drop("live 1")


@pytest.fixture(autouse=True)
def no_marks_in_memory():
    quarantine.known_marks.drop("live 1")


def reason_of(key, call: str, content: dict) -> str:
    method, _, path = call.partition(" ")
    try:
        prefix = "/api/2.0" if path.startswith("mlflow-artifacts") else API
        match = matching.match_operation(method, f"{prefix}/{path}")
        quarantine.check(Caller.by_key(key), match, content)
    except Refusal as refusal:
        assert refusal.status == 403
        assert "key leaked" in refusal.message
        assert "Only staff who may change keys can lift it" in refusal.message
        return refusal.reason
    return "passes"


VERSION = {"name": "bad", "version": "1"}
HARM = {
    "delete the version": ("DELETE model-versions/delete", VERSION),
    "delete it by another spelling": ("DELETE model-versions/delete", {"name": "bad", "version": " 01"}),
    "stage it": ("POST model-versions/transition-stage", {**VERSION, "stage": "Production"}),
    "give it an alias": ("POST registered-models/alias", {**VERSION, "alias": "champion"}),
    "rename its model": ("POST registered-models/rename", {"name": "bad", "new_name": "good"}),
    "delete its model": ("DELETE registered-models/delete", {"name": "bad"}),
    "copy it": (CREATE, {"name": "good", "source": "models:/bad/1"}),
    "copy it by another spelling": (CREATE, {"name": "good", "source": "models:///bad/01"}),
    "copy it by an alias": (CREATE, {"name": "good", "source": "models:/bad@champion"}),
    "copy it by a stage": (CREATE, {"name": "good", "source": "models:/bad/latest"}),
    "copy its copy": (CREATE, {"name": "good", "source": "models:/copy/1"}),
    "register its run": (CREATE, {"name": "good", "source": f"runs:/{RUN}/model", "run_id": RUN}),
    "register its folder": (CREATE, {"name": "good", "source": f"mlflow-artifacts:/0/{RUN}/artifacts/model"}),
    "register its folder encoded": (
        CREATE,
        {"name": "good", "source": f"mlflow-artifacts:/0/{RUN.replace('a', '%61')}/artifacts"},
    ),
}
HARMLESS = {
    "delete another version": ("DELETE model-versions/delete", {"name": "bad", "version": "2"}),
    "give another version an alias": (
        "POST registered-models/alias",
        {"name": "bad", "version": "2", "alias": "a"},
    ),
    "take its alias away": ("DELETE registered-models/alias", {"name": "bad", "alias": "champion"}),
    "describe it": ("PATCH model-versions/update", {**VERSION, "description": "x"}),
    "register another run": (
        CREATE,
        {"name": "bad", "source": f"runs:/{OTHER_RUN}/model", "run_id": OTHER_RUN},
    ),
    "copy another model": (CREATE, {"name": "good", "source": "models:/fine/1"}),
    "rename another model": ("POST registered-models/rename", {"name": "badly", "new_name": "good"}),
    "register a prompt": (CREATE, {"name": "prompt", "source": "prompt-template"}),
}


ARTIFACTS = "mlflow-artifacts/artifacts"
ON_FILES = {
    "delete the run": ("POST runs/delete", {"run_id": RUN}),
    "delete the experiment": ("POST experiments/delete", {"experiment_id": "7"}),
    "overwrite a file": (f"PUT {ARTIFACTS}/7/{RUN}/artifacts/model/MLmodel", {}),
    "delete a file": (f"DELETE {ARTIFACTS}/7/{RUN}/artifacts/model/MLmodel", {}),
    "delete the folder": (f"DELETE {ARTIFACTS}/7/{RUN}", {}),
    "delete the folder of all models": (f"DELETE {ARTIFACTS}/7/models", {}),
    "overwrite it in parts": (f"POST mlflow-artifacts/mpu/create/7/{RUN}/artifacts/model/a", {}),
    "overwrite it at the store": ("POST artifacts/presigned-upload-url", {"run_id": RUN, "path": "model/a"}),
}
OTHER_FILES = {
    "delete another run": ("POST runs/delete", {"run_id": OTHER_RUN}),
    "delete another experiment": ("POST experiments/delete", {"experiment_id": "8"}),
    "log to the run": ("POST runs/log-metric", {"run_id": RUN}),
    "upload to another run": (f"PUT {ARTIFACTS}/7/{OTHER_RUN}/artifacts/model/MLmodel", {}),
    "delete another model's files": (f"DELETE {ARTIFACTS}/7/models/{MODEL}/artifacts/x", {}),
}


@pytest.fixture
def registry(key):
    """A version, its copy, and another model, in the ledger."""
    source = f"runs:/{RUN}/model"
    row(key, "model-versions.create", "bad", version="1", source=source, run_id=RUN)
    row(key, "model-versions.create", "copy", version="1", source="models:/bad/1")
    row(key, "model-versions.create", "fine", version="1", source=f"runs:/{OTHER_RUN}/m", run_id=OTHER_RUN)


@pytest.mark.parametrize("act", HARM)
def test_what_would_spread_or_remove_a_quarantined_version_is_refused(act, key, registry):
    assert reason_of(key, *HARM[act]) == "passes"
    mark()
    assert reason_of(key, *HARM[act]) == "quarantined"
    lift()
    assert reason_of(key, *HARM[act]) == "passes"


@pytest.mark.parametrize("act", HARMLESS)
def test_other_writes_pass(act, key, registry):
    mark()

    assert reason_of(key, *HARMLESS[act]) == "passes"


@pytest.mark.parametrize("act", HARM)
def test_a_mark_of_an_earlier_release_does_not_state_the_files(act, key, registry):
    mark(source="", run_id="")

    assert reason_of(key, *HARM[act]) == "quarantined"


@pytest.mark.parametrize(
    ("call", "content"),
    [
        (CREATE, {"name": "good", "source": f"models:/{MODEL}", "model_id": MODEL}),
        (CREATE, {"name": "good", "source": f"mlflow-artifacts:/0/models/{MODEL}/artifacts"}),
        (f"DELETE logged-models/{MODEL}", {}),
    ],
)
def test_a_logged_models_files_are_neither_registered_again_nor_deleted(call, content, key):
    mark(source=f"models:/{MODEL}", run_id="", detail={"model_id": MODEL})

    assert reason_of(key, call, content) == "quarantined"


def test_a_folder_without_an_id_is_compared_by_its_path(key):
    mark(source="s3://bucket/models/x", run_id="")

    for source in (
        "s3://bucket/models/x",
        "s3://bucket/models/x/",
        "s3://bucket/models",
        "s3://bucket/models/x/y",
    ):
        assert reason_of(key, CREATE, {"name": "good", "source": source}) == "quarantined"
    assert reason_of(key, CREATE, {"name": "good", "source": "s3://bucket/models/xy"}) == "passes"


def test_prompts_have_one_placeholder_and_are_not_each_others_files(key):
    mark("prompt", source="prompt-template", run_id="")

    assert reason_of(key, CREATE, {"name": "other", "source": "prompt-template"}) == "passes"


def test_a_mark_or_a_lift_whose_outcome_is_unknown_leaves_the_version_in_quarantine(key):
    tags = {"hokusai.quarantine": "key leaked"}
    pending(None, "model-versions.set-tag", "bad", version="1", actor="quarantine", tags=tags)
    tags = {"hokusai.quarantine": None}
    pending(None, "model-versions.delete-tag", "bad", version="1", actor="quarantine", tags=tags)

    assert reason_of(key, *HARM["delete the version"]) == "quarantined"


def test_a_mark_that_mlflow_refused_is_none(key):
    tags = {"hokusai.quarantine": "key leaked"}
    row(
        None, "model-versions.set-tag", "bad", "refused_by_mlflow", version="1", actor="quarantine", tags=tags
    )

    assert reason_of(key, *HARM["delete the version"]) == "passes"


def test_test_keys_have_a_registry_of_their_own(key):
    mark(environment="test")

    assert reason_of(key, *HARM["delete the version"]) == "passes"


@pytest.mark.parametrize("act", HARM)
def test_it_costs_one_query_without_quarantine_and_none_for_other_writes(act, key, django_assert_num_queries):
    with django_assert_num_queries(1):  # the marks
        reason_of(key, *HARM[act])
    with django_assert_num_queries(0):
        reason_of(key, *HARMLESS["describe it"])


@pytest.mark.parametrize("act", ON_FILES)
def test_the_files_of_a_quarantined_version_are_neither_deleted_nor_overwritten(act, key, registry):
    assert reason_of(key, *ON_FILES[act]) == "passes"
    mark(detail={"experiment_id": "7"})
    assert reason_of(key, *ON_FILES[act]) == "quarantined"
    lift()
    assert reason_of(key, *ON_FILES[act]) == "passes"


@pytest.mark.parametrize("act", OTHER_FILES)
def test_other_files_are_written_and_deleted(act, key, registry):
    mark(detail={"experiment_id": "7"})

    assert reason_of(key, *OTHER_FILES[act]) == "passes"


def test_the_files_of_a_quarantined_copy_are_those_of_its_origin(key, registry):
    mark("copy", source="models:/bad/1", run_id="")

    assert reason_of(key, *ON_FILES["overwrite a file"]) == "quarantined"
    assert reason_of(key, *OTHER_FILES["upload to another run"]) == "passes"


def test_marks_are_remembered_and_hold_while_postgresql_is_away(
    key, registry, django_assert_num_queries, monkeypatch
):
    monkeypatch.setattr(cache, "UNHEARD_SECONDS", 1.0)
    mark()
    with django_assert_num_queries(1):
        reason_of(key, *OTHER_FILES["log to the run"])
        assert reason_of(key, *ON_FILES["overwrite a file"]) == "quarantined"

    def fail(environment):
        raise OperationalError

    monkeypatch.setattr(quarantine, "quarantined_versions", fail)
    quarantine.known_marks.distrust_all()
    assert reason_of(key, *ON_FILES["overwrite a file"]) == "quarantined"
    assert reason_of(key, *OTHER_FILES["upload to another run"]) == "passes"


def test_an_announced_change_of_a_mark_is_read_again(key, registry):
    assert reason_of(key, *ON_FILES["overwrite a file"]) == "passes"
    tags = {"hokusai.quarantine": "key leaked"}
    row(None, "model-versions.set-tag", "bad", version="1", actor="quarantine", tags=tags)
    cache.announce("quarantine:live 1")

    assert reason_of(key, *ON_FILES["overwrite a file"]) == "quarantined"
