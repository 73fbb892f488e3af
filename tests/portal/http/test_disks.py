"""A disk that is nearly full is reported before it is full."""

from collections import namedtuple

import pytest
from django.core import mail
from django.db import IntegrityError, transaction
from procrastinate.contrib.django.models import ProcrastinateJob

from keys.alerts.mail import send_mail
from keys.alerts.webhook import alert_content
from keys.models import Alert
from portal.http import disks, health
from proxy.usage import recording

Usage = namedtuple("Usage", "total used free")
GIB = 1024**3


@pytest.fixture
def disk(monkeypatch, settings, tmp_path):
    """Sets what the disks have: `disk(total, free)`, in GiB."""
    settings.DATA_DIR = tmp_path
    (tmp_path / "spool").mkdir()

    def set_usage(total: float, free: float) -> None:
        usage = Usage(int(total * GIB), 0, int(free * GIB))
        monkeypatch.setattr(disks.shutil, "disk_usage", lambda folder: usage)

    return set_usage


@pytest.mark.parametrize(
    ("total", "free", "is_full"), [(100, 50, False), (100, 4, True), (10, 0.9, True), (4, 2, False)]
)
def test_less_than_a_gibibyte_or_five_per_cent_is_nearly_full(disk, total, free, is_full):
    disk(total, free)
    assert bool(disks.problem()) is is_full


def test_health_is_degraded_when_a_disk_is_nearly_full(disk, monkeypatch, settings):
    # Other tests of this process may have lost calls, or left some in its spool.
    monkeypatch.setattr(recording, "losses", recording.Losses())
    monkeypatch.setattr(recording, "FOLDER", settings.DATA_DIR / "spool")
    disk(100, 50)
    assert health.spool()["status"] == "ok"
    disk(100, 2)
    result = health.spool()

    assert result["status"] == "degraded"
    assert result["problem"] == "The disk of the usage log's spool is nearly full: 2 GiB of 100 GiB are free"
    assert health.verdict({"spool": result}, needed=health.NEEDED) == "degraded"


def test_the_disk_of_the_embedded_mlflow_counts_where_there_is_one(disk, tmp_path, monkeypatch):
    (tmp_path / "artifacts").mkdir()
    full, roomy = Usage(100 * GIB, 0, GIB), Usage(100 * GIB, 0, 50 * GIB)
    monkeypatch.setattr(
        disks.shutil, "disk_usage", lambda folder: full if folder.name == "artifacts" else roomy
    )

    assert disks.problem().startswith("The disk of MLflow's artifacts is nearly full")


@pytest.mark.postgresql
@pytest.mark.django_db
def test_a_disk_raises_one_alert_until_it_has_room_again(disk, settings, monkeypatch):
    settings.SMTP_URL, settings.ALERT_EMAILS = {"EMAIL_HOST": "mail.internal"}, ["ops@example.org"]
    settings.ALERT_WEBHOOK_URL = "https://alerts.example"
    monkeypatch.setattr(disks.socket, "gethostname", lambda: "replica-1")
    disk(100, 4)
    disks.update_alerts()
    disk(100, 5.5)  # nearly full no more, but about to be again
    disks.update_alerts()
    disk(100, 3)
    disks.update_alerts()
    alert = Alert.objects.get()

    assert ProcrastinateJob.objects.count() == 2, "mail and webhook"
    content = alert_content(alert)
    assert content["text"] == (
        "The disk of the usage log's spool on replica-1 is nearly full: 4 GiB of 100 GiB are free"
    )
    assert (content["kind"], content["key"], content["user"]) == ("disk_nearly_full", None, None)
    send_mail(alert)
    assert (mail.outbox[0].subject, mail.outbox[0].to) == (content["text"], ["ops@example.org"])

    disk(100, 50)
    disks.update_alerts()
    alert.refresh_from_db()
    assert alert.ended_at
    disk(100, 4)
    disks.update_alerts()
    assert Alert.objects.filter(ended_at=None).count() == 1
    assert Alert.objects.count() == 2


@pytest.mark.postgresql
@pytest.mark.django_db
@pytest.mark.parametrize(
    ("kind", "name"),
    [("disk_nearly_full", "one_open_alert_without_key"), ("unused", "alert_is_about_key_or_disk")],
)
def test_postgresql_keeps_the_rules_of_alerts_without_a_key(kind, name):
    Alert.objects.create(kind="disk_nearly_full", occasion="a disk")

    with pytest.raises(IntegrityError, match=name), transaction.atomic():
        Alert.objects.create(kind=kind, occasion="a disk")
