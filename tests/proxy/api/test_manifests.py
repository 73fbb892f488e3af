"""A version's files over the management API."""

import csv
import io

import pytest
from django.utils import timezone

from keys import actions
from keys.actions.organisations import add_member, create_organisation
from keys.models import User
from keys.rights.scopes import Scope
from proxy.models import ArtifactEvent
from tests.keys.api.callers import program, refused
from tests.keys.people import key_of, signed_in
from tests.proxy.ledger_rows import manifest_of

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]
VERSION = "name=vision&version=1"


class Session:
    """A signed-in user's, in place of a program."""

    def __init__(self, user: User) -> None:
        self.client = signed_in(user)

    def get(self, path: str):
        return self.client.get(f"/api/v1{path}")


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


def test_only_its_own_people_and_auditors_read_what_an_organisation_has(cast, alice):
    lab, own = (create_organisation(slug=slug, name=slug) for slug in ("lab", "own"))
    add_member(organisation=lab, user=cast["bob"], role="member")
    add_member(organisation=own, user=cast["charlie"], role="owner")
    key, _ = actions.issue(owner=cast["bob"], name="of the lab", organisation=lab)
    manifest_of(key, "vision", organisation=lab)
    address = f"/manifests{{}}?{VERSION}&organisation=lab"
    other_key = program(cast["charlie"], Scope.REGISTRY_READ)
    readers = {
        "a member": Session(cast["bob"]),
        "an auditor": alice,
        "another organisation": Session(cast["charlie"]),
        "its key for MLflow": other_key,
        "its key for the portal": program(cast["charlie"], Scope.PORTAL_READ),
    }
    statuses = {
        name: [reader.get(address.format(part)).status_code for part in ("", "/export")]
        for name, reader in readers.items()
    }
    assert statuses == {
        "a member": [200, 200],
        "an auditor": [200, 200],
        "another organisation": [404, 404],
        "its key for MLflow": [404, 404],
        "its key for the portal": [404, 404],
    }


def test_what_is_not_there_or_not_for_the_key_is_refused(cast, changed):
    reader = program(cast["charlie"], Scope.REGISTRY_READ)

    refused(reader.get("/manifests?name=vision&version=2"), 404, "not_found")
    refused(reader.get(f"/manifests/signature?{VERSION}"), 404, "not_found")  # not signed
    refused(program(cast["charlie"], Scope.TRACKING_READ).get(f"/manifests?{VERSION}"), 403, "scope")
    refused(reader.get(f"/manifests?{VERSION}&nonsense=1"), 400, "bad_value")
