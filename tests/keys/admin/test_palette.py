"""The command palette: finds pages, keys and users for those who may see them, and takes a whole key by POST."""

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from keys import actions
from keys.models import User
from tests.keys.people import key_of, page_of, signed_in

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

    with django_assert_max_num_queries(6):  # session, user, permissions, keys, users
        page = found(bob, "many")

    assert page.count('role="option"') == 16


def test_it_needs_the_csrf_token(cast):
    strict = signed_in(cast["alice"], enforce_csrf_checks=True)

    assert strict.post(PALETTE, {"text": "keys"}).status_code == 403


def test_unfolds_own_search_which_puts_the_text_into_an_address_is_gone(alice):
    assert alice.get("/admin/search/?s=keys").status_code == 404
