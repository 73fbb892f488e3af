"""The ledger's pages: for reading, and what is read is what was written."""

import csv
import io
import json

import pytest
from django.db import connection
from django.test import Client

from keys import actions
from keys.models import User
from proxy.admin import registration_pages
from proxy.lists import exports
from proxy.models import Owner, Registration
from tests.keys.people import queries
from tests.proxy.audit_story import COMPLETE, models
from tests.proxy.ledger_rows import pending, row

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]

LEDGER = "/admin/proxy/registration/"


@pytest.fixture
def key():
    return actions.issue(owner=User.objects.create_user("alice"), name="training")[0]


@pytest.fixture
def other():
    return actions.issue(owner=User.objects.create_user("bob"), name="serving")[0]


@pytest.fixture
def superuser() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("sue"))
    return client


def listed(client: Client, **asked: str) -> list[str]:
    """Model and version of the rows that the list shows."""
    rows = client.get(LEDGER, asked).context["shown"].rows
    return [f"{found.object_name} {found.version}".strip() for found in rows]


def test_the_list_says_who_did_what_and_what_came_of_it(key, auditor):
    row(key, "registered-models.create", "vision")
    row(key, "registered-models.create", "vision", "refused_by_mlflow")
    pending(None, "model-versions.set-tag", "vision", version="1")

    page = auditor.get(LEDGER).content.decode()

    for text in ("Registered the model vision", "alice", "training", "Done", "Refused by MLflow", "Pending"):
        assert text in page
    assert "PostgreSQL rejects changes and deletions" in page
    assert "The chain has 2 rows" in page
    assert " UTC" in page


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"user": "alice"}, ["vision 2", "vision 1", "vision"]),
        ({"user": "bob"}, ["speech"]),
        ({"key": "serving"}, ["speech"]),
        ({"model": "speech"}, ["speech"]),
        ({"outcome": "refused_by_mlflow"}, ["speech"]),
        ({"operation": "registered-models.create"}, ["speech", "vision"]),
        ({"rules": "complete"}, ["vision 1"]),
        ({"rules": "missing"}, ["vision 2"]),
        ({"rules": "malformed"}, []),
        ({"span": "1h", "user": "alice", "rules": "complete"}, ["vision 1"]),
        ({"until": "2026-01-01T00:00"}, []),
        ({"user": "nobody"}, []),
        ({"since": "yesterday"}, []),
    ],
)
def test_it_is_filtered(key, other, auditor, asked, found):
    row(key, "registered-models.create", "vision")
    row(key, "model-versions.create", "vision", version="1", tags=COMPLETE)
    row(key, "model-versions.create", "vision", version="2")
    row(other, "registered-models.create", "speech", "refused_by_mlflow")

    assert listed(auditor, **asked) == found


def test_a_wrong_filter_says_what_is_wrong_and_shows_nothing(key, auditor):
    row(key, "registered-models.create", "vision")

    page = auditor.get(LEDGER, {"user": "nobody", "since": "yesterday"}).content.decode()

    assert "There is no user “nobody”." in page
    assert "Write a time in UTC such as 2026-11-23T18:05." in page
    assert "No rows are shown" in page
    exported = auditor.get(f"{LEDGER}export/", {"user": "nobody"})
    assert (exported.status_code, exported["Location"]) == (302, f"{LEDGER}?user=nobody")


def test_a_models_page_names_look_alikes_of_others(key, other, auditor):
    for one, name in ((key, "vision"), (other, "vіsion"), (key, "Vision")):
        row(one, "registered-models.create", name)
        Owner.objects.create(environment="live", kind="registered_model", name=name, user=one.owner)

    page = auditor.get(f"{LEDGER}model/", {"name": "vision"}).content.decode()

    assert r"v\u0456sion" in page
    assert "of bob, since" in page
    assert "of alice, since" not in page


def test_pages_lead_on_and_back(key, auditor):
    for number in range(120):
        row(key, "registered-models.create", f"model {number}")
    seen, address = [], LEDGER
    while True:
        shown = auditor.get(address).context["shown"]
        seen += [found.object_name for found in shown.rows]
        if not shown.older:
            break
        address = f"{LEDGER}?{shown.older}"

    assert seen == [f"model {number}" for number in reversed(range(120))]
    back = auditor.get(f"{LEDGER}?{shown.newer}").context["shown"]
    assert back.rows[0].object_name == "model 69"
    assert auditor.get(f"{LEDGER}?{back.newer}").context["shown"].newer == ""
    for place in ("nonsense", "²", "9" * 30):
        assert auditor.get(f"{LEDGER}?older={place}").context["shown"].rows[0].object_name == "model 119"
        assert auditor.get(f"{LEDGER}?rules=missing&older={place}").status_code == 200


def test_versions_by_their_tags_are_looked_through_a_page_at_a_time(key, auditor, monkeypatch):
    monkeypatch.setattr(registration_pages, "MAX_CHECKED", 3)
    row(key, "model-versions.create", "vision", version="1", tags=COMPLETE)
    for number in range(5):
        row(key, "model-versions.create", "vision", version=str(number + 2))

    first = auditor.get(LEDGER, {"rules": "complete"})

    assert first.context["shown"].rows == []
    assert "None of the 3 newest versions matches" in first.content.decode()
    second = auditor.get(f"{LEDGER}?rules=complete&{first.context['shown'].older}").context["shown"]
    assert [found.version for found in second.rows] == ["1"]


@pytest.mark.parametrize("path", [LEDGER, f"{LEDGER}model/?name=vision"])
def test_ten_rows_cost_as_many_queries_as_a_thousand(key, auditor, path):
    row(key, "registered-models.create", "vision")
    made = 1
    counts = []
    for rows in (10, 1000):
        for number in range(made, rows):
            row(key, "model-versions.create", "vision", version=str(number))
        made = rows
        counts.append(queries(lambda: auditor.get(path)))

    assert counts[0] == counts[1]
    assert counts[0] <= 12


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_what_is_filtered_is_what_is_exported(key, other, auditor, form, monkeypatch):
    monkeypatch.setattr(exports, "CHUNK", 4)
    for number in range(11):
        row(key, "model-versions.create", "vision", version=str(number), tags=COMPLETE if number % 2 else {})
    row(other, "registered-models.create", "speech")

    for asked in ({"user": "alice"}, {"rules": "complete"}, {}):
        answer = auditor.get(f"{LEDGER}export/", {**asked, "form": form})
        text = b"".join(answer.streaming_content).decode()
        lines = csv.DictReader(io.StringIO(text)) if form == "csv" else map(json.loads, text.splitlines())

        assert answer.streaming
        assert f'.{form}"' in answer["Content-Disposition"]
        assert [f"{line['object_name']} {line['version']}".strip() for line in lines] == listed(
            auditor, **asked
        )


def test_a_row_shows_its_tags_as_text_and_how_the_rules_find_them(key, auditor):
    tags = {"hokusai_token_id": "<b>-", "benchmark_metric": "accuracy"}
    version = row(key, "model-versions.create", "vision", version="1", tags=tags)
    row(key, "model-versions.set-tag", "vision", version="1", tags={"hokusai_token_id": "abc"})

    for path in (f"{LEDGER}{version.pk}/change/", f"{LEDGER}{version.pk}/change/?part=1"):
        page = auditor.get(path).content.decode()

        assert "&lt;b&gt;-" in page
        assert "<b>-" not in page
        assert "benchmark_value is missing" in page
        assert version.hash in page
        assert ("<html" in page) is ("part" not in path)
    assert auditor.get(f"{LEDGER}999999/change/").status_code == 404
    for number in ("x", "²", "9" * 30):
        assert auditor.get(f"{LEDGER}{number}/change/").status_code == 404


def test_a_model_is_told_through_its_names_and_lives(key, other, auditor):
    models(key, other)

    answer = auditor.get(f"{LEDGER}model/", {"name": "vision"})

    words = [entry.sentence for entry in answer.context["timeline"]]
    assert words[-3:] == [
        "Renamed sight to vision",
        "Registered version 1 of sight",
        "Registered the model sight",
    ]
    assert "Deleted the model vision with all its versions" in words
    versions = answer.context["versions"]
    assert [(version.row.version, version.current.is_deleted) for version in versions] == [
        ("1", False),
        ("2", True),
        ("1", True),
    ]
    assert [version.aliases for version in versions] == [["champion"], [], []]
    assert [version.rules.state for version in versions] == ["missing", "malformed", "complete"]
    page = answer.content.decode()
    assert "/mlflow/#/models/vision" in page
    assert f"/mlflow/#/runs/{'c' * 32}" in page
    assert auditor.get(f"{LEDGER}model/", {"name": "none such"}).status_code == 404


def test_a_ledger_that_postgresql_does_not_guard_says_so(auditor):
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE proxy_registration DISABLE TRIGGER registration_keep")

    assert "PostgreSQL does not protect the ledger: registration_keep" in auditor.get(LEDGER).content.decode()


@pytest.mark.parametrize("who", ["auditor", "superuser"])
def test_nobody_changes_or_deletes_a_row(key, request, who):
    client = request.getfixturevalue(who)
    found = row(key, "registered-models.create", "vision")
    before = Registration.objects.values().get()

    for path in (f"{found.pk}/change/", f"{found.pk}/delete/", "add/", "", "export/", "model/?name=vision"):
        for method in (client.post, client.put, client.patch, client.delete):
            answer = method(
                f"{LEDGER}{path}",
                data={
                    "source": "x",
                    "post": "yes",
                    "action": "delete_selected",
                    "_selected_action": found.pk,
                },
                content_type="application/json"
                if method != client.post
                else "application/x-www-form-urlencoded",
            )
            assert answer.status_code in (302, 403, 405), path
    assert Registration.objects.values().get() == before


def test_a_models_page_bears_the_badge_of_the_portal_and_not_of_the_registry(key, auditor):
    row(key, "registered-models.create", "vision")

    answer = auditor.get(f"{LEDGER}model/", {"name": "vision"})

    assert answer.context["environment"] == ["local", "info"]
    assert 'href="/mlflow/#/models/vision"' in answer.content.decode()


@pytest.mark.parametrize(
    ("actor", "who"),
    [
        ("manifest", "the portal"),
        ("quarantine", "command line"),
        ("reconcile", "unknown"),
        ("browser", "bob"),
    ],
)
def test_a_row_says_who_did_it_where_no_user_did(actor, who):
    user = User(username="bob") if actor == "browser" else None

    assert Registration(actor=actor, user=user).done_by == who
