"""A key's limits in the forms to issue and to change it, and as bars on its page."""

from datetime import UTC, datetime

import pytest
from django.utils import timezone

from keys import actions
from keys.models import ApiKey
from proxy.models import CallTotal
from proxy.models.totals import LATENCIES_MS
from tests.keys.people import ISSUE, by, call, filled, key_of, page_of, queries

LIMITS = {"requests_per_minute": "60", "monthly_requests": "1000", "monthly_bytes": "10G"}


def limits_of(key: ApiKey) -> tuple:
    key.refresh_from_db()
    return key.requests_per_minute, key.monthly_requests, key.monthly_bytes


def total(key: ApiKey, **changes) -> CallTotal:
    today = timezone.now().astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    fields = {"span": "day", "start": today, "operation": "runs.create", "status_class": 2, "calls": 1}
    latencies = [0] * (len(LATENCIES_MS) + 1)
    return CallTotal.objects.create(key=key, user=key.owner, latencies=latencies, **{**fields, **changes})


class TestForms:
    def test_a_key_is_issued_with_limits(self, cast, bob):
        bob.post(ISSUE, filled(bob, cast["dora"], **LIMITS))

        assert limits_of(ApiKey.objects.get()) == (60, 1000, 10 * 2**30)

    def test_empty_means_none(self, cast, bob):
        bob.post(
            ISSUE, filled(bob, cast["dora"], requests_per_minute="", monthly_requests="", monthly_bytes=" ")
        )

        assert limits_of(ApiKey.objects.get()) == (None, None, None)

    @pytest.mark.parametrize(
        ("field", "text", "said"),
        [
            ("requests_per_minute", "0", "Calls a minute: a whole number from 1 up"),
            ("requests_per_minute", "-5", "whole number from 1 up"),
            ("requests_per_minute", "many", "Enter a whole number"),
            ("requests_per_minute", "9" * 30, "whole number"),
            ("monthly_requests", "0", "Calls a month: a whole number from 1 up"),
            ("monthly_bytes", "ten", "is not a size; write 500M, 10G or 1.5T"),
            ("monthly_bytes", "0", "whole number from 1 up"),
            ("monthly_bytes", "999999999999P", "whole number from 1 up"),
        ],
    )
    def test_what_is_none_is_said_and_nothing_is_lost(self, cast, bob, field, text, said):
        response = bob.post(ISSUE, filled(bob, cast["dora"], **{field: text}))

        form = response.context["form"]
        assert said in str(form.errors[field])
        assert form[field].value() == text
        assert not ApiKey.objects.exists()

    def test_the_field_of_monthly_bytes_names_the_default(self, bob, settings):
        assert "10G or 1.5T. Empty: no limit." in bob.get(ISSUE).content.decode()
        settings.DEFAULT_MONTHLY_BYTES = 5 * 2**40
        assert "Empty: the default, 5 TiB." in bob.get(ISSUE).content.decode()

    def test_limits_are_changed_and_what_is_left_alone_stays(self, cast, bob):
        key = actions.issue(owner=cast["dora"], name="a key", monthly_bytes=1536, monthly_requests=5)[0]
        form = bob.get(page_of(key, "rights")).context["form"]
        as_shown = {name: form[name].value() for name in form.fields}
        assert as_shown["monthly_bytes"] == "1536"

        before = {f"initial-{name}": value for name, value in as_shown.items() if value not in (None, "")}
        kept = {name: value for name, value in as_shown.items() if value not in (None, "", False)}
        bob.post(
            page_of(key, "rights"), {**before, **kept, "requests_per_minute": "7", "monthly_requests": ""}
        )

        assert limits_of(key) == (7, None, 1536)
        assert set(key.events.first().detail["after"]) == {"requests_per_minute", "monthly_requests"}


class TestPage:
    def test_bars_say_how_much_is_used_of_what(self, cast, alice):
        key = actions.issue(owner=cast["dora"], name="a key", monthly_requests=200, monthly_bytes=2048)[0]
        total(key, calls=170, bytes_in=500, bytes_out=524)

        page = alice.get(page_of(key)).content.decode()

        assert "170 of 200 (85 %)" in page
        assert "1 KiB of 2 KiB (50 %)" in page
        assert '<meter min="0" max="100" low="75" high="90" optimum="0" value="85"' in page

    def test_without_a_limit_there_is_no_bar(self, cast, alice):
        key = key_of(cast["dora"])
        total(key, calls=170)

        assert "170, no limit" in alice.get(page_of(key)).content.decode()

    def test_the_chart_is_read_from_totals_alone(self, cast, alice):
        key = key_of(cast["dora"])
        total(key, calls=5)
        total(key, calls=2, status_class=4, operation="runs.delete")
        total(key, calls=1000, start=datetime(2020, 1, 1, tzinfo=UTC))
        total(key_of(cast["charlie"]), calls=77)
        call(key, 1, status=503)

        page = alice.get(page_of(key)).content.decode()

        assert (
            "Successful (2xx): 5, Redirected (3xx): 0, Client errors (4xx): 2, Server errors (5xx): 0."
            in page
        )

    def test_the_latest_calls_are_shown_to_those_who_may_see_calls(self, cast, alice, bob):
        key = key_of(cast["dora"])
        call(key, 1, operation="runs.create", status=403, reason="scope")
        cast["bob"].user_permissions.remove(*cast["bob"].user_permissions.filter(codename="view_call"))

        assert "runs.create" in alice.get(page_of(key)).content.decode()
        page = bob.get(page_of(key)).content.decode()
        assert "runs.create" not in page
        assert "Calls in the last 30 days" not in page

    def test_it_takes_as_many_queries_for_1000_calls_and_events_as_for_10(self, cast, alice):
        key = key_of(cast["dora"])
        counts = []
        for number in (10, 990):
            for n in range(number):
                call(key, number * 1000 + n)
                actions.record_event(key, "issued", actor=by(cast["bob"]))
            counts.append(queries(lambda: alice.get(page_of(key))))

        assert counts[0] == counts[1]
