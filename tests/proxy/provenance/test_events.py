"""PostgreSQL keeps the events of artifacts: none is changed, and only superseded ones are removed."""

import datetime
import json

import psycopg
import pytest
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from keys.database import connection_parameters
from proxy.models import ArtifactEvent
from proxy.provenance.events import key_path
from proxy.upstream.workspaces import Workspace
from proxy.usage import partitions

pytestmark = pytest.mark.postgresql


def event(path: str, kind: str = "uploaded", *, days: int = 0) -> ArtifactEvent:
    at = timezone.now() - datetime.timedelta(days=days)
    digest = {"size": 1, "sha256": "ab" * 32} if kind in ArtifactEvent.WITH_DIGEST else {}
    return ArtifactEvent.objects.create(environment="live", path=path, kind=kind, at=at, **digest)


@pytest.mark.parametrize("change", [{"sha256": "cd" * 32}, {"path": "b"}])
def test_no_event_is_changed(change, db):
    event("a")

    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        ArtifactEvent.objects.update(**change)


def test_the_latest_event_of_a_file_is_not_deleted(db):
    first, second = event("a", days=1), event("a")

    first.delete()
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        second.delete()


def test_a_digest_is_recorded_whole_or_not_at_all(db):
    with pytest.raises(IntegrityError, match="artifact_event_has_digest"), transaction.atomic():
        ArtifactEvent.objects.create(
            environment="live", path="a", kind="uploaded", at=timezone.now(), sha256="xy"
        )


@pytest.mark.django_db(transaction=True)
def test_superseded_events_go_when_their_successors_are_past_retention():
    event("old", days=100)  # the only one of its file: kept for ever
    for days in (100, 42, 1):
        event("overwritten", days=days)
    event("gone", days=50)
    event("gone", "deleted", days=42)

    with psycopg.connect(**connection_parameters(), autocommit=True) as own:
        partitions.maintain(own, today=timezone.now().date(), keep_days=40)

    left = ArtifactEvent.objects.order_by("path", "-at").values_list("path", "kind")
    assert list(left) == [("old", "uploaded"), ("overwritten", "uploaded"), ("overwritten", "uploaded")]
    assert connection.is_usable()


def test_the_blast_radius_of_a_key_lists_its_files_with_their_digests(key, capsys):
    mine = ArtifactEvent(environment="live", path="1/x", kind="uploaded", at=timezone.now(), key=key)
    mine.user, mine.size, mine.sha256 = key.owner, 7, "ab" * 32
    mine.save()
    event("1/anothers")

    call_command("blast_radius", "--key", key.public_id, "--since", "1h", "--files", "--json")

    [file] = json.loads(capsys.readouterr().out)
    assert (file["path"], file["bytes"], file["sha256"], file["event"]) == ("1/x", 7, "ab" * 32, "uploaded")


@pytest.mark.parametrize(
    ("isolation", "slug", "path", "expected"),
    [
        ("required", "vision", "1/x", "workspaces/vision/1/x"),
        ("required", "vision", "workspaces/vision/1/x", "workspaces/vision/1/x"),  # the same file
        ("required", "default", "1/x", "1/x"),  # MLflow keeps its files where they were
        ("off", "vision", "1/x", "1/x"),
    ],
)
def test_a_file_has_one_path_whether_it_is_named_with_its_workspace_or_without(
    isolation, slug, path, expected, settings
):
    settings.ISOLATION = isolation

    assert key_path(path, Workspace(slug)) == expected


def test_what_postgresql_cannot_index_is_not_recorded(settings):
    settings.ISOLATION = "off"

    assert key_path("x" * 1024, Workspace("shared")) != ""
    assert key_path("x" * 1025, Workspace("shared")) == ""
