"""A key that was found is shut at once, a canary's use is told, and nobody learns from the answers which is which."""

import json
import re
import time

import pytest
from django.db import IntegrityError, OperationalError, transaction
from django.test import Client
from django.utils import timezone

from keys import actions
from keys.alerts import leaks
from keys.alerts.canaries import MAX_ALERTS, record_use
from keys.alerts.wording import describe_alert
from keys.credentials import tokens
from keys.limits.counters import get_counters
from keys.models import Alert, ApiKey
from keys.refusals import Refusal
from tests.portals import wait_for
from tests.proxy.forwarding.test_forwarding import GET_EXPERIMENT

pytestmark = pytest.mark.postgresql

API = "/api/v1/leaks"
FREE = "198.51.100.7"


@pytest.fixture(autouse=True)
def _nobody_has_reported_yet(settings):
    get_counters.cache_clear()


@pytest.fixture
def found(cast) -> tuple[ApiKey, str]:
    return actions.issue(owner=cast["dora"], name="nightly training")


def events(key: ApiKey) -> list[str]:
    return list(key.events.order_by("id").values_list("kind", flat=True))


def test_a_real_key_is_paused_and_that_is_written_down(found):
    key, secret = found
    leaks.report(text=f"export MLFLOW_TRACKING_TOKEN='{secret}'\n", where="github.com/x", address=FREE)

    key.refresh_from_db()
    assert key.state == ApiKey.State.PAUSED
    assert events(key) == ["issued", "paused", "leaked"]
    event = key.events.get(kind="leaked")
    assert (event.address, event.detail["where"], event.actor) == (FREE, "github.com/x", None)
    alert = Alert.objects.get(key=key)
    assert (alert.kind, alert.detail) == ("leaked", {"where": "github.com/x", "was_live": True})


def test_reported_again_it_is_told_only_once_but_anew_after_it_was_rotated(found):
    key, secret = found
    for _ in range(2):
        leaks.report(text=secret, address=FREE)
    assert Alert.objects.count() == 1
    _, secret = actions.rotate(key=key, overlap="now")
    assert ApiKey.objects.get(pk=key.pk).state == ApiKey.State.ACTIVE
    leaks.report(text=secret, address=FREE)

    assert Alert.objects.count() == 2
    assert ApiKey.objects.get(pk=key.pk).paused_at


def test_the_secret_from_before_a_rotation_counts_too(found):
    key, secret = found
    actions.rotate(key=key, overlap="24h")
    leaks.report(text=secret, address=FREE)

    assert ApiKey.objects.get(pk=key.pk).state == ApiKey.State.PAUSED


def test_a_secret_that_a_rotation_ended_pauses_nothing_and_is_told_once_a_day(found):
    key, secret = found
    actions.rotate(key=key, overlap="24h")
    ApiKey.objects.update(previous_ends_at=timezone.now())
    for _ in range(3):
        leaks.report(text=secret, where="a log", address=FREE)

    assert ApiKey.objects.get(pk=key.pk).paused_at is None
    assert events(key) == ["issued", "rotated", "leaked"]
    [alert] = Alert.objects.all()
    assert "the key goes on" in describe_alert(alert)[1]
    assert "paused" not in describe_alert(alert)[1]


def test_a_revoked_key_stays_revoked_and_is_told(found):
    key, secret = found
    actions.revoke(key=key)
    leaks.report(text=secret, address=FREE)

    assert events(key) == ["issued", "revoked", "leaked"]
    assert Alert.objects.get().detail["was_live"] is False


def test_several_keys_in_one_report_are_all_shut(cast):
    made = [actions.issue(owner=cast["dora"], name=f"key {number}") for number in range(3)]
    leaks.report(text="\n".join(secret for _, secret in made), address=FREE)

    assert ApiKey.objects.filter(paused_at__isnull=False).count() == 3


def mistyped(secret: str) -> str:
    return secret[:-1] + ("0" if secret[-1] != "0" else "1")


@pytest.mark.parametrize(
    "text", ["", "nothing", "hk_live_short", pytest.param(mistyped(tokens.generate().secret), id="mistyped")]
)
def test_without_a_well_formed_key_there_is_nothing_to_report(db, text):
    with pytest.raises(Refusal) as raised:
        leaks.report(text=text, address=FREE)
    assert (raised.value.status, raised.value.reason) == (400, "no_key_in_report")


def test_a_real_key_and_a_look_alike_get_the_same_answer_in_the_same_time(found, client):
    answers, seconds = [], []
    for secret in (found[1], tokens.generate().secret):
        started = time.monotonic()
        answers.append(client.post(API, {"key": secret}, content_type="application/json"))
        seconds.append(time.monotonic() - started)

    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].content == answers[1].content
    assert found[1].encode() not in answers[0].content
    assert min(seconds) >= leaks.FLOOR_SECONDS


@pytest.mark.parametrize("where", ["a\0b", "\ud800", "\x1b[2J", "\u202e"])
def test_no_place_tells_a_real_key_from_a_look_alike(found, client, where):
    body = {"key": found[1], "where": where}
    answers = [
        client.post(API, json.dumps(body | {"key": secret}), content_type="application/json")
        for secret in (found[1], tokens.generate().secret)
    ]

    assert [answer.status_code for answer in answers] == [202, 202]
    assert ApiKey.objects.get(pk=found[0].pk).paused_at
    assert found[0].events.get(kind="leaked").detail["where"].isprintable()


def test_a_key_that_cannot_be_shut_neither_shows_nor_stops_the_others(cast, monkeypatch, caplog):
    made = [actions.issue(owner=cast["dora"], name=f"key {number}") for number in range(3)]
    shut = leaks.pause_key

    def failing(key: ApiKey, **given) -> None:
        if key.pk == made[1][0].pk:
            raise OperationalError("away")
        shut(key, **given)

    monkeypatch.setattr(leaks, "pause_key", failing)
    leaks.report(text="\n".join(secret for _, secret in made), address=FREE)

    assert ApiKey.objects.filter(paused_at__isnull=False).count() == 2
    assert "found_key_not_shut" in caplog.messages


def test_what_is_nested_without_end_is_no_report_and_counts_as_one(db, client):
    answers = [
        client.post(API, "[" * 60_000, content_type="application/json")
        for _ in range(leaks.REPORTS_A_MINUTE + 1)
    ]

    assert {answer.status_code for answer in answers[:-1]} == {400}
    assert answers[0].json()["reason"] == "bad_report"
    assert answers[-1].status_code == 429


def test_one_network_reports_only_so_often(db, client, monkeypatch):
    monkeypatch.setattr(leaks, "FLOOR_SECONDS", 0.0)
    secret = tokens.generate().secret
    statuses = [
        client.post(API, {"key": secret}, content_type="application/json", REMOTE_ADDR=f"203.0.113.{number}")
        for number in range(leaks.REPORTS_A_MINUTE + 1)
    ]
    elsewhere = client.post(API, {"key": secret}, content_type="application/json", REMOTE_ADDR="192.0.2.1")

    assert [answer.status_code for answer in statuses] == [202] * leaks.REPORTS_A_MINUTE + [429]
    assert statuses[-1].json()["reason"] == "too_many_reports"
    assert statuses[-1]["Retry-After"] == "30"
    assert elsewhere.status_code == 202


@pytest.mark.parametrize("body", ["", "[]", '{"key": 1}', '{"where": "x"}', '{"key": "a", "where": []}', "{"])
def test_a_report_that_cannot_be_read_says_what_one_is(db, client, body):
    answer = client.post(API, body, content_type="application/json")

    assert (answer.status_code, answer.json()["reason"]) == (400, "bad_report")
    assert client.get(API).status_code == 405


def test_anybody_may_report_on_the_page_and_the_key_is_not_sent_back(found):
    client = Client(enforce_csrf_checks=True)
    shown = client.get("/leaks")
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', shown.content.decode())[1]
    done = client.post("/leaks", {"key": found[1], "where": "a log", "csrfmiddlewaretoken": token})
    wrong = client.post("/leaks", {"key": mistyped(found[1]), "csrfmiddlewaretoken": token})

    assert b"Thank you" in done.content
    assert ApiKey.objects.get(pk=found[0].pk).paused_at
    assert wrong.status_code == 400
    assert b"There is no key in this" in wrong.content
    assert mistyped(found[1])[8:].encode() not in wrong.content
    assert client.post("/leaks", {"key": found[1]}).status_code == 403
    assert "no-store" in done["Cache-Control"]


def test_an_occasion_is_one_row(found):
    Alert.objects.create(key=found[0], kind="unused", occasion="2026-01-01")
    with pytest.raises(IntegrityError, match="one_alert_an_occasion"), transaction.atomic():
        Alert.objects.create(key=found[0], kind="unused", occasion="2026-01-01")


def without_request_id(reply) -> str:
    return reply.body.decode().replace(reply.headers["X-Request-ID"], "req_")


def test_a_canary_is_refused_like_a_key_that_nobody_knows_and_its_use_is_told(echo, echo_portal):
    canary = echo_portal.issue("canaries", "--canary")
    used = [
        echo_portal.request("GET", GET_EXPERIMENT, key=canary["key"], headers=[("User-Agent", "curl/8")])
        for _ in range(3)
    ]
    unknown = echo_portal.request("GET", GET_EXPERIMENT, key=tokens.generate().secret)

    assert {reply.status for reply in used} == {unknown.status} == {401}
    for reply in used:
        assert without_request_id(reply) == without_request_id(unknown)
        assert set(reply.headers) == set(unknown.headers)
    assert not echo.arriving
    told = echo_portal.rows(
        "select e.kind, e.address, e.detail from keys_keyevent e join keys_apikey k on k.id = e.key_id "
        "where k.public_id = %s and e.kind = 'canary_used'",
        canary["id"],
    )
    assert [(str(row["address"]), row["detail"]["client"]) for row in told] == [("127.0.0.1", "curl/8")]
    assert wait_for(lambda: canary["id"] in echo_portal.log.read_text())
    assert canary["key"] not in echo_portal.log.read_text()


def test_a_canary_used_from_everywhere_raises_few_alarms_and_counts_the_rest(cast):
    canary, _ = actions.issue(owner=cast["dora"], name="laid out", is_canary=True)
    for number in range(MAX_ALERTS + 20):
        record_use(canary, address=f"10.0.{number}.1", client="curl")
    record_use(canary, address="10.0.0.2", client="curl")  # a network that was told of

    assert events(canary).count("canary_used") == Alert.objects.count() == MAX_ALERTS + 1
    folded = Alert.objects.get(occasion__startswith="further")
    assert folded.detail["calls"] == 20
    assert "from many networks" in describe_alert(folded)[1]
