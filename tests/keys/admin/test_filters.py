"""The filters beside the list of keys, and what the list shows of time."""

import re
from datetime import timedelta

import pytest
from django.utils import timezone

from keys import actions
from keys.models import ApiKey, User
from tests.keys.people import KEYS, key_of, queries


def listed(client, **query: str) -> set[str]:
    return {key.name for key in client.get(KEYS, query).context["cl"].result_list}


def changed(key: ApiKey, **fields) -> None:
    ApiKey.objects.filter(pk=key.pk).update(**fields)


def test_by_owner(cast, alice):
    key_of(cast["dora"], name="of dora")
    key_of(cast["charlie"], name="of charlie")

    assert listed(alice, owner_name="DOR") == {"of dora"}
    assert listed(alice, owner__id__exact=str(cast["charlie"].pk)) == {"of charlie"}


def test_by_environment(cast, alice, settings):
    settings.MLFLOW_TEST_URL = "http://127.0.0.1:9"
    key_of(cast["dora"], name="live")
    actions.issue(owner=cast["dora"], name="test", environment="test")

    assert listed(alice, environment__exact="test") == {"test"}


def test_by_expiry(cast, alice):
    now = timezone.now()
    for days in (-1, 3, 20, 40):
        changed(key_of(cast["dora"], name=f"{days} days"), expires_at=now + timedelta(days=days))
    key_of(cast["dora"], name="never")
    revoked = key_of(cast["dora"], name="revoked")
    changed(revoked, expires_at=now + timedelta(days=3), revoked_at=now)

    assert listed(alice, expiring="7") == {"3 days"}
    assert listed(alice, expiring="30") == {"3 days", "20 days"}


def test_unused_for_90_days(cast, alice):
    now = timezone.now()
    old = now - timedelta(days=100)
    ages = {
        "never used": {},
        "long ago": {"last_used_at": now - timedelta(days=91)},
        "of late": {"last_used_at": now - timedelta(days=89)},
        "old secret of late": {"previous_used_at": now - timedelta(days=1)},
        "revoked": {"revoked_at": now},
    }
    for name, fields in ages.items():
        changed(key_of(cast["dora"], name=name), created_at=old, **fields)
    key_of(cast["dora"], name="new")

    assert listed(alice, unused="90") == {"never used", "long ago"}


def test_nonsense_filters_nothing(cast, alice):
    key_of(cast["dora"], name="a key")

    assert listed(alice, expiring="x", unused="y", state="z") == {"a key"}


@pytest.mark.parametrize(
    "address",
    [
        f"{KEYS}?name__regex=(",
        f"{KEYS}?digest__startswith=a",
        f"{KEYS}?name=x",
        f"{KEYS}export/?name__regex=(",
        "/admin/keys/user/?email__regex=(",
        "/admin/keys/user/?password__startswith=p",
        "/admin/keys/keyevent/?kind=issued",
        "/admin/proxy/owner/?created_at__year=99999999999",
    ],
)
def test_a_list_is_asked_by_its_own_filters_alone(cast, alice, address):
    key_of(cast["dora"])

    assert alice.get(address).status_code == 400


@pytest.mark.parametrize(
    "address", [f"{KEYS}?environment__exact=%00", "/admin/keys/keyevent/?kind__exact=%00"]
)
def test_what_postgresql_cannot_hold_is_found_nowhere(cast, alice, address):
    assert alice.get(address)["Location"].endswith("?e=1")


def test_times_are_relative_and_exact_with_their_zone_on_hover(cast, alice):
    now = timezone.now()
    used = now - timedelta(hours=3, minutes=1)
    changed(key_of(cast["dora"]), last_used_at=used, expires_at=now + timedelta(days=5, minutes=1))

    page = alice.get(KEYS).content.decode()

    assert f'title="{used:%Y-%m-%d %H:%M:%S} UTC">3 hours ago</time>' in page
    assert ' UTC">in 5 days</time>' in page


def test_single_scopes_are_told_in_words(cast, alice):
    actions.issue(owner=cast["dora"], name="odd", scopes=["tracking:read", "registry:read", "traces:delete"])

    assert "Read tracking, registry; delete traces" in alice.get(KEYS).content.decode()


def test_the_list_takes_as_many_queries_for_1000_keys_as_for_10(cast, alice):
    counts = []
    for number in (10, 990):
        owners = User.objects.bulk_create(User(username=f"owner {number} {n}") for n in range(number))
        template = key_of(owners[0])
        ApiKey.objects.bulk_create(
            ApiKey(
                owner=owner,
                name=f"key {number} {n}",
                digest=f"{number * 1000 + n:064x}",
                prefix=template.prefix,
            )
            for n, owner in enumerate(owners[1:])
        )
        counts.append(queries(lambda: alice.get(KEYS)))

    assert counts[0] == counts[1] <= 6


class TestForm:
    def test_every_list_has_the_same_form_with_a_field_for_each_filter(self, cast, alice):
        fields = {
            KEYS: ["state", "environment__exact", "expiring", "unused", "organisation", "owner_name"],
            "/admin/keys/user/": ["is_active__exact", "role"],
            "/admin/keys/organisation/": ["closed"],
            "/admin/keys/keyevent/": ["kind__exact", "span", "who", "organisation"],
            "/admin/keys/trust/": ["state", "organisation", "issuer"],
            "/admin/admin/logentry/": ["span", "who"],
            "/admin/proxy/owner/": [
                "kind",
                "owned",
                "organisation",
                "is_shared__exact",
                "environment__exact",
            ],
        }
        for address, names in fields.items():
            page = alice.get(address).content.decode()
            assert re.findall(r'name="(\w+)" id="filter_', page) == names, address
            assert "changelist-filter" not in page

    def test_fields_left_open_filter_nothing(self, cast, alice):
        key_of(cast["dora"], name="a key")
        empty = dict.fromkeys(("state", "environment__exact", "expiring", "unused", "owner_name"), "")

        assert listed(alice, **empty) == {"a key"}
        exported = alice.get(f"{KEYS}export/", empty)
        assert b"a key" in b"".join(exported.streaming_content)

    def test_filters_in_force_can_be_removed_one_by_one_and_keep_the_search(self, cast, alice):
        page = alice.get(KEYS, {"state": "paused", "owner_name": "do", "q": "a", "p": "0"}).content.decode()

        assert "Status: <strong>Paused</strong>" in page
        assert "Owner: <strong>do</strong>" in page
        assert 'href="?owner_name=do&amp;q=a"' in page
        assert '<input type="hidden" name="q" value="a">' in page
        assert '<input type="hidden" name="p"' not in page

    def test_events_are_filtered_by_time(self, cast, alice):
        key_of(cast["dora"])

        for span, count in (("1h", 1), ("x", 1)):
            listed = alice.get("/admin/keys/keyevent/", {"span": span}).context["cl"].result_list
            assert len(listed) == count
        with pytest.MonkeyPatch.context() as patch:
            later = timezone.now() + timedelta(hours=2)
            patch.setattr("keys.admin.filters.timezone.now", lambda: later)
            assert not alice.get("/admin/keys/keyevent/", {"span": "1h"}).context["cl"].result_list


def test_pages_are_titled_by_what_they_show(cast, alice):
    key = key_of(cast["dora"])
    titles = {
        KEYS: "API keys",
        "/admin/keys/user/": "Users",
        "/admin/keys/organisation/": "Organisations",
        "/admin/keys/keyevent/": "Activity",
        "/admin/proxy/owner/": "Owners",
        f"{KEYS}{key.pk}/change/": f"{key} | API key",
        f"/admin/keys/user/{cast['dora'].pk}/change/": "dora | User",
    }
    for address, title in titles.items():
        page = alice.get(address).content.decode()
        [found] = re.findall(r"<title>(.*?)</title>", page, re.DOTALL)
        assert " ".join(found.split()).startswith(f"{title} |"), address
        assert '<a class="skip" href="#content">Skip to content</a>' in page


def test_the_labels_of_a_narrow_list_begin_with_a_capital(alice):
    text = alice.get("/admin/keys/user/").content.decode()

    labels = re.findall(r'<t[dh][^>]* data-label="([^"]+)"', text)
    assert "Username" in labels
    assert [label for label in labels if not label[0].isupper()] == []
