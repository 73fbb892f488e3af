"""An unused key is the same for the dashboard, the list, the API, the command and the alert."""

import datetime
import io
import json

import pytest
from django.core.management import call_command
from django.utils import timezone

from keys import actions, alerts
from keys.models import Alert, ApiKey, User
from tests.keys.people import KEYS, key_of, signed_in

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]
OLD = datetime.timedelta(days=100)


@pytest.fixture
def alice():
    return signed_in(User.objects.create_superuser("alice"))


@pytest.fixture
def unused() -> ApiKey:
    """The one unused key, beside a canary that nobody used, a key that was used, and a new one."""
    dora = User.objects.create_user("dora")
    key = key_of(dora, "unused")
    canary, _ = actions.issue(owner=dora, name="canary", is_canary=True)
    used = key_of(dora, "used")
    ApiKey.objects.filter(pk__in=[key.pk, canary.pk, used.pk]).update(created_at=timezone.now() - OLD)
    ApiKey.objects.filter(pk=used.pk).update(last_used_at=timezone.now())
    key_of(dora, "new")
    return key


def test_the_query_leaves_canaries_out(unused):
    assert ApiKey.objects.unused().get() == unused


def test_the_dashboard_leaves_canaries_out(alice, unused):
    assert list(alice.get("/admin/").context["unused"]) == [unused]


def test_the_list_leaves_canaries_out(alice, unused):
    assert list(alice.get(KEYS, {"unused": "90"}).context["cl"].result_list) == [unused]


def test_the_api_leaves_canaries_out(alice, unused):
    since = (timezone.now() - datetime.timedelta(days=90)).isoformat()
    [row] = alice.get("/api/v1/keys", {"unused_since": since}).json()["results"]
    assert row["id"] == unused.public_id


def test_the_command_leaves_canaries_out(unused):
    out = io.StringIO()
    call_command("list_keys", "--unused", "--json", stdout=out)
    [row] = json.loads(out.getvalue())
    assert row["id"] == unused.public_id


def test_the_alert_leaves_canaries_out(unused):
    alerts.check_keys()
    assert Alert.objects.get(kind=Alert.Kind.UNUSED).key == unused
