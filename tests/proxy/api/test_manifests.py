"""A version's files over the management API."""

import csv
import io

import pytest
from django.utils import timezone

from keys.rights.scopes import Scope
from proxy.models import ArtifactEvent
from tests.keys.api.callers import program, refused
from tests.keys.people import key_of
from tests.proxy.ledger_rows import manifest_of

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]
VERSION = "name=vision&version=1"


@pytest.fixture
def changed(cast):
    """A version of dora's, whose file bob has changed."""
    manifest_of(key_of(cast["dora"]), "vision")
    known = {"size": 6, "sha256": "cd" * 32, "user": cast["bob"], "kind": "uploaded"}
    ArtifactEvent.objects.create(environment="live", path="0/x/MLmodel", at=timezone.now(), **known)


def test_who_reads_the_registry_reads_the_files_of_a_version_but_not_who_changed_them(cast, alice, changed):
    reader = program(cast["charlie"], Scope.REGISTRY_READ)

    read = reader.get(f"/manifests?{VERSION}").json()
    by_staff = alice.get(f"/manifests?{VERSION}").json()

    [file] = read["files"]
    assert (read["state"], file["state"], file["sha256"]) == ("changed", "changed", "ab" * 32)
    assert (file["found_sha256"], file["changed_by"]) == ("cd" * 32, "")
    assert by_staff["files"][0]["changed_by"] == "bob"
    [line] = csv.DictReader(io.StringIO(b"".join(reader.get(f"/manifests/export?{VERSION}")).decode()))
    assert (line["path"], line["state"], line["changed_by"]) == ("MLmodel", "changed", "")


def test_what_is_not_there_or_not_for_the_key_is_refused(cast, changed):
    reader = program(cast["charlie"], Scope.REGISTRY_READ)

    refused(reader.get("/manifests?name=vision&version=2"), 404, "not_found")
    refused(reader.get(f"/manifests/signature?{VERSION}"), 404, "not_found")  # not signed
    refused(program(cast["charlie"], Scope.TRACKING_READ).get(f"/manifests?{VERSION}"), 403, "scope")
    refused(reader.get(f"/manifests?{VERSION}&nonsense=1"), 400, "bad_value")
