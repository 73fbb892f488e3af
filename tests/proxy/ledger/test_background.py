"""Rows that a 502 or 504 left pending are settled in the background, within seconds. A real MLflow."""

import datetime
import threading
from contextlib import suppress

import psycopg
import pytest
from django.db import connection
from django.utils import timezone

from proxy.ledger import background
from proxy.models import Registration
from proxy.upstream.registry import RegistryError
from tests.keys.people import call
from tests.portals import portal, wait_for

pytestmark = [pytest.mark.mlflow, pytest.mark.postgresql, pytest.mark.django_db]

SECONDS = datetime.timedelta(seconds=1)


@pytest.fixture(autouse=True)
def _live_registry(world, settings):
    settings.MLFLOW_URL = world.url


def begin(world, *, age: int, is_logged: bool) -> Registration:
    """The row of a creation that was sent `age` seconds ago; `is_logged`: and whose caller got a 502."""
    at = timezone.now() - age * SECONDS
    row = world.begin("POST registered-models/create", world.create(), at=at)
    if is_logged:
        call(world.key, 1, request_id=row.request_id, at=at - SECONDS, status=502)
    return row


def outcome(row: Registration) -> str:
    row.refresh_from_db()
    return row.outcome


def test_what_mlflow_carried_out_is_settled_seconds_after_the_502(world):
    row = begin(world, age=4, is_logged=True)
    world.model()

    assert background.settle() == 1
    assert outcome(row) == "done"
    assert row.reason == "reconciled"


def test_a_call_that_may_still_run_is_left_alone(world):
    row = begin(world, age=4, is_logged=False)
    world.model()

    assert background.settle() == 0
    assert outcome(row) == "pending"


def test_what_mlflow_may_still_carry_out_waits_until_the_call_has_surely_ended(world):
    row = begin(world, age=4, is_logged=True)
    assert background.settle() == 0
    assert outcome(row) == "pending"

    old = begin(world, age=100, is_logged=False)
    assert background.settle() == 1
    assert (outcome(old), outcome(row)) == ("not_done", "pending")


def test_one_process_at_a_time(world):
    row = begin(world, age=4, is_logged=True)
    world.model()
    parameters = connection.get_connection_params()
    known = {
        name: parameters[name]
        for name in ("dbname", "user", "password", "host", "port")
        if parameters.get(name)
    }
    with psycopg.connect(**known, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [background.LOCK])
        assert background.settle() == 0
    assert outcome(row) == "pending"

    assert background.settle() == 1


def test_a_pass_is_bounded(world, monkeypatch):
    monkeypatch.setattr(background, "MAX_ROWS", 2)
    for _ in range(3):
        begin(world, age=100, is_logged=False)

    assert [background.settle(), background.settle(), background.settle()] == [2, 1, 0]


def test_without_pending_rows_one_query_is_all(db, django_assert_num_queries):
    with django_assert_num_queries(1):  # whether there is one
        assert background.settle() == 0


def test_without_mlflow_the_rows_stay(world, settings):
    settings.MLFLOW_URL = "http://127.0.0.1:9"
    row = begin(world, age=100, is_logged=False)
    with pytest.raises(RegistryError):
        background.settle()
    assert outcome(row) == "pending"


def test_a_worker_goes_on_after_a_failure_and_logs_its_own_name(caplog):
    failures, wanted = [RegistryError("away"), ValueError("a bug"), SystemExit()], threading.Event()

    def work() -> None:
        wanted.set()
        raise failures.pop(0)

    worker = background.Worker("some-worker", work, wanted, seconds=0)

    def run() -> None:
        with suppress(SystemExit):
            worker.run()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(5)

    assert not thread.is_alive()
    assert [(each.message, each.worker) for each in caplog.records] == [
        ("worker_waits", "some-worker"),
        ("worker_failed", "some-worker"),
    ]


def test_a_running_portal_does_it(mlflow_server):
    with portal(mlflow_url=mlflow_server.url, ISOLATION="required", RECONCILE_SECONDS="1") as running:
        key = running.issue("alice")["id"]
        running.sql(
            "insert into proxy_registration (request_id, at, user_id, key_id, actor, environment, operation, kind, "
            "is_prompt, object_name, new_name, version, run_id, source, tags, detail, outcome, reason, digest, hash) "
            "select 'req_1', now() - interval '2 minutes', owner_id, id, '', 'live', 'registered-models.create', "
            "'registered_model', false, 'never made', '', '', '', '', '{}', '{}', 'pending', '', '', '' "
            "from keys_apikey where public_id = %s",
            key,
        )
        assert wait_for(
            lambda: running.sql("select outcome from proxy_registration") == [("not_done",)], seconds=15
        )
