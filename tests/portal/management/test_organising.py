"""The plan of a move into organisations, and that a move that stops at any step continues, without a server."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from keys.actions import organisations
from keys.models import User
from portal.management import experiment_objects, organise_plan, organising
from portal.management.experiment_files import DiskFiles, FilesError
from portal.management.experiment_objects import Experiment
from portal.management.organise_plan import Move, Plan
from proxy.models import ArtifactEvent

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]
EXPERIMENTS = {"1": "north", "2": "north", "3": "south", "4": "shared"}


class Stopped(BaseException):
    """As an interrupt or a kill is no Exception."""


def new_experiment(number: str, folder: str) -> Experiment:
    return Experiment(id=number, name=f"name {number}", folder=folder, runs=(), users=frozenset())


class Mlflow:
    """The rows of an MLflow: the workspace of each experiment. Steps are counted, and the chosen one stops."""

    def __init__(self, move: Move) -> None:
        self.move, self.rows = move, dict.fromkeys(EXPERIMENTS, "default")
        self.steps, self.stops_at, self.recorded = 0, 0, set[str]()

    def step(self, act: Callable[..., Any]) -> Callable[..., Any]:
        """Stops before the step, or with the next number after it."""

        def wrapped(*arguments: Any, **options: Any) -> Any:
            self.count()
            done = act(*arguments, **options)
            self.count()
            return done

        return wrapped

    def count(self) -> None:
        self.steps += 1
        if self.steps == self.stops_at:
            raise Stopped

    def plan(self) -> Plan:
        plan = Plan()
        for number, workspace in self.rows.items():
            if workspace == "default":
                experiment = new_experiment(number, number)
                plan.experiments[EXPERIMENTS[number]].append(experiment)
        return plan

    def move_rows(self, move: Move, moves: list[tuple[str, str, list[str]]]) -> None:
        for slug, kind, names in moves:
            for name in names:
                assert kind == "experiments"
                self.rows[name.removeprefix("name ")] = slug

    def in_workspace(self, slug: str) -> list[dict[str, str]]:
        return [{"experiment_id": number} for number, workspace in self.rows.items() if workspace == slug]


@pytest.fixture
def move(tmp_path) -> Move:
    for slug in ("north", "south"):
        organisations.create_organisation(slug=slug)
    for number in EXPERIMENTS:
        (tmp_path / number).mkdir()
        (tmp_path / number / "file").write_text(f"of {number}")
    table = {"usr_1": "north", "usr_2": "south"}
    return Move(environment="live", source="default", database_url="", files=DiskFiles(tmp_path), table=table)


@pytest.fixture
def mlflow(move, monkeypatch) -> Mlflow:
    server = Mlflow(move)
    monkeypatch.setattr(organising, "make_workspace", server.step(lambda move, organisation: None))
    monkeypatch.setattr(organising, "move_rows", server.step(server.move_rows))
    record = server.step(lambda move, organisation: server.recorded.add(organisation.slug))
    monkeypatch.setattr(organising, "record", record)
    monkeypatch.setattr(organising, "registry_in", lambda move, organisation: organisation.slug)
    monkeypatch.setattr(organising, "search_experiments", server.in_workspace)
    for name in ("place", "remove"):
        monkeypatch.setattr(DiskFiles, name, server.step(getattr(DiskFiles, name)))
    return server


def carry_out(mlflow: Mlflow) -> None:
    organising.carry_out(mlflow.move, mlflow.plan(), notify=lambda text: None)


def test_a_move_that_stops_before_or_after_any_step_continues(mlflow, tmp_path):
    carry_out(mlflow)
    steps, final = mlflow.steps, {path.relative_to(tmp_path) for path in tmp_path.rglob("file")}
    assert steps == 2 * (3 + 4 + 1 + 3 + 4)
    assert final == {Path(f"workspaces/{slug}/{number}/file") for number, slug in EXPERIMENTS.items()}

    for stops_at in range(1, steps + 1):
        for path in final:
            (tmp_path / path.parent).rename(tmp_path / path.parent.name)
        mlflow.rows, mlflow.recorded = dict.fromkeys(EXPERIMENTS, "default"), set()
        mlflow.steps, mlflow.stops_at = 0, stops_at
        with pytest.raises(Stopped):
            carry_out(mlflow)
        moved = {number for number, workspace in mlflow.rows.items() if workspace != "default"}
        assert all(
            (tmp_path / f"workspaces/{EXPERIMENTS[number]}/{number}/file").exists() for number in moved
        )
        mlflow.stops_at = 0
        carry_out(mlflow)

        assert {path.relative_to(tmp_path) for path in tmp_path.rglob("file")} == final, stops_at
        assert (mlflow.rows, mlflow.recorded) == (EXPERIMENTS, {"north", "south", "shared"})


def test_files_in_one_folder_are_not_split_between_organisations():
    plan = Plan()
    folders = {"north": ["1", "ours", "ours/a", "10"], "south": ["ours/b", "ours-too", "2"]}
    for slug, names in folders.items():
        plan.experiments[slug] += [new_experiment(f"{slug} {name}", name) for name in names]

    organise_plan.find_shared_folders(plan)

    [conflict] = plan.conflicts
    assert conflict.startswith(
        "Experiments north ours of north and south ours/b of south store files in one folder, ours,"
    )


@pytest.mark.parametrize(
    ("location", "folder"),
    [
        ("mlflow-artifacts:/7", "7"),
        ("mlflow-artifacts:/ours/x", "ours/x"),
        ("mlflow-artifacts:/workspaces/north/7", "7"),
        ("s3://elsewhere/x", "7"),
        ("", "7"),
    ],
)
def test_where_an_experiments_files_are(location, folder):
    assert experiment_objects.folder_of({"experiment_id": "7", "artifact_location": location}) == folder


def test_digests_go_where_the_files_go_once():
    at, digest = timezone.now(), {"size": 1, "sha256": "a" * 64}
    for path, kind in (
        ("1/x", "uploaded"),
        ("1/x", "kept"),
        ("10/x", "uploaded"),
        ("1/" + "x" * 1020, "read"),
    ):
        ArtifactEvent.objects.create(environment="live", path=path, kind=kind, at=at, **digest)
    for _ in range(2):
        ArtifactEvent.objects.copy_folder("live", "1", "workspaces/north/1")

    moved = ArtifactEvent.objects.filter(path__startswith="workspaces/").order_by("id")
    assert [(each.path, each.kind, each.at) for each in moved] == [
        ("workspaces/north/1/x", "uploaded", at),
        ("workspaces/north/1/x", "kept", at),
    ]


def test_everything_is_read_through_mlflow_afterwards(mlflow, monkeypatch):
    carry_out(mlflow)
    told: list[str] = []

    def read(slug: str, path: str) -> Any:
        [found] = [sha for name, sha in mlflow.move.files.digests(f"workspaces/{slug}/{path.split('/')[0]}")]
        return type("Read", (), {"sha256": found})

    monkeypatch.setattr(organising, "read_file", read)
    assert organising.verify(mlflow.move, notify=told.append) == 4
    assert "north: 2 files read, as they are in the store" in told

    monkeypatch.setattr(organising, "read_file", lambda slug, path: None)
    with pytest.raises(FilesError, match="does not serve workspaces/north/1/file"):
        organising.verify(mlflow.move, notify=told.append)


def test_the_command_that_moves_rows_ends_with_the_one_that_started_it():
    """Killed with -9, `organise` leaves nothing running that its next run could meet."""
    code = organising.MOVES.replace("from mlflow.cli import cli", "import time; cli = time").replace(
        "cli.main(arguments, standalone_mode=False)", "print('begun', flush=True), time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin
    assert process.stdout
    process.stdin.write(b"[1]\n")
    process.stdin.flush()
    assert process.stdout.readline() == b"begun\n"
    process.stdin.close()  # as the end of the parent does

    assert process.wait(10) == 1
    process.stdout.close()


class TestPlan:
    @pytest.fixture
    def known(self, move, monkeypatch) -> dict[str, Any]:
        """What MLflow has; nobody has an owner's row."""
        for number in (1, 2):
            User.objects.create_user(f"user {number}", public_id=f"usr_{number}")
        found: dict[str, Any] = {"experiments": [], "datasets": [], "models": [], "versions": [], "runs": []}
        registry = type(
            "Registry",
            (),
            {
                "models": lambda self: found["models"],
                "versions": lambda self: found["versions"],
            },
        )()
        monkeypatch.setattr(Move, "registry", registry)
        monkeypatch.setattr(organise_plan, "read_experiments", lambda registry: found["experiments"])
        monkeypatch.setattr(organise_plan, "read_datasets", lambda registry: found["datasets"])
        monkeypatch.setattr(organise_plan, "read_runs", lambda registry, number: found["runs"])
        monkeypatch.setattr(organise_plan, "find_conflicts", lambda move, plan: None)
        return found

    def test_an_experiment_with_runs_of_two_organisations_is_reported(self, move, known):
        both = frozenset({"usr_1", "usr_2"})
        known["experiments"] = [Experiment(id="1", name="mixed", folder="1", runs=("r1", "r2"), users=both)]
        known["runs"] = [{}, {}]

        plan = organise_plan.make_plan(move)

        assert [each.id for each in plan.experiments["shared"]] == ["1"]
        assert "“mixed” has runs of several organisations, and goes to shared" in plan.split[0]
        assert "MLflow's own experiment 0 has 2 runs, which stay in default" in plan.split[1]

    def test_a_dataset_goes_with_its_creator_or_else_with_its_experiments(self, move, known):
        known["experiments"] = [
            Experiment(id=number, name=number, folder=number, runs=(), users=frozenset({user}))
            for number, user in (("1", "usr_1"), ("2", "usr_1"), ("3", "usr_2"))
        ]
        tag = '{"hokusai.user_id": "usr_1"}'
        known["datasets"] = [
            {"dataset_id": "d1", "name": "of two of north", "experiment_ids": ["1", "2"]},
            {"dataset_id": "d2", "name": "of both", "experiment_ids": ["1", "3"], "tags": tag},
            {"dataset_id": "d3", "name": "of nobody", "experiment_ids": ["1", "3"]},
            {"dataset_id": "d4", "name": "twice", "experiment_ids": ["1"]},
            {"dataset_id": "d5", "name": "twice", "experiment_ids": ["3"]},
            {"dataset_id": "d6", "name": "alone", "tags": "no JSON"},
        ]

        plan = organise_plan.make_plan(move)

        assert plan.datasets == {
            "north": ["of two of north", "of both"],
            "shared": ["of nobody", "twice", "alone"],
        }
        assert [text.partition(",")[0] for text in plan.split] == [
            "Dataset “of both” belongs to experiments of other organisations",
            "Dataset “of nobody” belongs to experiments of other organisations",
            "Datasets of several organisations have the name “twice”",
        ]

    def test_names_that_the_organisation_has_are_conflicts(self, move, monkeypatch):
        answer = {"north": 200, "south": 404}
        asked = type("Answer", (), {"data": b""})

        def ask(url: str, route: Any, *, name: str) -> Any:
            asked.status = answer[name]
            return asked

        registry = type("Registry", (), {"models": lambda self: [{"name": "fraud"}]})()
        monkeypatch.setattr(organise_plan.server_routes, "ask_server", ask)
        monkeypatch.setattr(organise_plan, "registry_in", lambda move, organisation: registry)
        monkeypatch.setattr(organise_plan, "search_experiments", lambda registry: [{"name": "churn"}])
        plan = Plan()
        for slug in answer:
            churn = Experiment(id="1", name="churn", folder="1", runs=(), users=frozenset())
            plan.experiments[slug], plan.models[slug] = [churn], ["fraud", "x"]

        organise_plan.find_conflicts(move, plan)

        assert plan.conflicts == [
            "north has an experiment “churn” already. Rename one of the two.",
            "north has a model “fraud” already. Rename one of the two.",
        ]
