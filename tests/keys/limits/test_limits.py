"""What a key has used of its limits, and what is said when it has used them up."""

import datetime

import pytest
from django.db import OperationalError
from django.utils import timezone

from keys import actions, alerts, limits
from keys.actions import organisations
from keys.alerts.recipients import recipients
from keys.alerts.wording import describe_alert
from keys.credentials.caller import Caller
from keys.limits import month_limits
from keys.limits.calls import ENDED_A_MINUTE
from keys.limits.counters import Counters
from keys.models import Alert, ApiKey, Organisation, User
from keys.refusals import Refusal
from proxy.models import CallTotal

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]


@pytest.fixture
def key() -> ApiKey:
    return actions.issue(owner=User.objects.create_user("alice"), name="training", monthly_requests=200)[0]


def total(key: ApiKey, start: datetime.datetime, calls: int, *, span: str = "day", status: int = 2) -> None:
    CallTotal.objects.create(
        span=span,
        start=start,
        key=key,
        user=key.owner,
        operation="runs.get",
        status_class=status,
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
    total(key, first, 5000, status=4)
    total(key, first - datetime.timedelta(days=1), 1000)

    with django_assert_num_queries(1):
        used = limits.read_key_use(key)

    assert (used.month_requests.used, used.month_requests.limit, used.month_requests.percent) == (50, 200, 25)
    assert (used.month_bytes.used, used.month_bytes.limit, used.month_bytes.percent) == (550, None, None)


def test_a_key_without_a_limit_of_its_own_has_the_default(key, settings):
    settings.DEFAULT_REQUESTS_PER_MINUTE = 70
    assert (
        limits.read_key_use(key).minute
        == limits.read_key_use(key).transfers
        == limits.LimitUse(used=0, limit=70)
    )

    actions.change(key=key, requests_per_minute=7)
    assert limits.read_key_use(ApiKey.objects.get()).minute.limit == 7


@pytest.fixture(autouse=True)
def counters(monkeypatch) -> Counters:
    """This test's alone."""
    fresh = Counters()
    monkeypatch.setattr("keys.limits.counters.get_counters", lambda: fresh)
    monkeypatch.setattr(month_limits, "_active", {})
    return fresh


def refused(caller: Caller, *, is_transfer: bool = False) -> Refusal:
    with pytest.raises(Refusal) as caught:
        limits.count_call(caller, is_transfer=is_transfer)
    return caught.value


def test_over_the_minutes_limit_it_is_said_when_to_try_again(key):
    key = actions.change(key=key, requests_per_minute=2, monthly_requests=None)
    caller = Caller.by_key(key)
    for _ in range(2):
        assert limits.count_call(caller, is_transfer=False) is None

    refusal = refused(caller)

    assert (refusal.status, refusal.error_code) == (429, "REQUEST_LIMIT_EXCEEDED")
    wait = int(refusal.headers["Retry-After"])
    assert 1 <= wait <= 30
    assert refusal.headers["RateLimit-Policy"] == '"calls";q=2;w=60'
    assert refusal.headers["RateLimit"] == f'"calls";r=0;t={wait}'
    assert "2 calls a minute" in refusal.message
    limits.count_call(caller, is_transfer=True)
    assert (limits.read_key_use(key).minute.percent, limits.read_key_use(key).transfers.used) == (100, 1)


def test_a_browser_has_the_default_limit_and_no_month(key, settings):
    settings.DEFAULT_REQUESTS_PER_MINUTE = 1
    caller = Caller.by_session(key.owner, organisation=key.organisation)

    assert limits.count_call(caller, is_transfer=False) is None
    assert "Your browser" in refused(caller).message


def test_an_ended_secret_uses_up_nothing_of_the_keys_minute(key):
    actions.change(key=key, requests_per_minute=100)
    caller = Caller.by_key(ApiKey.objects.get())
    room = [limits.may_log_ended_key(caller) for _ in range(ENDED_A_MINUTE + 40)]

    assert room == [True] * ENDED_A_MINUTE + [False] * 40
    assert limits.read_key_use(key).minute.used == 0
    assert limits.count_call(caller, is_transfer=False)


def test_a_month_that_is_used_up_is_refused_in_words(key):
    first = timezone.now().replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    total(key, first, 199)
    caller = Caller.by_key(key)

    counted = limits.count_call(caller, is_transfer=False)
    refusal = refused(caller)

    assert (refusal.status, refusal.error_code, refusal.reason) == (
        403,
        "PERMISSION_DENIED",
        "monthly_requests",
    )
    assert "has made the 200 calls" in refusal.message
    assert "at 00:00 UTC" in refusal.message
    counted.finalise(calls=-1, byte_count=0)
    assert limits.count_call(caller, is_transfer=False), "a call that was refused elsewhere does not count"


def test_bytes_of_a_month_are_limited_too(key):
    key = actions.change(key=key, monthly_requests=None, monthly_bytes=2**20)
    caller = Caller.by_key(key)
    limits.count_call(caller, is_transfer=True).finalise(calls=0, byte_count=2**20)

    refusal = refused(caller, is_transfer=True)

    assert (refusal.status, refusal.reason) == (403, "monthly_bytes")
    assert "has transferred the 1 MiB" in refusal.message
    assert limits.read_key_use(key).month_bytes == limits.LimitUse(used=2**20, limit=2**20)


def test_a_key_without_monthly_bytes_of_its_own_has_the_default(key, settings):
    key = actions.change(key=key, monthly_requests=None)
    settings.DEFAULT_MONTHLY_BYTES = 2**20
    caller = Caller.by_key(key)
    limits.count_call(caller, is_transfer=True).finalise(calls=0, byte_count=2**20)

    assert refused(caller, is_transfer=True).reason == "monthly_bytes"
    assert limits.read_key_use(key).month_bytes == limits.LimitUse(used=2**20, limit=2**20)
    assert limits.with_limits(ApiKey.objects.all()).get() == key
    key = actions.change(key=key, monthly_bytes=2**21)
    assert limits.count_call(Caller.by_key(key), is_transfer=True), "a limit of its own comes first"


def test_a_call_costs_no_query_once_the_month_is_known(key, django_assert_num_queries):
    caller = Caller.by_key(key)
    with django_assert_num_queries(1):
        for _ in range(5):
            limits.count_call(caller, is_transfer=False)


def test_what_other_processes_counted_is_learned_in_the_background(key, django_assert_num_queries):
    other = actions.issue(owner=key.owner, name="other", monthly_requests=1)[0]
    for one in (key, other):
        limits.count_call(Caller.by_key(one), is_transfer=False)
    first = timezone.now().replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    total(key, first, 200)

    with django_assert_num_queries(1):
        month_limits.refresh()

    assert refused(Caller.by_key(key)).reason == "monthly_requests"
    assert limits.read_key_use(other).month_requests.used == 1, "less in the log does not lower the count"


def test_keys_that_do_not_call_are_not_asked_for(key, monkeypatch, django_assert_num_queries):
    limits.count_call(Caller.by_key(key), is_transfer=False)
    monkeypatch.setattr(month_limits, "FORGET_SECONDS", 0.0)
    with django_assert_num_queries(0):
        month_limits.refresh()


def test_without_postgresql_a_known_key_goes_on(key, monkeypatch):
    def away(*asked):
        raise OperationalError("away")

    monkeypatch.setattr(month_limits, "read_logged_months", away)
    assert limits.count_call(Caller.by_key(key), is_transfer=False)


class TestOrganisations:
    @pytest.fixture
    def lab(self) -> Organisation:
        return organisations.create_organisation(slug="lab")

    def caller(self, lab: Organisation, name: str, **rights) -> Caller:
        user, _ = User.objects.get_or_create(username=name)
        if not lab.memberships.filter(user=user).exists():
            organisations.add_member(organisation=lab, user=user)
        return Caller.by_key(actions.issue(owner=user, name=name, organisation=lab, **rights)[0])

    def test_all_keys_together_have_the_minutes_limit_of_theirs(self, lab):
        lab.requests_per_minute = 2
        callers = [self.caller(lab, name) for name in ("dora", "erin", "fred")]
        for caller in callers:
            caller.key.organisation.requests_per_minute = 2
        callers = [Caller.by_key(caller.key) for caller in callers]
        limits.count_call(callers[0], is_transfer=False)
        limits.count_call(callers[1], is_transfer=False)

        refusal = refused(callers[2])
        assert (refusal.status, refusal.reason) == (429, "too_many_calls")
        assert (
            "The organisation “lab”, with all its keys together, may make 2 calls a minute" in refusal.message
        )
        assert limits.count_call(callers[2], is_transfer=True) is None

    def test_the_month_counts_all_keys_and_sessions_and_a_refused_call_counts_nowhere(self, lab):
        organisations.change_organisation(organisation=lab, monthly_requests=3)
        first = self.caller(lab, "dora", monthly_requests=100)
        first_of_month = timezone.now().replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        total(first.key, first_of_month, 1)
        CallTotal.objects.update(organisation=lab)
        lab.refresh_from_db()
        by_session = Caller.by_session(first.user, organisation=lab)
        counted = [limits.count_call(caller, is_transfer=False) for caller in (first, by_session)]

        refusal = refused(first)
        assert [len(each.months) for each in counted] == [2, 1]
        assert refusal.reason == "monthly_requests"
        assert "The organisation “lab”, with all its keys together, has made the 3 calls" in refusal.message
        used = limits.read_organisation_use(lab)
        assert (used.month_requests.used, used.month_requests.limit) == (3, 3)
        assert limits.read_key_use(first.key).month_requests.used == 2

    def test_its_owners_are_told_at_80_and_100_per_cent(self, lab, settings):
        settings.ALERT_EMAILS = ["staff@example.org"]
        organisations.change_organisation(organisation=lab, monthly_requests=100)
        key = self.caller(lab, "dora").key
        lab.memberships.update(role="owner")
        User.objects.filter(pk=key.owner_id).update(email="dora@example.org")
        total(key, timezone.now().replace(day=1, hour=0, minute=0, second=0, microsecond=0), 85)
        CallTotal.objects.update(organisation=lab)

        assert [alerts.check_keys(), alerts.check_keys()] == [1, 0]
        alert = Alert.objects.get()
        assert describe_alert(alert)[0] == "The organisation “lab” has used 80 % of its monthly requests"
        assert recipients(alert) == ["dora@example.org", "staff@example.org"]
