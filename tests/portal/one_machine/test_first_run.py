import datetime

import pytest
from django.contrib.auth import authenticate
from django.core import checks
from django.core.management import CommandError
from django.utils import timezone

from keys.models import ApiKey, KeyEvent, User
from portal.one_machine import first_run

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]


def test_a_database_without_an_admin_gets_one_and_a_first_key() -> None:
    made = first_run.prepare_database()
    admin = User.objects.get(is_superuser=True)
    assert authenticate(username=made["user"], password=made["password"]) == admin
    key = ApiKey.objects.get()
    assert (key.owner, key.name, key.environment) == (admin, "first key", "live")
    assert made["key"].endswith(key.last4)
    assert KeyEvent.objects.filter(key=key).count() == 1


def test_nothing_is_made_twice() -> None:
    first_run.prepare_database()
    assert first_run.prepare_database().keys() == {"warnings"}
    assert User.objects.count() == ApiKey.objects.count() == 1


def test_someone_who_happens_to_be_called_admin_is_not_made_one() -> None:
    User.objects.create_user("admin")
    assert "key" not in first_run.prepare_database()
    assert not User.objects.filter(is_superuser=True).exists()


def test_a_first_round_trip_tried_again_gets_a_key_that_soon_expires() -> None:
    assert first_run.retry_key() == {}
    first_run.prepare_database()
    made = first_run.retry_key()
    key = ApiKey.objects.get(last4=made["key"][-4:])
    assert key.expires_at is not None
    assert key.expires_at - timezone.now() < datetime.timedelta(minutes=16)


def test_a_setting_that_cannot_work_stops_the_start_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        first_run, "run_checks", lambda: [checks.Error("MLFLOW_URL is\nthe portal", hint="change it")]
    )
    with pytest.raises(CommandError, match=r"^MLFLOW_URL is the portal change it$"):
        first_run.prepare_database()


def test_a_setting_that_is_unwise_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_run, "run_checks", lambda: [checks.Warning("limits are counted per process")])
    assert first_run.prepare_database()["warnings"] == "limits are counted per process"
