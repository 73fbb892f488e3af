"""The admin lists, the search for keys, and that nobody edits what is not to be edited."""

import re
from datetime import UTC, timedelta

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone

from keys import actions
from keys.models import ApiKey, KeyEvent, User
from proxy.models import Call, CallTotal
from proxy.models.totals import LATENCIES_MS
from tests.keys.people import (
    CALLS,
    ISSUE,
    KEYS,
    USERS,
    by,
    call,
    filled,
    key_of,
    page_of,
    queries,
    signed_in,
)


class TestWhoMay:
    @pytest.mark.parametrize("path", [KEYS, ISSUE, CALLS, USERS])
    @pytest.mark.parametrize(
        ("name", "status"), [("alice", 200), ("bob", 200), ("charlie", 403), ("dora", 302), (None, 302)]
    )
    def test_see_a_page(self, cast, path, name, status):
        client = signed_in(cast[name]) if name else Client()

        assert client.get(path).status_code == status

    @pytest.mark.parametrize(
        ("name", "status", "count"),
        [("alice", 200, 1), ("bob", 200, 1), ("charlie", 403, 0), ("dora", 302, 0)],
    )
    def test_issue_a_key(self, cast, alice, name, status, count):
        response = signed_in(cast[name]).post(ISSUE, filled(alice, cast["dora"]))

        assert (response.status_code, ApiKey.objects.count()) == (status, count)

    @pytest.mark.parametrize(
        ("name", "state"),
        [("alice", "revoked"), ("bob", "revoked"), ("charlie", "active"), ("dora", "active")],
    )
    def test_revoke_a_key(self, cast, name, state):
        key = key_of(cast["dora"])

        signed_in(cast[name]).post(page_of(key, "revoke"), {"confirmation": key.name})

        key.refresh_from_db()
        assert key.state == state

    @pytest.mark.parametrize(
        ("codename", "may_issue", "may_revoke"),
        [("view_apikey", False, False), ("add_apikey", True, False), ("change_apikey", False, True)],
    )
    def test_each_permission_opens_its_own_page_only(self, cast, codename, may_issue, may_revoke):
        cast["charlie"].user_permissions.set(Permission.objects.filter(codename=codename))
        charlie = signed_in(cast["charlie"])
        key = key_of(cast["dora"])

        assert (charlie.get(ISSUE).status_code == 200) is may_issue
        assert (charlie.get(page_of(key, "revoke")).status_code == 200) is may_revoke


@pytest.mark.parametrize("method", ["get", "head"])
def test_the_admin_pages_are_found_without_a_slash_too(client, method):
    response = getattr(client, method)("/admin")

    assert (response.status_code, response["Location"]) == (302, "/admin/")
    assert client.get("/admin/keys").status_code != 200


class TestNobodyEdits:
    """Not even a superuser, by whatever POST."""

    def test_a_key(self, cast, alice):
        key = key_of(cast["dora"])
        changes = {
            "name": "mine now",
            "owner": cast["alice"].pk,
            "expires_at_0": "2099-01-01",
            "expires_at_1": "0:0",
        }
        events = {"events-TOTAL_FORMS": "0", "events-INITIAL_FORMS": "0"}

        assert alice.post(f"{KEYS}{key.pk}/change/", {**changes, **events}).status_code == 403
        assert alice.post(f"{KEYS}{key.pk}/delete/", {"post": "yes"}).status_code == 403
        alice.post(KEYS, {"action": "delete_selected", "_selected_action": [key.pk], "post": "yes"})

        stored = ApiKey.objects.get()
        assert (stored.name, stored.owner, stored.expires_at) == (key.name, cast["dora"], None)
        assert KeyEvent.objects.count() == 1

    def test_a_call(self, cast, alice):
        record = call(key_of(cast["dora"]), 1)

        assert alice.post(f"{CALLS}{record.pk}/change/", {"status": "500"}).status_code == 405
        assert alice.post(f"{CALLS}{record.pk}/delete/", {"post": "yes"}).status_code == 403
        assert alice.post(f"{CALLS}add/", {"status": "500"}).status_code == 403
        alice.post(CALLS, {"action": "delete_selected", "_selected_action": [record.pk], "post": "yes"})

        assert Call.objects.get().status == 200

    def test_a_user_out_of_the_records(self, cast, alice):
        assert alice.post(f"{USERS}{cast['dora'].pk}/delete/", {"post": "yes"}).status_code == 403
        assert User.objects.filter(username="dora").exists()

    def test_keys_by_way_of_their_owner(self, cast, alice):
        key = key_of(cast["dora"])
        crafted = {
            "username": "dora",
            "role": "holder",
            "api_keys-TOTAL_FORMS": "1",
            "api_keys-INITIAL_FORMS": "1",
            "api_keys-0-id": key.pk,
            "api_keys-0-owner": cast["dora"].pk,
            "api_keys-0-name": "mine now",
            "api_keys-0-DELETE": "on",
        }

        assert alice.post(f"{USERS}{cast['dora'].pk}/change/", crafted).status_code == 302

        assert ApiKey.objects.get().name == key.name


class TestLists:
    def test_show_each_keys_state_in_words(self, cast, alice):
        for state in ("active", "expired", "revoked"):
            key = key_of(cast["dora"], name=f"an {state} key")
            if state == "revoked":
                actions.revoke(key=key)
            if state == "expired":
                ApiKey.objects.filter(pk=key.pk).update(expires_at=timezone.now() - timedelta(days=1))

        for state in ("active", "expired", "revoked"):
            page = alice.get(KEYS, {"state": state}).content.decode()
            assert re.findall(r"an (\w+) key", page) == [state]
            assert len(re.findall(rf">\s*{state}\s*</span>", page)) == 1

    @pytest.mark.parametrize("part", ["name", "username", "masked", "prefix", "last4", "public_id"])
    def test_find_a_key_by_what_is_known_of_it(self, cast, alice, part):
        key = key_of(cast["dora"], name="findable")
        key_of(cast["charlie"], name="another")
        term = key.owner.username if part == "username" else getattr(key, part)

        found = alice.get(KEYS, {"q": term}).context["cl"].queryset

        assert list(found) == [key]

    @pytest.mark.parametrize("part", ["request_id", "operation"])
    def test_find_a_call(self, cast, alice, part):
        key = key_of(cast["dora"])
        wanted = call(key, 1, operation="runs.create")
        call(key, 2)

        assert alice.get(CALLS, {part: getattr(wanted, part)}).context["shown"].rows == [wanted]

    def test_of_calls_of_one_key_are_linked_from_the_key(self, cast, alice):
        key, other = key_of(cast["dora"]), key_of(cast["dora"])
        wanted = call(key, 1)
        call(other, 2)
        link = re.search(
            r'href="(/admin/proxy/call/\?[^"]+)"', alice.get(f"{KEYS}{key.pk}/change/").content.decode()
        )

        assert alice.get(link[1]).context["shown"].rows == [wanted]

    @pytest.mark.parametrize("status", [204, 302, 404, 503])
    def test_of_calls_are_filtered_by_class_of_status(self, cast, alice, status):
        key = key_of(cast["dora"])
        for number, code in enumerate([204, 302, 404, 503]):
            call(key, number, status=code)

        found = alice.get(CALLS, {"status": str(status)[0]}).context["shown"].rows

        assert [record.status for record in found] == [status]

    @pytest.mark.parametrize("path", [KEYS, CALLS, USERS])
    def test_take_as_many_queries_for_30_rows_as_for_3(self, cast, alice, path):
        counts = [queries_of(alice, path, rows) for rows in (3, 30)]

        assert counts[0] == counts[1]
        assert counts[0] <= 6  # session, user, rows, and for keys and users their number

    def test_of_calls_never_count_the_log(self, cast, alice, django_assert_num_queries):
        queries_of(alice, CALLS, 3)
        with django_assert_num_queries(3) as captured:  # session, user, one page of calls
            alice.get(CALLS)

        assert not any("COUNT(" in query["sql"] for query in captured)

    def test_of_keys_count_the_calls_of_the_keys_on_the_page_only(
        self, cast, alice, django_assert_max_num_queries
    ):
        queries_of(alice, KEYS, 3)
        with django_assert_max_num_queries(6) as captured:
            alice.get(KEYS)

        counting = [query["sql"] for query in captured if "proxy_calltotal" in query["sql"]]
        assert len(counting) == 1
        assert '"keys_apikey"."id" IN (' in counting[0]

    def test_details_take_as_many_queries_for_30_events_as_for_3(self, cast, alice):
        key = key_of(cast["dora"])
        counts = []
        for events in (3, 27):
            for _ in range(events):
                actions.record_event(key, KeyEvent.Kind.ISSUED, actor=by(cast["bob"]))
            counts.append(queries(lambda: alice.get(f"{KEYS}{key.pk}/change/")))

        assert counts[0] == counts[1]


def queries_of(client: Client, path: str, rows: int) -> int:
    """How many queries the list takes with that many more rows, each with an owner of its own."""
    for number in range(rows):
        owner = User.objects.create(username=f"user-{rows}-{number}")
        key = actions.issue(owner=owner, name="a key", actor=by(owner))[0]
        call(key, rows * 1000 + number)
    return queries(lambda: client.get(path))


def total_of(key: ApiKey, calls: int, days: int = 0) -> None:
    start = timezone.now().astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    CallTotal.objects.create(
        key=key,
        user=key.owner,
        span="day",
        start=start - timedelta(days=days),
        status_class=2,
        calls=calls,
        latencies=[0] * (len(LATENCIES_MS) + 1),
    )


class TestColumns:
    def test_the_list_shows_calls_limits_networks_and_creation(self, cast, alice):
        key = key_of(cast["dora"])
        networks = [f"10.{number}.0.0/16" for number in range(4)]
        actions.change(key=key, requests_per_minute=600, monthly_bytes=10 * 2**30, networks=networks)
        for calls, days in ((1200, 0), (34, 29), (777, 30)):
            total_of(key, calls, days)

        page = alice.get(KEYS).content.decode()

        for text in (
            "1,234",
            "600 calls/min",
            "10 GiB/month",
            "10.1.0.0/16",
            "and 2 networks more",
            "Created",
        ):
            assert text in page
        assert "10.2.0.0/16" not in page
        dora = signed_in(cast["dora"]).get("/account/").content.decode()
        for text in ("1,234", "600 calls/min", "10.1.0.0/16", "and 2 more"):
            assert text in dora

    @pytest.mark.parametrize(
        "column",
        [
            "name_and_key",
            "owner_name",
            "state_badge",
            "calls_30_days",
            "own_limits",
            "last_used_on",
            "expires_on",
            "created_on",
        ],
    )
    def test_columns_are_sorted_in_the_database(self, cast, alice, column):
        for number in range(3):
            key = key_of(cast["dora"], name=f"key {number}")
        actions.revoke(key=key)
        total_of(key, 7)
        place = alice.get(KEYS).context["cl"].list_display.index(column)

        up = [key.pk for key in alice.get(KEYS, {"o": str(place)}).context["cl"].result_list]
        down = [key.pk for key in alice.get(KEYS, {"o": f"-{place}"}).context["cl"].result_list]

        assert len(up) == 3
        if column in ("name_and_key", "created_on"):
            assert up == down[::-1]
        if column in ("state_badge", "calls_30_days"):
            assert (up[-1], down[0]) == (key.pk, key.pk)

    def test_calls_cost_no_query_of_their_own(self, cast, alice):
        key = key_of(cast["dora"])
        few = queries(lambda: alice.get(KEYS))
        for number in range(20):
            total_of(key_of(cast["dora"], name=f"key {number}"), number)
        total_of(key, 1)

        assert queries(lambda: alice.get(KEYS)) == few
