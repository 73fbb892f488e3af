"""What MLflow has beside what the ledger knows. A real MLflow."""

import pytest
from django.core.management import call_command

from keys.models import Namespace
from proxy.ledger import comparison
from proxy.ledger.comparison import RegistryObject
from proxy.models import Registration
from proxy.upstream import registry
from tests.proxy.ledger_rows import row
from tests.proxy.worlds import World, run

pytestmark = [pytest.mark.mlflow, pytest.mark.postgresql, pytest.mark.django_db]

LIVE = Namespace.shared("live")


def compared(world: World, name: str | None = None) -> tuple[list[str], list[str]]:
    """What is around and what is gone, of this test's models."""
    found = comparison.compare(world.registry)
    name = name or world.name
    return (
        sorted(str(thing) for thing in found.unrecorded if thing.name.startswith(name)),
        [str(thing) for thing in found.missing if thing.name.startswith(name)],
    )


def test_every_page_of_mlflows_answers_is_read(world, monkeypatch):
    monkeypatch.setattr(registry, "PAGE", 2)
    world.model()
    for _ in range(5):
        world.add_version()

    assert [version["version"] for version in world.registry.versions(world.name)] == list("12345")


def test_names_that_mlflows_search_cannot_say_are_found_all_the_same(world):
    world.name = f'it\'s "{world.name}" 100%'
    world.model()
    world.add_version()

    assert [version["name"] for version in world.registry.versions(world.name)] == [world.name]


def test_what_was_made_around_the_portal_is_found_and_imported(world, capsys):
    world.model()
    versions = [world.add_version() for _ in range(3)]
    prompt = [{"key": "mlflow.prompt.is_prompt", "value": "true"}]
    world.call("POST registered-models/create", {"name": f"{world.name}-prompt", "tags": prompt})

    around = [world.name, *(f"{world.name} version {n}" for n in (1, 2, 3)), f"{world.name}-prompt"]
    assert compared(world) == (sorted(around), [])

    status, report = run(capsys, "--import")
    assert status == 1
    assert sorted(found["name"] for found in report["imported"] if found["name"].startswith(world.name)) == [
        *[world.name] * 4,
        f"{world.name}-prompt",
    ]
    rows = Registration.objects.filter(object_name=world.name).order_by("id")
    assert {(found.outcome, found.user, found.key, found.actor) for found in rows} == {
        ("imported", None, None, "reconcile")
    }
    assert [found.version for found in rows] == ["", "1", "2", "3"]
    assert rows[1].source == versions[0]["source"]
    assert rows[1].tags["hokusai.key_id"] == world.key.public_id
    assert Registration.objects.get(object_name=f"{world.name}-prompt").is_prompt

    assert compared(world) == ([], [])
    status, report = run(capsys)
    assert (status, any(report.values())) == (0, False)
    call_command("verify_ledger")


def test_what_was_deleted_around_the_portal_is_gone(world):
    world.model()
    world.add_version()
    world.add_version()
    comparison.import_unrecorded(LIVE, comparison.compare(world.registry).unrecorded)
    assert compared(world) == ([], [])

    world.call("DELETE model-versions/delete", {"name": world.name, "version": "1"})
    assert compared(world) == ([], [f"{world.name} version 1"])

    world.call("DELETE registered-models/delete", {"name": world.name})
    world.model()
    around, gone = compared(world)
    assert around == [world.name]  # another of that name
    assert gone == [world.name, f"{world.name} version 1", f"{world.name} version 2"]


def test_what_is_gone_for_good_is_written_off_and_reported_no_more(world, capsys):
    world.model()
    world.add_version()
    run(capsys, "--import")
    world.call("DELETE registered-models/delete", {"name": world.name})

    status, report = run(capsys)
    assert (status, [found["version"] for found in report["gone"]]) == (1, ["", "1"])

    status, report = run(capsys, "--write-off")
    assert (status, len(report["written_off"]), report["gone"]) == (1, 2, [])
    status, report = run(capsys)
    assert (status, any(report.values())) == (0, False)
    story = Registration.objects.filter(object_name=world.name).order_by("id")
    assert [(found.operation, found.version, found.actor) for found in story] == [
        ("registered-models.create", "", "reconcile"),
        ("model-versions.create", "1", "reconcile"),
        ("model-versions.delete", "1", "reconcile"),
        ("registered-models.delete", "", "reconcile"),
    ]
    call_command("verify_ledger")


def test_what_is_on_its_way_is_not_reported(world):
    world.begin("POST registered-models/create", world.create())
    world.model()

    assert compared(world) == ([], [])


def test_the_ledger_knows_what_there_should_be(world):
    key = world.key
    row(key, "registered-models.create", "a")
    row(key, "model-versions.create", "a", version="1")
    row(key, "model-versions.create", "a", version="2")
    row(key, "model-versions.delete", "a", version="1")
    row(key, "registered-models.rename", "a", new_name="b")
    row(key, "registered-models.create", "c")
    row(key, "registered-models.delete", "c")
    row(key, "registered-models.create", "d", "refused_by_mlflow")

    assert {str(found) for found in comparison.expected_objects(LIVE)} == {"b", "b version 2"}
    assert comparison.expected_objects(Namespace.shared("test")) == set()
    assert all(isinstance(found, RegistryObject) for found in comparison.expected_objects(LIVE))
