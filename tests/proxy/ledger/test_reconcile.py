"""Pending rows are settled by what MLflow has; what was made around the portal is found. A real MLflow."""

import pytest
from django.core.management import CommandError, call_command

from keys import actions
from keys.models import Namespace, User
from proxy.ledger import writer
from proxy.models import Owner, Registration
from tests.proxy.ledger_rows import row
from tests.proxy.worlds import run

pytestmark = [pytest.mark.mlflow, pytest.mark.postgresql, pytest.mark.django_db]

SOURCE = {"source": "mlflow-artifacts:/0/x", "tags": []}


def outcome(found: Registration) -> str:
    found.refresh_from_db()
    return found.outcome


STATES = {
    # operation -> what is before it, the call, its body
    "tag a model": ([], "POST registered-models/set-tag", {"key": "k", "value": "v"}),
    "delete a tag": (
        [("POST registered-models/set-tag", {"key": "k", "value": "v"})],
        "DELETE registered-models/delete-tag",
        {"key": "k"},
    ),
    "describe a model": ([], "PATCH registered-models/update", {"description": "d"}),
    "alias": ([], "POST registered-models/alias", {"alias": "champion", "version": "1"}),
    "delete an alias": (
        [("POST registered-models/alias", {"alias": "champion", "version": "1"})],
        "DELETE registered-models/alias",
        {"alias": "champion"},
    ),
    "tag a version": ([], "POST model-versions/set-tag", {"version": "1", "key": "k", "value": "v"}),
    "delete a version's tag": (
        [("POST model-versions/set-tag", {"version": "1", "key": "k", "value": "v"})],
        "DELETE model-versions/delete-tag",
        {"version": "1", "key": "k"},
    ),
    "describe a version": ([], "PATCH model-versions/update", {"version": "1", "description": "d"}),
    "stage": ([], "POST model-versions/transition-stage", {"version": "1", "stage": "Production"}),
    "delete a version": ([], "DELETE model-versions/delete", {"version": "1"}),
    "delete a model": ([], "DELETE registered-models/delete", {}),
    "rename": ([], "POST registered-models/rename", {"new_name": "NEW"}),
}


@pytest.mark.parametrize("arrived", [True, False], ids=["arrived", "did not"])
@pytest.mark.parametrize("what", STATES)
def test_a_write_is_settled_by_the_state_that_it_asked_for(what, arrived, world):
    before, call, body = STATES[what]
    world.model()
    world.add_version()
    for earlier, content in before:
        world.call(earlier, {"name": world.name, **content})
    body = {"name": world.name, **body}
    if "new_name" in body:
        body["new_name"] = f"{world.name}-new"
    begun = world.begin(call, body)
    if arrived:
        world.call(call, body)

    world.settle()

    assert outcome(begun) == ("done" if arrived else "not_done")
    assert begun.reason == "reconciled"


@pytest.mark.parametrize("arrived", [True, False], ids=["arrived", "did not"])
class TestCreations:
    def test_a_model(self, arrived, world):
        begun = world.begin("POST registered-models/create", world.create())
        if arrived:
            made = world.call("POST registered-models/create", world.create())["registered_model"]

        world.settle()

        assert outcome(begun) == ("done" if arrived else "not_done")
        owners = Owner.objects.of(Namespace.shared("live"), "registered_model", world.name)
        assert [owner.user for owner in owners] == ([world.key.owner] if arrived else [])
        assert begun.created_ms == (made["creation_timestamp"] if arrived else None)

    def test_a_version(self, arrived, world):
        world.model()
        begun = world.begin("POST model-versions/create", world.version())
        if arrived:
            made = world.add_version()

        world.settle()

        assert outcome(begun) == ("done" if arrived else "not_done")
        if arrived:
            assert (begun.version, begun.created_ms) == (made["version"], made["creation_timestamp"])

    def test_a_prompt_and_its_version(self, arrived, world):
        prompt = {"key": "mlflow.prompt.is_prompt", "value": "true"}
        text = {"key": "mlflow.prompt.text", "value": "Say {{word}}"}
        calls = {
            "POST registered-models/create": {"name": world.name, "tags": [prompt, *world.stamps()]},
            "POST model-versions/create": {
                "name": world.name,
                "source": "dummy-source",
                "tags": [prompt, text, *world.stamps()],
            },
        }
        rows = [world.begin(call, body) for call, body in calls.items()]
        if arrived:
            for call, body in calls.items():
                world.call(call, body)

        world.settle()

        assert {outcome(found) for found in rows} == {"done" if arrived else "not_done"}
        assert all(found.is_prompt for found in rows)

    def test_a_logged_model_and_what_is_done_to_it(self, arrived, world):
        body = {"experiment_id": world.experiment(), "name": "net", "tags": world.stamps()}
        begun = world.begin("POST logged-models", body)
        if arrived:
            made = world.call("POST logged-models", body)["model"]["info"]["model_id"]

        world.settle()

        assert outcome(begun) == ("done" if arrived else "not_done")
        if not arrived:
            return
        assert begun.object_name == made
        assert Owner.objects.get(kind="logged_model", name=made).user == world.key.owner
        writes = {
            f"PATCH logged-models/{made}": {"model_id": made, "status": "LOGGED_MODEL_READY"},
            f"PATCH logged-models/{made}/tags": {"model_id": made, "tags": [{"key": "k", "value": "v"}]},
            f"POST logged-models/{made}/params": {"model_id": made, "params": [{"key": "p", "value": "1"}]},
        }
        rows = [world.begin(call, body) for call, body in writes.items()]
        world.settle()
        assert [outcome(found) for found in rows] == ["not_done"] * 3
        rows = [world.begin(call, body) for call, body in writes.items()]
        for call, content in writes.items():
            world.call(call, content)
        world.settle()
        assert [outcome(found) for found in rows] == ["done"] * 3


def test_a_logged_model_that_was_deleted(world):
    made = world.call("POST logged-models", {"experiment_id": world.experiment()})["model"]["info"][
        "model_id"
    ]
    begun = [world.begin(f"DELETE logged-models/{made}", {})]
    world.settle()
    begun.append(world.begin(f"DELETE logged-models/{made}", {}))
    world.call(f"DELETE logged-models/{made}", {})
    world.settle()

    assert [outcome(found) for found in begun] == ["not_done", "done"]


def test_the_clients_next_attempt_is_not_taken_for_the_first(world):
    """The first crashed before MLflow was called, the second made the model."""
    first = world.begin("POST registered-models/create", world.create())
    second = world.begin("POST registered-models/create", world.create())
    made = world.call("POST registered-models/create", world.create())["registered_model"]
    writer.close(second, outcome="done", status=200, created_ms=made["creation_timestamp"])

    world.settle()

    assert outcome(first) == "not_done"


def test_the_first_attempt_made_it_if_the_next_was_told_that_it_exists(world):
    first = world.begin("POST registered-models/create", world.create())
    world.model()
    second = world.begin("POST registered-models/create", world.create())
    writer.close(second, outcome="refused_by_mlflow", status=400, reason="RESOURCE_ALREADY_EXISTS")

    world.settle()

    assert outcome(first) == "done"


def test_two_equal_requests_for_a_version_each_get_one(world):
    world.model()
    rows, made = [], []
    for _ in range(2):
        rows.append(world.begin("POST model-versions/create", world.version()))
        made.append(world.add_version()["version"])

    world.settle()

    assert [outcome(found) for found in rows] == ["done", "done"]
    assert sorted(found.version for found in rows) == sorted(made)


def test_a_model_of_that_name_by_another_key_is_not_the_rows(world):
    other, _ = actions.issue(owner=User.objects.create_user("bob"), name="bob's")
    begun = world.begin("POST registered-models/create", world.create())
    world.call("POST registered-models/create", world.create(key=other))

    world.settle()

    assert outcome(begun) == "not_done"
    assert not Owner.objects.of(Namespace.shared("live"), "registered_model", world.name).exists()


@pytest.mark.parametrize("is_theirs", [True, False])
def test_a_browsers_row_is_settled_by_its_user(is_theirs, world):
    """Browsers share one name in place of a key's id."""
    bob, carol = (User.objects.create_user(name) for name in ("bob", "carol"))
    asked, made = (
        {"name": world.name, "tags": [*user_tags(user), {"key": "hokusai.key_id", "value": "session"}]}
        for user in (bob, bob if is_theirs else carol)
    )
    begun = world.begin("POST registered-models/create", asked, user=bob, actor=Registration.BROWSER)
    world.call("POST registered-models/create", made)

    world.settle()

    owners = Owner.objects.of(Namespace.shared("live"), "registered_model", world.name).values_list(
        "user", "key"
    )
    assert outcome(begun) == ("done" if is_theirs else "not_done")
    assert [*owners] == ([(bob.pk, None)] if is_theirs else [])


def user_tags(user: User) -> list[dict[str, str]]:
    return [{"key": "hokusai.user_id", "value": user.public_id}]


def test_a_model_is_found_under_the_name_that_it_got_since(world):
    begun = world.begin("POST registered-models/create", world.create())
    world.model()
    row(world.key, "registered-models.rename", world.name, new_name=f"{world.name}-new")
    world.call("POST registered-models/rename", {"name": world.name, "new_name": f"{world.name}-new"})

    world.settle()

    assert outcome(begun) == "done"


def test_what_was_deleted_through_the_portal_since_cannot_be_told(world):
    world.model()
    begun = world.begin("POST model-versions/create", world.version())
    world.add_version()
    row(world.key, "model-versions.delete", world.name, version="1")
    world.call("DELETE model-versions/delete", {"name": world.name, "version": "1"})

    world.settle()

    assert outcome(begun) == "unknown"


def test_a_tag_that_was_overwritten_since_cannot_be_told(world):
    world.model()
    body = {"name": world.name, "key": "k", "value": "v"}
    begun = world.begin("POST registered-models/set-tag", body)
    world.call("POST registered-models/set-tag", {**body, "value": "w"})
    row(world.key, "registered-models.set-tag", world.name, tags={"k": "w"})

    world.settle()

    assert outcome(begun) == "unknown"


def test_owners_are_written_down_as_the_view_would_have(world):
    world.model()
    world.add_version()
    Owner.objects.create(
        environment="live", kind="registered_model", name=world.name, user=world.key.owner, key=world.key
    )
    new = f"{world.name}-new"
    world.begin("POST registered-models/rename", {"name": world.name, "new_name": new})
    world.call("POST registered-models/rename", {"name": world.name, "new_name": new})
    world.settle()
    assert Owner.objects.get(name=new).user == world.key.owner
    assert Owner.objects.get(name=world.name).is_reserved

    world.begin("DELETE registered-models/delete", {"name": new})
    world.call("DELETE registered-models/delete", {"name": new})
    world.settle()
    assert not Owner.objects.filter(name=new).exists()


def test_a_young_row_is_left_alone_unless_all_are_asked_for(world, capsys):
    begun = world.begin("POST registered-models/create", world.create())

    _, report = run(capsys)
    assert report["settled"] == []
    assert outcome(begun) == "pending"

    status, report = run(capsys, "--all")
    assert status == 1
    [settled] = report["settled"]
    assert (settled["name"], settled["user"], settled["outcome"]) == (world.name, "alice", "not_done")
    assert settled["key"] == world.key.public_id


def test_without_mlflow_nothing_is_settled(world, settings):
    settings.MLFLOW_URL = "http://127.0.0.1:9"
    begun = world.begin("POST registered-models/create", world.create())

    with pytest.raises(CommandError, match="cannot be reached"):
        call_command("reconcile", "--all")

    assert outcome(begun) == "pending"
