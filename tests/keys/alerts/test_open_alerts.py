"""Which alerts are open: they still apply, and nobody has settled them. And who was notified of each."""

import datetime

import pytest
from django.contrib.admin.models import LogEntry
from django.core import mail
from django.db import IntegrityError
from django.utils import timezone

from keys import actions
from keys.actions.actor import COMMAND
from keys.alerts import deliveries, leaks, notify, webhook
from keys.alerts.mail import send_mail
from keys.alerts.notifications import end_alert
from keys.alerts.settling import settle
from keys.alerts.trial import send_test_alert
from keys.models import Alert, ApiKey
from portal import environment
from tests.keys.people import by

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]

DAY = datetime.timedelta(days=1)


@pytest.fixture
def key(cast) -> ApiKey:
    return actions.issue(owner=cast["dora"], name="nightly training")[0]


def alert(
    key: ApiKey | None, kind: str, *, age: datetime.timedelta = datetime.timedelta(), **detail
) -> Alert:
    notify(kind=kind, key=key, occasion=f"{kind} {Alert.objects.count()}", **detail)
    made = Alert.objects.order_by("pk").last()
    Alert.objects.filter(pk=made.pk).update(at=timezone.now() - age)
    made.refresh_from_db()
    return made


def change(key: ApiKey, **values) -> None:
    ApiKey.objects.filter(pk=key.pk).update(**values)


def is_open(alert: Alert) -> bool:
    found = Alert.objects.open().filter(pk=alert.pk).exists()
    assert Alert.objects.settled().filter(pk=alert.pk).exists() is not found
    return found


def test_a_leak_is_open_until_the_key_is_rotated(cast):
    key, secret = actions.issue(owner=cast["dora"], name="leaky")
    leaks.report(text=secret, where="a wiki")
    leak = Alert.objects.get()
    assert is_open(leak)

    actions.rotate(key=key, overlap="now", actor=COMMAND)

    assert not is_open(leak)


@pytest.mark.parametrize("kind", [kind for kind in Alert.Kind.values if kind not in Alert.WITHOUT_KEY])
def test_an_alert_of_a_revoked_key_is_settled(key, kind):
    change(key, expires_at=timezone.now() + DAY)
    made = alert(key, kind)
    assert is_open(made) is (kind != "expired")

    actions.revoke(key=key)

    assert not is_open(made)


def test_an_old_secret_and_a_canary_are_open_until_somebody_settles_them(key):
    for made in (alert(key, "leaked", age=300 * DAY, is_old=True), alert(key, "canary_used", age=300 * DAY)):
        assert is_open(made)
        settle(alert=made, actor=COMMAND)
        assert not is_open(made)


def test_an_expiry_is_open_until_it_is_moved_or_announced_again(key):
    change(key, expires_at=timezone.now() + 6 * DAY)
    first = alert(key, "expiring", days=14)
    second = alert(key, "expiring", days=7)
    assert [is_open(first), is_open(second)] == [False, True]

    change(key, expires_at=timezone.now() + 60 * DAY)

    assert not is_open(second)


def test_what_is_only_for_information_settles_by_itself(key):
    change(key, expires_at=timezone.now() - DAY)

    for kind in ("expired", "new_network"):
        assert is_open(alert(key, kind, age=13 * DAY))
        assert not is_open(alert(key, kind, age=15 * DAY))


def test_an_unused_key_is_settled_by_its_next_use(key):
    made = alert(key, "unused", age=DAY)
    change(key, last_used_at=timezone.now() - 100 * DAY)
    assert is_open(made)

    change(key, previous_used_at=timezone.now())

    assert not is_open(made)


def test_a_disk_is_open_until_it_has_room_again(db):
    made = alert(None, "disk_nearly_full")
    assert is_open(made)

    end_alert(kind="disk_nearly_full", occasion=made.occasion)

    assert not is_open(made)


def test_a_limit_is_settled_by_the_next_month(key):
    assert is_open(alert(key, "quota"))
    assert not is_open(alert(key, "quota", age=32 * DAY))


def test_settling_is_done_once_and_written_down(cast, key):
    made = alert(key, "canary_used")

    assert [settle(alert=made, actor=by(cast["bob"])), settle(alert=made, actor=COMMAND)] == [True, False]

    made.refresh_from_db()
    assert made.settled_by == cast["bob"]
    assert "Marked the alert as settled." in LogEntry.objects.get().get_change_message()


def test_nobody_settles_an_alert_at_no_time(cast, key):
    made = alert(key, "canary_used")

    with pytest.raises(IntegrityError, match="alert_settled_at_some_time"):
        Alert.objects.filter(pk=made.pk).update(settled_by=cast["bob"])


def test_it_is_kept_who_got_the_mail(cast, key, settings):
    settings.SMTP_URL, settings.ALERT_EMAILS = {"EMAIL_HOST": "localhost"}, ["admins@example.org"]
    type(cast["dora"]).objects.filter(pk=cast["dora"].pk).update(email="dora@example.org")
    made = alert(key, "unused", since="2026-01-01")
    assert deliveries.deliveries([made])[made.pk][0].state == "waiting"

    send_mail(Alert.objects.select_related("key__owner").get(pk=made.pk))

    made.refresh_from_db()
    mailed, posted = deliveries.deliveries([made])[made.pk]
    assert mailed.state == "delivered"
    assert mailed.to == ("dora@example.org", "admins@example.org")
    assert posted.state == "not sent"
    assert mail.outbox[0].to == list(mailed.to)


def test_channels_say_whether_they_are_set_up(db, settings, monkeypatch):
    settings.SMTP_URL, settings.ALERT_WEBHOOK_URL = {}, ""
    assert [channel.is_set_up for channel in deliveries.channels()] == [False, False, False]

    monkeypatch.setenv("SMTP_URL", "smtp://user:hunter2@mail.example.org:587")
    settings.SMTP_URL = environment.smtp_url("SMTP_URL")
    settings.ALERT_EMAILS = ["admins@example.org"]
    settings.ALERT_WEBHOOK_URL = "https://hooks.example.org/secret-path"
    shown = deliveries.channels()

    assert [channel.is_set_up for channel in shown] == [True, True, False]
    assert "mail.example.org" in shown[0].text
    assert "1 address in ALERT_EMAILS" in shown[0].text
    assert "hooks.example.org" in shown[1].text
    assert not any(word in str(shown) for word in ("hunter2", "secret-path"))


def test_a_test_alert_says_what_became_of_it_on_each_channel(cast, settings, monkeypatch):
    settings.SMTP_URL, settings.ALERT_WEBHOOK_URL = {}, ""
    assert {result.result for result in send_test_alert(actor=by(cast["bob"]))} == {"not set up"}

    def refuses(content) -> None:
        raise OSError("the receiver responded with 500")

    monkeypatch.setattr(webhook, "post_content", refuses)
    settings.SMTP_URL, settings.ALERT_EMAILS = {"EMAIL_HOST": "localhost"}, ["admins@example.org"]
    settings.ALERT_WEBHOOK_URL = "https://hooks.example.org/"
    mailed, posted = send_test_alert(actor=by(cast["bob"]))

    assert (mailed.result, mail.outbox[0].to) == ("sent", ["admins@example.org"])
    assert (posted.result, "the receiver responded with 500" in posted.text) == ("failed", True)
    assert "mail sent, webhook failed" in LogEntry.objects.first().get_change_message()
