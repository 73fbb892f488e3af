"""The page for a leaked key: what it touched since a time, the same as a file, and the quarantine."""

import csv
import io
from datetime import timedelta

import pytest
from django.contrib.auth.models import Group, Permission
from django.utils import timezone

from keys.models import User
from keys.rights.groups import AUDITORS
from proxy.ledger import incident
from proxy.ledger.incident import QuarantineResult
from proxy.upstream import registry
from tests.keys.people import call, key_of, make_cast, queries, signed_in
from tests.proxy.ledger_rows import row


@pytest.fixture
def cast(db):
    return make_cast()


@pytest.fixture
def alice(cast):
    return signed_in(cast["alice"])


@pytest.fixture
def key(cast):
    key = key_of(cast["dora"])
    call(key, 1, operation="runs.update", object_kind="run", object_name="=run()", method="POST")
    call(key, 2, operation="runs.update", at=timezone.now() - timedelta(days=3), object_name="long ago")
    return key


def page(key) -> str:
    return f"/admin/incident/{key.pk}/"


def since(hours: int) -> str:
    return f"{timezone.now() - timedelta(hours=hours):%Y-%m-%dT%H:%M}"


def test_it_shows_the_last_day_until_asked_for_more(alice, key):
    day = alice.get(page(key)).content.decode()
    week = alice.get(page(key), {"since": since(24 * 7)}).content.decode()

    assert "runs.update" in day
    assert "long ago" not in day
    assert "long ago" in week
    assert "This key still works." in day


def test_it_leads_to_mlflows_pages(alice, key):
    day = alice.get(page(key)).content.decode()

    assert 'run <a class="text" href="/mlflow/#/runs/%3Drun%28%29">=run()</a>' in day


def test_the_file_has_the_same_and_computes_nothing(alice, key):
    response = alice.get(page(key), {"since": since(24), "format": "csv"})

    [row] = csv.DictReader(io.StringIO(response.content.decode()))
    assert (row["operation"], row["name"], row["times"]) == ("runs.update", "'=run()", "1")
    assert key.public_id in response["Content-Disposition"]


def test_it_takes_as_many_queries_for_300_things_touched_as_for_10(alice, key):
    counts = []
    for first, last in ((10, 20), (20, 310)):
        for number in range(first, last):
            call(
                key,
                number,
                operation="runs.update",
                object_kind="run",
                object_name=f"run {number}",
                method="POST",
            )
            row(key, "model-versions.create", f"model {number}", version="1")
        counts.append(queries(lambda: alice.get(page(key))))

    assert counts[0] == counts[1]


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-40T00:00"])
def test_a_time_that_is_none_is_said(alice, key, text):
    answer = alice.get(page(key), {"since": text})

    assert answer.status_code == 200
    assert answer.context["form"].errors["since"]
    assert alice.get(page(key), {"since": text, "format": "csv"})["Content-Type"].startswith("text/html")


def test_quarantine_marks_and_says_what_became_of_each(cast, alice, key, monkeypatch):
    seen = {}

    def quarantine(**options):
        seen.update(options)
        return [QuarantineResult(name="fraud", version="3", result="marked")]

    monkeypatch.setattr(incident, "quarantine", quarantine)  # itself tested against MLflow

    text = alice.post(page(key), {"since": since(24), "reason": "leaked"}).content.decode()

    assert "fraud version 3: marked" in text
    assert (seen["key"], seen["reason"], seen["by"]) == (key, "leaked", cast["alice"])
    assert timezone.now() - seen["since"] < timedelta(hours=25)


def test_a_registry_error_is_said(alice, key, monkeypatch):
    def fails(**options):
        raise registry.RegistryError("MLflow does not answer.")

    monkeypatch.setattr(incident, "quarantine", fails)

    text = alice.post(page(key), {"since": since(24)}).content.decode()

    assert "MLflow does not answer. Try again later; what is marked stays marked." in text


def test_auditors_see_it_and_may_not_quarantine(cast, key):
    audrey = User.objects.create_user("audrey", is_staff=True)
    audrey.groups.set(Group.objects.filter(name=AUDITORS))
    client = signed_in(audrey)

    text = client.get(page(key)).content.decode()

    assert "Quarantine these versions" not in text
    assert client.post(page(key), {"since": since(24)}).status_code == 403


def test_it_takes_both_rights_to_see_it(cast, key):
    cast["charlie"].user_permissions.set(Permission.objects.filter(codename="view_apikey"))

    assert signed_in(cast["charlie"]).get(page(key)).status_code == 403
