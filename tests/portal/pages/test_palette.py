"""The command palette: finds pages, keys and users for those who may see them, and takes a whole key by POST."""

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client

from keys import actions
from keys.models import ApiKey, KeyEvent, User
from keys.rights import permissions
from portal.pages.palette import ACTION_LABELS
from proxy.models import Owner, Registration
from tests.keys.people import call, key_of, page_of, signed_in
from tests.proxy.ledger_rows import row as ledger_row

PALETTE = "/admin/palette/"


def found(client: Client, text: str) -> str:
    response = client.post(PALETTE, {"text": text})
    assert response.status_code == 200
    assert "no-store" in response["Cache-Control"]
    return response.content.decode()


def test_it_finds_pages_keys_and_users(cast, bob):
    key = key_of(cast["dora"], name="findable")

    assert 'href="/admin/keys/user/"' in found(bob, "USERS")
    assert 'href="/admin/keys/apikey/add/"' in found(bob, "issue")
    assert page_of(key) in found(bob, "indabl")
    assert page_of(key) in found(bob, key.masked)
    assert f"/admin/keys/user/{cast['dora'].pk}/change/" in found(bob, "dor")
    assert "No results." in found(bob, "no such thing")


def test_it_leads_from_a_request_id_to_the_call_for_who_may_see_calls(cast):
    name = f"req_{'0123456789abcdef' * 2}"
    cast["charlie"].user_permissions.set(Permission.objects.filter(codename="view_user"))

    assert f'href="/admin/proxy/call/?request_id={name}"' in found(signed_in(cast["alice"]), f" {name} ")
    assert "proxy/call/?request_id" not in found(signed_in(cast["charlie"]), name)
    for other in (name[:-1], f"{name}0", "req_", f"{name} x"):
        assert "?request_id" not in found(signed_in(cast["alice"]), other)


def test_the_first_four_characters_as_displayed_find_a_key(cast, bob):
    key, other = key_of(cast["dora"], name="findable"), key_of(cast["dora"], name="another")
    first = key.prefix.removeprefix("hk_live_")

    for text in (first, key.prefix, f"{key.prefix}…", f"{key.prefix}...{key.last4}", key.last4):
        page = found(bob, text)
        assert page_of(key) in page
        assert page_of(other) not in page
        assert "old secret" not in page
    assert list(ApiKey.objects.matching(first)) == [key]


@pytest.mark.parametrize("overlap", ["now", "24h"])
def test_the_ends_of_every_former_secret_find_the_key_and_say_that_it_is_old(cast, bob, overlap):
    key, other = key_of(cast["dora"], name="findable"), key_of(cast["dora"], name="another")
    ends = []
    for after in (overlap, "now"):
        key.refresh_from_db()
        ends.append((key.prefix, key.last4))
        actions.rotate(key=key, overlap=after)
    key.refresh_from_db()

    for prefix, last4 in ends:
        for text in (prefix, prefix[-4:], last4, f"{prefix}…{last4}"):
            page = found(bob, text)
            assert f"{page_of(key)}" in page
            assert page_of(other) not in page
            assert "you searched for an old secret of it, which a rotation replaced" in page
    assert "old secret" not in found(bob, key.masked)
    assert "old secret" not in found(bob, "findable")


def test_a_whole_old_secret_is_said_to_be_old(cast, bob):
    key, secret = actions.issue(owner=cast["dora"], name="findable")
    assert "old secret" not in found(bob, secret)
    actions.rotate(key=key, overlap="24h")

    assert "you searched for an old secret of it" in found(bob, secret)
    assert "End the old secret: findable" in found(bob, secret)


def test_every_action_on_a_key_has_a_label():
    assert set(permissions.KEY_ACTIONS) == set(ACTION_LABELS)


def test_former_secrets_are_looked_up_by_an_index(cast):
    key = key_of(cast["dora"])
    KeyEvent.objects.bulk_create(KeyEvent(key=key, kind="changed") for _ in range(3000))
    actions.rotate(key=key, overlap="now")
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE keys_keyevent")
    plan = ApiKey.objects.with_former_secret("y30A").explain()

    assert "key_event_old_secret" in plan


class TestRecords:
    @pytest.fixture
    def row(self, cast) -> Registration:
        request_id = f"req_{'a' * 32}"
        row = ledger_row(
            key_of(cast["dora"]),
            "model-versions.create",
            "churn-forecast",
            version="1",
            request_id=request_id,
        )
        Owner.objects.create(
            environment="live", kind="registered_model", name="churn-forecast", user=cast["dora"]
        )
        Owner.objects.create(environment="live", kind="run", name="churn-run", user=cast["dora"])
        return row

    def test_a_model_is_found_by_a_part_of_its_name_and_one_without_owner_by_all_of_it(
        self, cast, alice, row
    ):
        ledger_row(key_of(cast["dora"]), "registered-models.create", "imported")
        page = found(alice, "FORE")

        assert (
            'href="/admin/proxy/registration/model/?name=churn-forecast&amp;environment=live&amp;organisation=shared"'
            in page
        )
        assert "churn-run" not in found(alice, "churn")
        assert "?name=imported" in found(alice, "imported")
        assert found(alice, "churn-forecast").count("?name=churn-forecast") == 1

    def test_a_request_id_says_what_the_call_was(self, cast, alice, row):
        key = key_of(cast["dora"])
        record = call(key, 7, status=403, reason="scope", request_id=row.request_id)

        page = found(alice, record.request_id)

        assert "Call of dora, " in page
        assert "experiments.get, 403 scope" in page
        assert f"/admin/proxy/registration/{row.pk}/change/" in page
        assert "Not in the usage log" in found(alice, f"req_{'f' * 32}")

    def test_each_is_for_those_who_may_see_it(self, cast, row):
        charlie = cast["charlie"]
        request_id = call(key_of(cast["dora"]), 7, request_id=row.request_id).request_id
        for codename, sees_call, sees_model in (
            ("view_call", True, False),
            ("view_registration", False, True),
        ):
            charlie.user_permissions.set(Permission.objects.filter(codename=codename))
            client = signed_in(User.objects.get(pk=charlie.pk))
            assert ("Call of dora" in found(client, request_id)) is sees_call
            assert ("Registration: " in found(client, request_id)) is sees_model
            assert ("?name=churn-forecast" in found(client, "churn")) is sees_model


def test_what_postgresql_cannot_hold_is_looked_for_without_it(cast, bob):
    key = key_of(cast["dora"], name="findable")

    assert page_of(key) in found(bob, "find\0able")
    assert "No results." not in found(bob, "\0")


@pytest.mark.parametrize("path", ["keys/apikey/?owner_name=", "keys/keyevent/?who=", "admin/logentry/?who="])
def test_the_lists_filters_look_without_it_too(alice, path):
    assert alice.get(f"/admin/{path}%00").status_code == 200


def test_without_text_it_shows_the_pages(bob):
    page = found(bob, "")

    assert "Keys" in page
    assert "No results." not in page


def test_it_shows_nothing_that_the_person_may_not_see(cast):
    key = key_of(cast["dora"], name="findable")
    charlie = signed_in(cast["charlie"])

    assert "findable" not in found(charlie, "findable")
    assert "dora" not in found(charlie, "dora")
    assert "/admin/keys/" not in found(charlie, "")
    assert "/admin/proxy/" not in found(charlie, "")

    cast["charlie"].user_permissions.set(Permission.objects.filter(codename="view_user"))
    charlie = signed_in(User.objects.get(username="charlie"))
    assert "dora" in found(charlie, "dora")
    assert page_of(key) not in found(charlie, "findable")
    assert "/admin/keys/apikey/" not in found(charlie, "")


def test_what_may_no_longer_be_seen_is_gone_at_once(cast, bob):
    key = key_of(cast["dora"], name="findable")
    assert page_of(key) in found(bob, "findable")

    cast["bob"].user_permissions.clear()

    assert page_of(key) not in found(bob, "findable")


@pytest.mark.parametrize("text", ["{}", "Bearer {}", "see {} in the notebook"])
def test_a_whole_key_finds_its_page_and_what_to_do_with_it(cast, bob, text):
    key, secret = actions.issue(owner=cast["dora"], name="findable")

    page = found(bob, text.format(secret))

    assert page_of(key) in page
    assert page_of(key, "revoke") in page
    assert secret not in page


def test_a_whole_key_tells_nothing_to_those_who_may_not_see_keys(cast):
    _, secret = actions.issue(owner=cast["dora"], name="findable")

    page = found(signed_in(cast["charlie"]), secret)

    assert "No results." in page
    assert secret not in page


def test_a_mistyped_key_is_not_found(bob):
    assert "No results." in found(bob, "hk_live_" + "0" * 32)


@pytest.mark.parametrize("rows", [10, 40])
def test_it_takes_as_many_queries_whatever_it_finds(cast, bob, django_assert_max_num_queries, rows):
    for number in range(rows):
        owner = User.objects.create(username=f"many {number}")
        key_of(owner, name=f"many {number}")
    found(bob, "many")

    with django_assert_max_num_queries(
        8
    ):  # session, user, permissions, keys, users; models by owner, and by name
        page = found(bob, "many")

    assert page.count('role="option"') == 16


def test_it_needs_the_csrf_token(cast):
    strict = signed_in(cast["alice"], enforce_csrf_checks=True)

    assert strict.post(PALETTE, {"text": "keys"}).status_code == 403


def test_unfolds_own_search_which_puts_the_text_into_an_address_is_gone(alice):
    assert alice.get("/admin/search/?s=keys").status_code == 404
