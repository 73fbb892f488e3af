"""What is due is told once, by mail and by webhook, and tried again until it has arrived."""

import datetime
import hashlib
import hmac
import json
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from aiosmtpd.controller import Controller
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinateJob

from keys import actions, alerts
from keys.alerts import outbox
from keys.alerts.queue import QueueState, queue_state
from keys.alerts.webhook import alert_content
from keys.alerts.wording import describe_alert
from keys.credentials import tokens
from keys.models import Alert, ApiKey
from portal.one_machine.ports import free_port
from tests.portals import ROOT, portal, wait_for

pytestmark = pytest.mark.postgresql

DAY = datetime.timedelta(days=1)
SECRET = "a webhook's secret"


@pytest.fixture
def key(cast) -> ApiKey:
    return actions.issue(owner=cast["dora"], name="nightly training")[0]


def aged(key: ApiKey, **values) -> None:
    ApiKey.objects.filter(pk=key.pk).update(**values)


def told() -> list[tuple[str, str]]:
    return list(Alert.objects.order_by("id").values_list("kind", "occasion"))


def test_nothing_is_told_of_keys_that_are_well(key):
    assert alerts.check_keys() == 0


def test_the_command_looks_once_and_says_how_many_are_new(key, capsys):
    aged(key, expires_at=timezone.now() + DAY / 2)
    call_command("alerts", "--look", "--json")
    call_command("alerts", "--look")

    assert capsys.readouterr().out.splitlines() == ['{"alerts": 1}', "0 new alerts"]
    with pytest.raises(CommandError, match="--json needs --look"):
        call_command("alerts", "--json")


@pytest.mark.parametrize(("left", "days"), [(13.9, 14), (7, 7), (6.5, 7), (0.9, 1), (0.01, 1)])
def test_an_end_is_announced_14_7_and_1_days_before_once_each(key, left, days):
    aged(key, expires_at=timezone.now() + left * DAY)
    assert [alerts.check_keys(), alerts.check_keys()] == [1, 0]

    [(kind, occasion)] = told()
    assert kind == "expiring"
    assert occasion.endswith(f" {days}")


def test_each_of_the_three_comes_in_its_turn_and_then_the_end(key):
    end = timezone.now() + 20 * DAY
    for left in (20, 13, 6, 0.5, -0.1):
        aged(key, expires_at=end)
        moved = (end - timezone.now()) - left * DAY
        end -= moved
        aged(key, expires_at=end)
        alerts.check_keys()

    assert [kind for kind, _ in told()] == ["expiring", "expiring", "expiring", "expired"]


def test_a_prolonged_key_is_announced_anew(key):
    aged(key, expires_at=timezone.now() + 6 * DAY)
    alerts.check_keys()
    aged(key, expires_at=timezone.now() + 5 * DAY)

    assert alerts.check_keys() == 1


def test_revoked_and_long_expired_keys_are_no_news(key, cast):
    aged(key, expires_at=timezone.now() - 5 * DAY)
    other = actions.issue(owner=cast["dora"], name="other")[0]
    aged(other, expires_at=timezone.now() + 5 * DAY)
    actions.revoke(key=other)

    assert alerts.check_keys() == 0


def test_a_key_that_lies_idle_for_90_days_is_told_of(key):
    aged(key, created_at=timezone.now() - 200 * DAY)
    assert [alerts.check_keys(), alerts.check_keys()] == [1, 0]
    aged(key, last_used_at=timezone.now() - 95 * DAY)
    assert alerts.check_keys() == 1
    aged(key, previous_used_at=timezone.now() - DAY)
    assert alerts.check_keys() == 0


@pytest.mark.parametrize(("calls", "share"), [(79, None), (80, 80), (99, 80), (100, 100), (500, 100)])
def test_a_months_limit_is_told_of_at_80_and_100_per_cent(key, calls, share, monkeypatch):
    aged(key, monthly_requests=100)
    monkeypatch.setattr(
        "keys.limits.month_limits.read_logged_months", lambda ids: dict.fromkeys(ids, (calls, 0))
    )
    alerts.check_keys()
    alerts.check_keys()

    assert [occasion.rpartition(" ")[2] for _, occasion in told()] == ([str(share)] if share else [])


def test_how_much_is_used_is_read_at_a_constant_cost(key, cast, django_assert_num_queries):
    for number in range(3):
        actions.issue(owner=cast["dora"], name=str(number), monthly_requests=10)
    with django_assert_num_queries(7):  # expiring, expired, unused, quotas, totals, organisations, networks
        alerts.check_keys()


@pytest.mark.parametrize("kind", [kind for kind in Alert.Kind if kind not in Alert.WITHOUT_KEY])
def test_every_kind_has_its_words_and_no_secret(key, kind):
    aged(key, expires_at=timezone.now())
    key.refresh_from_db()
    detail = {"where": "x", "address": "192.0.2.1", "days": 7, "share": 80, "what": "requests", "limit": 5}
    detail |= {"since": "2026-01-01", "network": "192.0.2.0/24", "first_used": "2026-01-01 10:00 UTC"}
    alert = Alert(key=key, kind=kind, at=timezone.now(), detail=detail)
    subject, advice = describe_alert(alert)

    assert "nightly training" in subject
    assert not set("{}") & set(subject + advice)
    assert not tokens.KEY_LIKE_PATTERN.search(json.dumps(alert_content(alert)))


def test_a_canarys_owner_is_not_warned(key, settings):
    settings.ALERT_EMAILS = ["security@registry.example"]
    key.owner.email = "dora@registry.example"

    assert alerts.recipients(Alert(key=key, kind="unused")) == [
        "dora@registry.example",
        *settings.ALERT_EMAILS,
    ]
    assert alerts.recipients(Alert(key=key, kind="canary_used")) == settings.ALERT_EMAILS


class Mailbox:
    def __init__(self) -> None:
        self.mails: list[tuple[list[str], str]] = []
        self.refuse = 1

    async def handle_DATA(self, server, session, envelope):  # noqa: N802  aiosmtpd's name
        if self.refuse:
            self.refuse -= 1
            return "451 try again"
        self.mails.append((envelope.rcpt_tos, envelope.content.decode()))
        return "250 taken"


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posts.append((dict(self.headers), body))
        self.send_response(503 if len(self.server.posts) == 1 else 204)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def running_outbox(running, *, code=0):
    log = running.log.with_name("alerts.log")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "manage.py"), "alerts"],
            env=running.environment, cwd=ROOT, stdout=output, stderr=output,
        )  # fmt: skip
    try:
        yield process, log
    finally:
        process.terminate()
        assert process.wait(20) == code, log.read_text()


def test_a_found_key_is_told_by_mail_and_webhook_though_both_fail_at_first(echo):
    mailbox = Mailbox()
    smtp = Controller(mailbox, hostname="127.0.0.1", port=free_port())
    smtp.start()
    receiver = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    receiver.posts = []
    threading.Thread(target=receiver.serve_forever, args=(0.02,), daemon=True).start()
    settings = {
        "SMTP_URL": f"smtp://127.0.0.1:{smtp.port}",
        "ALERT_EMAILS": "security@registry.example",
        "ALERT_WEBHOOK_URL": f"http://127.0.0.1:{receiver.server_port}/hook",
        "ALERT_WEBHOOK_SECRET": SECRET,
    }
    try:
        with (
            portal(mlflow_url=echo.url, **settings) as running,  # its database holds no alert of another test
            running_outbox(running) as (_, log),
        ):
            issued = running.issue("finder")
            running.sql("update keys_user set email = 'finder@registry.example' where username = 'finder'")
            reply = running.request("POST", "/api/v1/leaks", body={"key": issued["key"], "where": "a wiki"})
            assert reply.status == 202
            query = "select mailed_at, posted_at from keys_alert where kind = 'leaked'"
            assert wait_for(lambda: mailbox.mails and len(receiver.posts) >= 2, seconds=20), log.read_text()
            assert wait_for(lambda: all(running.sql(query)[0]))
            assert wait_for(
                lambda: not running.sql("select 1 from procrastinate_jobs where task_name <> 'alerts.look'")
            )
        assert issued["key"] not in log.read_text() + running.log.read_text()
    finally:
        smtp.stop()
        receiver.shutdown()
        receiver.server_close()

    [(recipients, mail)] = mailbox.mails
    assert recipients == ["finder@registry.example", "security@registry.example"]
    assert "Rotate the key with the overlap" in mail
    assert issued["id"] in mail
    headers, body = receiver.posts[-1]
    stamp = headers["X-Hokusai-Timestamp"]
    expected = hmac.new(SECRET.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
    assert headers["X-Hokusai-Signature"] == f"sha256={expected}"
    said = json.loads(body)
    assert (said["kind"], said["key"]["id"], said["detail"]["where"]) == ("leaked", issued["id"], "a wiki")
    assert issued["key"] not in mail + body.decode()
    assert len(receiver.posts) == 2


class Hanging(Receiver):
    """Does not answer its first post until the test is over."""

    def do_POST(self) -> None:
        if self.server.hangs:
            self.server.hangs = False
            self.server.over.wait()
            return
        super().do_POST()


@pytest.fixture
def hanging():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hanging)
    server.posts, server.hangs, server.over = [(None, None)], True, threading.Event()
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.over.set()
    server.shutdown()
    server.server_close()


def test_what_a_killed_process_was_delivering_is_delivered_by_the_next(hanging, echo, echo_portal):
    settings = {
        "ALERT_WEBHOOK_URL": f"http://127.0.0.1:{hanging.server_port}/hook",
        "ALERT_WEBHOOK_SECRET": SECRET,
    }
    issued = echo_portal.issue("killed")
    with portal(mlflow_url=echo.url, database=echo_portal.database, **settings) as running:
        running.request("POST", "/api/v1/leaks", body={"key": issued["key"], "where": "a wiki"})
        with running_outbox(running, code=-signal.SIGKILL) as (process, _):
            assert wait_for(lambda: not hanging.hangs, seconds=20)
            process.kill()
        begun = "select id from procrastinate_jobs where status = 'doing'"
        assert running.sql(begun)
        running.sql("update procrastinate_workers set last_heartbeat = now() - interval '1 minute'")
        with running_outbox(running) as (_, log):
            assert wait_for(lambda: len(hanging.posts) == 2, seconds=20), log.read_text()
            assert wait_for(lambda: not running.sql(begun))


def test_a_task_that_was_queued_again_while_its_process_was_dead_does_not_wait_for_it(echo, echo_portal):
    """Two tasks of a version's scan have the same lock, which the first one held when its process was killed."""
    with portal(mlflow_url=echo.url, database=echo_portal.database) as running:
        running.sql(
            "insert into procrastinate_jobs (queue_name, task_name, lock, queueing_lock, args, status, attempts)"
            " select 'scans', 'versions.queue_missing', 'one', 'one', '{\"timestamp\": 0}', status, 0"
            " from unnest(array['doing', 'todo']::procrastinate_job_status[]) as status"
        )
        with running_outbox(running) as (_, log):
            left = "select id from procrastinate_jobs where lock = 'one'"
            assert wait_for(lambda: not running.sql(left), seconds=20), log.read_text()


def test_what_others_left_is_looked_for_every_minute():
    periodic = outbox.app.periodic_registry.periodic_tasks

    assert periodic["alerts.take_up", ""].cron == "* * * * *"


def test_what_is_rolled_back_is_never_delivered(key, settings):
    settings.ALERT_WEBHOOK_URL = "http://127.0.0.1:9"

    def fail() -> None:
        alerts.notify(kind=Alert.Kind.UNUSED, key=key, occasion="x")
        assert ProcrastinateJob.objects.count() == 1
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        transaction.atomic(fail)()
    assert (ProcrastinateJob.objects.count(), Alert.objects.count()) == (0, 0)


def test_how_the_outbox_does_is_told_by_its_oldest_alert_and_what_was_given_up(key, settings):
    assert queue_state() == QueueState(oldest_seconds=0, failed=0)
    settings.ALERT_WEBHOOK_URL = "http://127.0.0.1:9"
    for occasion in ("delivered", "given up", "old", "young"):
        alerts.notify(kind=Alert.Kind.UNUSED, key=key, occasion=occasion)
    Alert.objects.exclude(occasion="young").update(at=timezone.now() - datetime.timedelta(hours=1))
    Alert.objects.filter(occasion__in=["delivered", "given up"]).update(at=timezone.now() - DAY)
    given_up, delivered = (Alert.objects.get(occasion=name).pk for name in ("given up", "delivered"))
    with connection.cursor() as cursor:
        update = "update procrastinate_jobs set status = %s where args = %s"
        cursor.execute(update, ["failed", json.dumps({"alert_id": given_up})])
        cursor.execute(update, ["succeeded", json.dumps({"alert_id": delivered})])

    state = queue_state()

    assert 3600 <= state.oldest_seconds < 3700
    assert state.failed == 1
