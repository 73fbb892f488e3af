"""What an admin does to a key between its issue and its end, and what its holder notices."""

import re
from collections.abc import Callable

import pytest

from tests.browser.conftest import SCHEMES, WIDTHS, Visit, tour
from tests.browser.test_issue_key import CALL, clipboard, issue
from tests.portals import wait_for

pytestmark = pytest.mark.browser


def answer(portal, key: str, status: int):
    """The answer to a call with the key once it is `status`; a second is what changes may take."""
    return wait_for(
        lambda: portal.request("GET", CALL, key=key), lambda seen: seen.status == status, seconds=1
    )


def open_key(window, name: str) -> str:
    """Issue a key and open its page; returns the secret."""
    key = issue(window, name)
    window.follow("I have saved the key")
    return key


def test_rotate_and_copy_the_new_secret(visit, web_portal, echo):
    window = visit(permissions=["clipboard-read", "clipboard-write"])
    page = window.page
    window.let_in("alice")
    old = open_key(window, "to rotate")

    window.follow("Rotate")
    page.get_by_label("The old secret ends").select_option("1h")
    page.get_by_role("button", name="Create new secret").dblclick()
    new = page.locator("#secret").inner_text()

    assert re.fullmatch(r"hk_live_[0-9A-Za-z]{32}", new)
    assert new != old
    assert new not in window.stored()
    page.get_by_role("button", name="Copy").first.click()
    page.get_by_role("button", name="Copied").wait_for()
    assert clipboard(window) == new
    page.bring_to_front()
    assert f"MLFLOW_TRACKING_TOKEN={new}" in page.locator("#connect").inner_text()
    for key in (old, new):
        assert answer(web_portal, key, 200).status == 200

    page.reload()
    page.get_by_text("The new secret cannot be shown again.").wait_for()
    window.follow("View the key")
    page.get_by_text(f"{old[:12]}…{old[-4:]}").wait_for()
    assert new not in page.content()

    window.follow("Rotate")
    window.follow("Create new secret", "button")
    newest = page.locator("#secret").inner_text()
    for key in (old, new):
        assert answer(web_portal, key, 401).status == 401
    assert answer(web_portal, newest, 200).status == 200


def test_pause_and_resume(visit, web_portal, echo):
    window = visit()
    page = window.page
    window.let_in("alice")
    key = open_key(window, "to pause")
    assert web_portal.request("GET", CALL, key=key).status == 200

    window.follow("Pause")
    page.get_by_label("Reason").fill("odd traffic")
    window.follow("Pause key", "button")

    page.get_by_text("is paused. Calls with it are refused until it is resumed.").wait_for()
    page.get_by_text("odd traffic").wait_for()
    refused = answer(web_portal, key, 401)
    assert refused.status == 401
    assert "has been paused since" in refused.json()["message"]
    assert "Ask your administrator to resume it." in refused.json()["message"]

    window.follow("Resume")
    window.follow("Resume key", "button")
    page.get_by_text("is resumed.").wait_for()
    assert answer(web_portal, key, 200).status == 200


def test_narrow_what_a_key_may_do(visit, web_portal, echo):
    window = visit()
    page = window.page
    window.let_in("alice")
    key = open_key(window, "to narrow")

    window.follow("Change rights")
    boxes = page.get_by_role("group", name="Experiments, runs, metrics, logged models and datasets")
    assert boxes.is_hidden()
    page.get_by_label("Single scopes: exactly those selected below").check()
    boxes.get_by_label("Read").uncheck()
    page.get_by_label("Networks").fill("127.0.0.0/8\nhere")
    window.follow("Save changes", "button")
    page.get_by_text("“here” is not a network").wait_for()
    assert boxes.get_by_label("Read").is_checked() is False
    page.get_by_label("Networks").fill("127.0.0.0/8")
    window.follow("Save changes", "button")

    page.get_by_text("Changed, and in effect from now on: scopes, networks.").wait_for()
    page.get_by_text("Networks: any → 127.0.0.0/8").wait_for()
    refused = answer(web_portal, key, 403)
    assert "needs the scope tracking:read" in refused.json()["message"]


def test_try_a_call(visit, web_portal, echo):
    window = visit()
    page = window.page
    window.let_in("alice")
    open_key(window, "to try")
    window.follow("Try a call")

    page.get_by_label("Method").select_option("POST")
    page.get_by_label("Path").fill("/api/mlflow/api/2.0/mlflow/registered-models/create")
    page.get_by_label("Body").fill('{"name": "fraud"}')
    window.follow("Check", "button")
    page.get_by_text("This call would be allowed.").wait_for()

    page.get_by_label("Path").fill("/api/mlflow/api/2.0/mlflow/runs/delete")
    window.follow("Check", "button")
    page.get_by_text("This call would be refused: 403 PERMISSION_DENIED").wait_for()
    page.get_by_text("needs the scope tracking:delete").wait_for()
    assert page.get_by_label("Body").input_value() == '{"name": "fraud"}'
    assert [call.target for call in echo.received if call.target != "/health"] == []  # the dashboard asks


def test_a_pasted_key_finds_its_page_and_stays_out_of_addresses(visit, web_portal):
    window = visit()
    page = window.page
    addresses: list[str] = []
    page.on("request", lambda request: addresses.extend([request.url, request.headers.get("referer", "")]))
    window.let_in("alice")
    key = issue(window, "to find")
    window.goto("/admin/keys/apikey/")

    page.get_by_role("textbox", name="Name, owner").fill(f"Bearer {key}")
    page.keyboard.press("Enter")
    page.wait_for_url("**/change/")

    page.get_by_text("This is the key whose secret you searched for.").wait_for()
    assert "to find" in page.locator("#apikey_form").inner_text()
    assert key not in page.content()
    page.go_back()
    assert key not in page.content()
    assert not any(key in address for address in addresses)

    page.get_by_role("textbox", name="Name, owner").fill("to find")
    page.keyboard.press("Enter")
    page.wait_for_url("**?q=to+find")
    assert page.locator("#result_list tbody tr").count() >= 1


def through_every_step(window: Visit, look: Callable[[str], None]) -> None:
    page = window.page
    window.let_in("alice")
    open_key(window, "y" * 100)
    key = page.url
    for name in ("Change rights", "Pause", "Rotate", "Try a call"):
        page.goto(key)
        window.follow(name)
        look(name)
        if name == "Change rights":
            page.get_by_label("Single scopes: exactly those selected below").check()
            page.get_by_label("Networks").fill("n" * 200)
            window.follow("Save changes", "button")
            look("Change rights, with errors")
        if name == "Try a call":
            page.get_by_label("Path").fill("/p" * 200)
            window.follow("Check", "button")
            look("Try a call, refused")
    page.goto(key)
    window.follow("Rotate")
    window.follow("Create new secret", "button")
    look("rotated")
    window.follow("I have saved the key")
    window.follow("Pause")
    window.follow("Pause key", "button")
    look("paused and rotating")
    window.follow("Resume")
    look("Resume")
    window.goto("/admin/proxy/owner/share/")
    look("Share")
    page.get_by_label("Experiment id").fill("7" * 18)
    window.follow("Save", "button")
    look("owner")
    window.goto("/admin/proxy/owner/")
    look("owners")
    window.goto("/admin/proxy/owner/hand-over/")
    look("hand over")


@pytest.fixture(scope="module")
def wrong(browser_name, browser, web_portal):
    return tour(browser, web_portal, through_every_step)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_step_fits_and_follows_light_and_dark(wrong, scheme, width):
    assert wrong[scheme, width] == []


def test_hand_over_what_a_user_owns(visit, web_portal):
    for name in ("giver", "taker"):
        web_portal.issue(name)
    web_portal.sql(
        "insert into proxy_owner (environment, kind, name, user_id, created_at, is_shared, is_reserved) "
        "select 'live', 'run', 'run ' || n, id, now(), false, false from keys_user, generate_series(1, 3) n "
        "where username = 'giver'"
    )
    window = visit()
    page = window.page
    window.sign_in()
    page.get_by_role("link", name="Owners").first.click()
    window.follow("Hand over…")
    page.get_by_label("From").select_option(label="giver")
    page.get_by_label("To", exact=True).select_option(label="taker")
    window.follow("Continue", "button")
    page.get_by_text("taker becomes the owner of 3 objects of giver.").wait_for()
    window.follow("Hand over 3 objects", "button")

    page.get_by_text("3 objects of giver now belong to taker.").wait_for()
    assert page.locator("#result_list tbody tr").count() == 3
