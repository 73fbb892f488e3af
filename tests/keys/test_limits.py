"""What a key has used of its limits."""

import datetime

import pytest
from django.utils import timezone

from keys import actions, limits
from keys.models import ApiKey, User
from proxy.models import CallTotal

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]


@pytest.fixture
def key() -> ApiKey:
    return actions.issue(owner=User.objects.create_user("alice"), name="training", monthly_requests=200)[0]


def total(key: ApiKey, start: datetime.datetime, calls: int, *, span: str = "day") -> None:
    CallTotal.objects.create(
        span=span,
        start=start,
        key=key,
        user=key.owner,
        operation="runs.get",
        status_class=2,
        calls=calls,
        bytes_in=calls,
        bytes_out=calls * 10,
        latencies=[0] * 16,
    )


def test_the_month_is_counted_from_its_first_day(key, django_assert_num_queries):
    first = timezone.now().replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    total(key, first, 30)
    total(key, first + datetime.timedelta(days=1), 20)
    total(key, first, 50, span="hour")
    total(key, first - datetime.timedelta(days=1), 1000)

    with django_assert_num_queries(1):
        used = limits.used(key)

    assert (used.month_requests.used, used.month_requests.limit, used.month_requests.percent) == (50, 200, 25)
    assert (used.month_bytes.used, used.month_bytes.limit, used.month_bytes.percent) == (550, None, None)


def test_a_key_without_a_limit_of_its_own_has_the_default(key, settings):
    settings.DEFAULT_REQUESTS_PER_MINUTE = 70
    assert limits.used(key).minute == limits.used(key).transfers == limits.Use(used=0, limit=70)

    actions.change(key=key, requests_per_minute=7)
    assert limits.used(ApiKey.objects.get()).minute.limit == 7
