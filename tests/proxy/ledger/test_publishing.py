"""Publishing a model: by owners alone, as rows of the ledger; and what ends a publication."""

from contextlib import nullcontext

import pytest
from django.contrib.admin.models import LogEntry
from django.core.management import call_command
from django.db import IntegrityError, transaction
from django.utils import timezone

from keys import actions
from keys.actions import organisations
from keys.actions.errors import ActionError, NotAllowed
from keys.credentials.caller import Caller
from keys.models import Organisation, User
from proxy.ledger import publication_rules, publishing, verification
from proxy.models import ArtifactEvent, Publication, PublishedFiles, Registration, VersionScan
from proxy.models.scans import UNEXAMINED
from proxy.policy import owner_actions
from proxy.routes.objects import ObjectRef
from tests.keys.people import by
from tests.proxy.ledger_rows import manifest_of
from tests.proxy.registries import MemoryRegistry

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]


@pytest.fixture
def lab(settings, monkeypatch) -> Organisation:
    """Olga owns it, max maintains it; it has the model churn with the versions 1, 2 and 3."""
    settings.ISOLATION = "required"
    lab = organisations.create_organisation(slug="lab")
    for name, role in (("olga", "owner"), ("max", "maintainer")):
        organisations.add_member(organisation=lab, user=User.objects.create_user(name), role=role)
    outside = {("churn", "3"): "runs:/abc/m"}
    registry = MemoryRegistry(lab, {"churn": ["1", "2", "3"]}, outside)
    monkeypatch.setattr(publishing, "registry_of", lambda namespace: registry)
    return lab


def publish(lab: Organisation, user: str = "olga", **asked: str) -> Publication:
    actor = by(User.objects.get(username=user))
    return publishing.publish(organisation=lab, name="churn", actor=actor, **asked)[0]


def test_an_owner_publishes_and_withdraws_and_both_are_in_the_ledger(lab):
    whole, one = publish(lab), publish(lab, version="02", reader="clinic")
    publishing.withdraw(publication=one, actor=by(User.objects.get(username="olga")))

    rows = Registration.objects.filter(organisation=lab).order_by("id")
    assert [(row.operation, row.version, row.detail["reader"]) for row in rows] == [
        ("registered-models.publish", "", "all organisations"),
        ("model-versions.publish", "2", "clinic"),
        ("model-versions.withdraw", "2", "clinic"),
    ]
    assert {row.outcome for row in rows} == {"done"}
    assert verification.verify().problem == ""
    assert list(Publication.objects.in_force()) == [whole]
    with pytest.raises(ActionError, match="withdrawn already"):
        publishing.withdraw(publication=one)


@pytest.mark.parametrize("user", ["max", "eve"])
def test_nobody_else_publishes_or_withdraws(lab, user):
    User.objects.create_user("eve")
    publication = publish(lab)

    with pytest.raises(NotAllowed, match="only an owner of lab"):
        publish(lab, user, reader="clinic")
    with pytest.raises(NotAllowed, match="only an owner of lab"):
        publishing.withdraw(publication=publication, actor=by(User.objects.get(username=user)))


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"version": "4"}, "no version 4"),
        ({"version": "0"}, "give a version's number"),
        ({"version": "latest"}, "give a version's number"),
        ({"version": "3"}, "could not load its files"),
        ({"reader": "lab"}, "reads its own models"),
        ({"reader": "Clinic!"}, "reader: Use 2 to 63 characters"),
        ({"environment": "test", "version": "1", "reader": "x"}, "reader: Use 2 to 63 characters"),
    ],
)
def test_what_is_not_published(lab, asked, words):
    with pytest.raises(ActionError, match=words):
        publish(lab, **asked)
    assert not Publication.objects.exists()


def test_the_same_is_not_published_twice(lab):
    publish(lab, reader="clinic")

    with pytest.raises(ActionError, match="published to this organisation already"):
        publish(lab, reader="clinic")


def test_without_isolation_there_is_nothing_to_publish(lab, settings):
    settings.ISOLATION = "off"

    with pytest.raises(ActionError, match="ISOLATION=off"):
        publish(lab)


def test_the_preview_names_runs_tags_descriptions_and_what_others_cannot_load(lab):
    visible = publishing.publish(organisation=lab, name="churn")[1]

    assert visible.description == "about churn"
    assert [(each.version, bool(each.files)) for each in visible.versions] == [
        ("3", False),
        ("2", True),
        ("1", True),
    ]
    assert visible.versions[1].as_json() == {
        "version": "2",
        "run_id": "a" * 32,
        "source": "models:/m-1",
        "description": "",
        "tags": {"stage": "checked"},
        "files": f"workspaces/lab/1/{'a' * 32}/artifacts/m",
        "warning": "the portal has no list of its files yet",
    }


def test_what_is_renamed_or_deleted_is_published_no_longer(lab):
    key = actions.issue(owner=User.objects.get(username="olga"), name="k", organisation=lab)[0]
    caller = Caller.by_key(key)

    def end(act) -> list[str]:
        publish(lab)
        publish(lab, version="1")
        for version in ("1", "2"):
            PublishedFiles.objects.create(
                **caller.namespace.columns, name="churn", version=version, location=version
            )
        act()
        left = [row.version or "all" for row in Publication.objects.in_force()]
        left += [f"files of {row.version}" for row in PublishedFiles.objects.all()]
        owner_actions.end_publications(caller, "churn")
        return left

    assert end(lambda: owner_actions.end_publications(caller, "churn", "1")) == ["all", "files of 2"]
    assert end(lambda: owner_actions.rename_model(caller, "churn", "churn-2")) == []
    ref = ObjectRef(kind="registered_model", name="churn")
    assert end(lambda: owner_actions.delete_owner(caller, ref)) == []


def scanned(lab: Organisation, rating: str = "", note: str = "data", **file: bool) -> None:
    """A version of churn with its manifest, and with its scan if there is a rating."""
    key = actions.issue(owner=User.objects.get(username="olga"), name="k", organisation=lab)[0]
    manifest = manifest_of(key, "churn", "1", organisation=lab)
    if rating:
        VersionScan.objects.create(
            manifest=manifest, rating=rating, files=[{"path": "m", "note": note, **file}]
        )


def refuse(lab: Organisation, rule: str = "refuse", user: str = "olga") -> Organisation:
    return publication_rules.set_rule(organisation=lab, rule=rule, actor=by(User.objects.get(username=user)))


SAFE = {"rating": "harmless"}


@pytest.mark.parametrize(
    ("scan", "problem"),
    [
        (None, "the portal has no list of its files yet"),
        ({}, "its files were not examined yet"),
        ({"rating": "dangerous"}, "at least one of its files can run code when it is loaded"),
        ({"rating": "unusual", "note": f"{UNEXAMINED} to its end"}, "not all of its files were examined"),
        ({"rating": "unusual", "note": f"{UNEXAMINED}: no scanner"}, "not all of its files were examined"),
        ({"rating": "unusual", "note": "own", "is_examined": False}, "not all of its files were examined"),
        ({"rating": "unusual", "note": "Python code"}, ""),
        (SAFE, ""),
    ],
)
def test_a_version_that_is_dangerous_or_unexamined_is_published_with_a_warning_or_not_at_all(
    lab, scan, problem
):
    if scan is not None:
        scanned(lab, **scan)
    refused = pytest.raises(ActionError, match=f"that versions are examined .*: {problem}")

    assert publishing.publish(organisation=lab, name="churn", version="1")[1].versions[0].warning == problem
    publishing.withdraw(publication=Publication.objects.get())
    refuse(lab)
    with refused if problem else nullcontext():
        publish(lab, version="1", reader="clinic")
    assert Publication.objects.in_force().count() == (0 if problem else 1)


def test_files_that_were_written_after_the_scan_count_as_unexamined(lab):
    scanned(lab, **SAFE)
    refuse(lab)
    event = {"environment": "live", "path": "workspaces/lab/0/x/m", "size": 1, "sha256": "ab" * 32}
    ArtifactEvent.objects.create(**event, kind="kept", at=timezone.now())
    ArtifactEvent.objects.create(
        **event | {"path": "workspaces/lab/0/xy/m"}, kind="uploaded", at=timezone.now()
    )
    publish(lab, version="1")
    ArtifactEvent.objects.create(**event, kind="uploaded", at=timezone.now())

    with pytest.raises(ActionError, match="its files were written after they were examined"):
        publish(lab, version="1", reader="clinic")


def test_an_owner_sets_the_rule_unless_something_else_is_published(lab):
    scanned(lab, **SAFE)
    one, two, whole = publish(lab, version="1"), publish(lab, version="2"), publish(lab)

    for row, words in ((two, "version 2 of churn to all .* no list of its files"), (whole, "churn to all")):
        with pytest.raises(ActionError, match=f"withdraw the publication of {words}"):
            refuse(lab)
        publishing.withdraw(publication=row)
    with pytest.raises(ActionError, match="give one of warn, refuse"):
        refuse(lab, "forbid")
    with pytest.raises(NotAllowed, match="only an owner of lab"):
        refuse(lab, user="max")
    assert refuse(lab).publication_rule == refuse(lab).publication_rule == "refuse"
    with pytest.raises(ActionError, match="publish single versions, because later ones are not examined"):
        publish(lab)
    assert list(Publication.objects.in_force()) == [one]
    logged = LogEntry.objects.filter(change_message__startswith="Changed publication_rule to refuse.")
    assert [entry.user.username for entry in logged] == ["olga"]


def test_the_command_sets_the_rule_and_warns(lab, capsys):
    call_command("publish_model", "churn", "--organisation", "lab", "--to-all", "--dry-run")
    assert "; warning: the portal has no list of its files yet" in capsys.readouterr().out
    call_command("publish_model", "--organisation", "lab", "--rule", "refuse")
    assert capsys.readouterr().out == "The rule of lab is refuse now.\n"
    assert Organisation.objects.get(slug="lab").publication_rule == "refuse"


@pytest.mark.parametrize(
    ("constraint", "columns"),
    [
        ("publication_has_name", {"name": ""}),
        ("publication_version_number", {"version": "01"}),
        ("publication_reader_slug", {"reader": "A b"}),
        ("publication_once", {}),
    ],
)
def test_constraints(lab, constraint, columns):
    columns = {"environment": "live", "organisation": lab, "name": "churn", **columns}
    if constraint == "publication_once":
        Publication.objects.create(**columns)

    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        Publication.objects.create(**columns)
