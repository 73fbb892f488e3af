"""The dashboard: what it adds up, from what, and who sees which part."""

import datetime
import socket
import time

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from keys import actions
from keys.models import ApiKey, User
from portal.pages import dashboard
from proxy.models import CallTotal, HourTotal, KeylessAttempt
from tests.keys.people import call, signed_in
from tests.proxy.audit_story import tell
from tests.proxy.ledger_rows import row

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]

DASHBOARD = "/admin/"
HEALTH = "/admin/health/"
HOUR, DAY = datetime.timedelta(hours=1), datetime.timedelta(days=1)


@pytest.fixture
def alice() -> Client:
    return signed_in(User.objects.create_superuser("alice"))


@pytest.fixture
def key() -> ApiKey:
    return actions.issue(owner=User.objects.create_user("dora"), name="training")[0]


def hour(ago: datetime.timedelta, status_class: int = 2, calls: int = 1, **more) -> HourTotal:
    start = (timezone.now() - ago).replace(minute=0, second=0, microsecond=0)
    latencies = [0] * 6 + [calls] + [0] * 9
    return HourTotal.objects.create(
        start=start, status_class=status_class, calls=calls, latencies=latencies, **more
    )


def figures(client: Client, period: str = "24h") -> dict[str, tuple[int, str]]:
    shown = client.get(DASHBOARD, {"period": period}).context["figures"]
    return {figure.label: (figure.value, figure.change) for figure in shown}


def test_calls_are_added_up_for_each_period_and_compared_with_the_one_before(alice):
    hour(0 * HOUR, calls=10, bytes_in=1000, bytes_out=2000)
    hour(2 * HOUR, 4, calls=3)
    hour(2 * HOUR, 5, calls=1)
    hour(30 * HOUR, calls=7)
    hour(6 * DAY, calls=100)
    hour(20 * DAY, calls=1000)
    hour(40 * DAY, calls=2228)

    assert figures(alice)["Calls"] == (14, "100 % more than before")
    assert figures(alice)["Errors"] == (4, "none before")
    assert figures(alice)["Transferred"] == (3000, "none before")
    assert figures(alice, "7d")["Calls"] == (121, "none before")
    assert figures(alice, "30d")["Calls"] == (1121, "50 % fewer than before")
    assert figures(alice, "nonsense")["Calls"][0] == 14


def test_the_chart_and_its_table_say_the_same(alice):
    hour(0 * HOUR, calls=10)
    hour(3 * HOUR, 5, calls=2)

    answer = alice.get(DASHBOARD)
    chart, steps = answer.context["chart"], answer.context["steps"]

    assert len(chart["labels"]) == len(steps) == 24
    assert [each["calls"][-1] for each in chart["classes"]] == [10, 0, 0, 0] == list(steps[-1].calls.values())
    assert chart["classes"][3]["calls"][-4] == 2
    assert (chart["median"][-1], chart["p95"][-1]) == (75.0, 97.5)
    assert chart["median"][0] is None
    assert "75 ms" in answer.content.decode()
    assert "Show as a table" in answer.content.decode()


def test_keys_are_counted_and_listed_by_what_they_need(alice, key):
    soon = actions.issue(owner=key.owner, name="ends soon", expires_at=timezone.now() + 3 * DAY)[0]
    old = actions.issue(owner=key.owner, name="forgotten")[0]
    ApiKey.objects.filter(pk=old.pk).update(created_at=timezone.now() - 200 * DAY)
    ApiKey.objects.filter(pk=key.pk).update(last_used_at=timezone.now())
    revoked = actions.issue(owner=key.owner, name="used, then revoked")[0]
    actions.revoke(key=revoked)
    ApiKey.objects.filter(pk=revoked.pk).update(last_used_at=timezone.now())
    start = timezone.now().replace(minute=0, second=0, microsecond=0)
    for used, calls in ((key, 5), (soon, 50)):
        CallTotal.objects.create(
            span="hour",
            start=start,
            key=used,
            user=used.owner,
            status_class=2,
            calls=calls,
            latencies=[0] * 16,
        )

    answer = alice.get(DASHBOARD)

    assert figures(alice)["Active keys"] == (1, "of 3 that work")
    assert list(answer.context["expiring"]) == [soon]
    assert list(answer.context["unused"]) == [old]
    assert [(found["key"], found["calls"], found["share"]) for found in answer.context["busiest"]] == [
        (soon, 50, 100),
        (key, 5, 10),
    ]


def test_registrations_and_attempts_without_a_key(alice, key):
    row(key, "registered-models.create", "vision")
    row(key, "registered-models.create", "vision", "refused_by_mlflow")
    row(key, "registered-models.create", "old", at=timezone.now() - 30 * HOUR)
    start = timezone.now().replace(minute=0, second=0, microsecond=0)
    KeylessAttempt.objects.create(hour=start, reason="unknown_key", network="198.51.100.0/24", count=41)
    KeylessAttempt.objects.create(hour=start - 3 * DAY, reason="no_key", network="203.0.113.0/24", count=7)

    answer = alice.get(DASHBOARD)

    assert figures(alice)["Registrations"] == (1, "as before")
    assert [found["reason"] for found in answer.context["attempts"]] == ["unknown_key"]
    assert "The key has the right form, but this portal did not issue it." in answer.content.decode()
    assert len(answer.context["latest"]) == 3


def test_an_empty_portal_says_what_to_do_next(alice):
    assert "Issue the first key" in alice.get(DASHBOARD).content.decode()


@pytest.mark.parametrize("period", dashboard.PERIODS)
def test_it_reads_totals_and_never_the_log(alice, period):
    tell(30)
    alice.get(DASHBOARD)
    with CaptureQueriesContext(connection) as captured:
        alice.get(DASHBOARD, {"period": period})

    assert not [query["sql"] for query in captured if '"proxy_call"' in query["sql"]]


def test_a_thousand_rows_cost_as_many_queries_as_ten(alice):
    owner = User.objects.create_user("dora")
    counts, made = [], 0
    start = timezone.now().replace(minute=0, second=0, microsecond=0)
    for rows in (10, 1000):
        numbers = range(made, rows)
        prefix = actions.issue(owner=owner, name="a key", expires_at=start + 2 * DAY)[0].prefix
        keys = ApiKey.objects.bulk_create(
            ApiKey(
                owner=owner, name="a key", expires_at=start + 2 * DAY, digest=f"{number:064x}", prefix=prefix
            )
            for number in numbers
        )
        CallTotal.objects.bulk_create(
            CallTotal(
                span="hour", start=start, key=key, user=owner, status_class=2, calls=1, latencies=[0] * 16
            )
            for key in keys
        )
        HourTotal.objects.bulk_create(
            HourTotal(start=start - number * HOUR, status_class=2, calls=1, latencies=[0] * 16)
            for number in numbers
        )
        KeylessAttempt.objects.bulk_create(
            KeylessAttempt(hour=start, reason="no_key", network=f"n{number}", count=1) for number in numbers
        )
        for number, key in zip(numbers, keys, strict=True):
            row(key, "registered-models.create", f"model {number}")
        made = rows
        alice.get(DASHBOARD)
        with CaptureQueriesContext(connection) as captured:
            alice.get(DASHBOARD)
        counts.append(len(captured))

    assert counts[0] == counts[1]
    assert counts[0] <= 16


@pytest.mark.parametrize(
    ("permission", "sees", "labels"),
    [
        (None, set(), set()),
        ("view_calltotal", {"calls"}, {"Calls", "Errors", "Transferred", "Waiting calls"}),
        ("view_apikey", {"keys"}, {"Active keys", "Open alerts"}),
        ("view_registration", {"registrations"}, {"Registrations"}),
        ("view_keylessattempt", {"attempts"}, set()),
    ],
)
def test_each_permission_shows_its_own_part(key, permission, sees, labels):
    row(key, "registered-models.create", "vision")
    charlie = User.objects.create_user("charlie", is_staff=True)
    charlie.user_permissions.set(Permission.objects.filter(codename=permission))

    answer = signed_in(charlie).get(DASHBOARD)

    assert {name for name, may in answer.context["sees"].items() if may} == sees
    assert {figure.label for figure in answer.context["figures"]} == labels
    assert ("vision" in answer.content.decode()) is (permission == "view_registration")
    assert ("training" in answer.content.decode()) is False


def test_health_is_asked_apart_and_an_mlflow_that_hangs_holds_it_for_no_longer_than_the_probe(
    alice, settings, monkeypatch
):
    monkeypatch.setattr("portal.http.health.PROBE_TIMEOUT", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as hanging:  # takes connections and says nothing
        settings.MLFLOW_URL = f"http://127.0.0.1:{hanging.getsockname()[1]}"
        started = time.perf_counter()
        assert alice.get(DASHBOARD).status_code == 200
        part = alice.get(HEALTH, headers={"HX-Request": "true"}).content.decode()

    assert time.perf_counter() - started < 5
    assert "MLflow: down" in part
    assert "PostgreSQL: ok" in part
    assert "<html" not in part
    assert "<html" in alice.get(HEALTH).content.decode()


def test_a_call_in_the_log_alone_changes_nothing(alice, key):
    call(key, 1)

    assert figures(alice)["Calls"][0] == 0
