"""An admin issues a key, its holder uses it, the admin revokes it."""

import re
from collections.abc import Callable

import pytest

from tests.browser.conftest import INSECURE_HOST, SCHEMES, WIDTHS, Visit, tour
from tests.portals import wait_for

pytestmark = pytest.mark.browser

CALL = "/api/mlflow/api/2.0/mlflow/experiments/get?experiment_id=0"


def issue(window, name: str) -> str:
    """Fill in the form; returns the key that the page shows."""
    window.goto("/admin/keys/apikey/")
    window.follow("Issue a key")
    window.page.get_by_label("Owner").select_option(label="bob")
    window.page.get_by_label("Name", exact=True).fill(name)
    window.page.get_by_label("Show it to me, once").check()
    window.follow("Issue key", "button")
    return window.page.locator("#secret").inner_text()


def clipboard(window) -> str:
    """What the clipboard holds, read where browsers allow it."""
    reader = window.page.context.new_page()
    reader.goto(f"http://127.0.0.1:{window.origin.rsplit(':', 1)[1]}/health/live")
    reader.bring_to_front()
    text = reader.evaluate("navigator.clipboard.readText()")
    reader.close()
    return text


def test_a_key_from_its_issue_to_its_end(visit, web_portal, echo):
    window = visit()
    page = window.page
    window.let_in("alice")

    key = issue(window, "the holder's laptop")

    assert re.fullmatch(r"hk_live_[0-9A-Za-z]{32}", key)
    lines = page.locator("#connect").inner_text()
    assert f"MLFLOW_TRACKING_URI={web_portal.url}/api/mlflow" in lines
    assert f"MLFLOW_TRACKING_TOKEN={key}" in lines

    reply = web_portal.request("GET", CALL, key=key)
    assert reply.status == 200
    web_portal.calls(request_id=reply.headers["X-Request-ID"])

    window.follow("I have saved the key")
    assert key not in page.content()
    window.follow("Calls")
    row = page.locator("#result_list tbody tr")
    assert row.count() == 1
    assert "experiments.get" in row.inner_text()
    assert "bob" in row.inner_text()

    page.go_back()
    window.follow("Revoke…")
    page.get_by_label("Type the key's name to confirm").fill("another name")
    page.get_by_label("Reason").fill("laptop lost")
    window.follow("Revoke key", "button")
    assert page.get_by_text("This is not the key's name. Nothing was revoked.").is_visible()
    assert web_portal.request("GET", CALL, key=key).status == 200
    page.get_by_label("Type the key's name to confirm").fill("the holder's laptop")
    window.follow("Revoke key", "button")

    assert page.get_by_text("is revoked. Calls with it are refused from now on.").is_visible()
    assert page.get_by_text("laptop lost", exact=True).is_visible()
    refused = wait_for(
        lambda: web_portal.request("GET", CALL, key=key), lambda seen: seen.status == 401, seconds=1
    )
    assert refused.status == 401
    assert "was revoked" in refused.json()["message"]


def test_the_secret_is_gone_after_a_reload_and_on_the_way_back(visit, web_portal):
    window = visit()
    window.let_in("alice")
    key = issue(window, "reloaded")

    window.page.reload()

    assert window.page.get_by_text("The secret cannot be shown again.").is_visible()
    assert key not in window.page.content()
    window.page.go_back()
    assert key not in window.page.content()
    assert web_portal.rows("select count(*) from keys_apikey where name = 'reloaded'") == [{"count": 1}]
    assert key not in window.stored()
    assert key not in web_portal.log.read_text()


def test_a_double_click_issues_one_key_and_shows_it(visit, web_portal):
    window = visit()
    window.let_in("alice")
    window.goto("/admin/keys/apikey/add/")
    window.page.get_by_label("Owner").select_option(label="bob")
    window.page.get_by_label("Name", exact=True).fill("clicked twice")
    window.page.get_by_label("Show it to me, once").check()

    window.page.get_by_role("button", name="Issue key").dblclick()

    window.page.locator("#secret").wait_for()
    assert web_portal.rows("select count(*) from keys_apikey where name = 'clicked twice'") == [{"count": 1}]


def test_the_copy_button_copies(visit):
    window = visit(permissions=["clipboard-read", "clipboard-write"])
    window.let_in("alice")
    key = issue(window, "copied")
    buttons = window.page.get_by_role("button", name="Copy")

    buttons.first.click()

    window.page.get_by_role("button", name="Copied").wait_for()
    assert clipboard(window) == key
    window.page.bring_to_front()
    window.page.locator("[data-copy=connect]").click()
    assert clipboard(window) == window.page.locator("#connect").text_content()


def test_the_copy_button_copies_on_plain_http_too(visit):
    window = visit(host=INSECURE_HOST)
    window.page.context.grant_permissions(["clipboard-read"])
    window.let_in("alice")
    key = issue(window, "copied on plain http")
    assert window.page.evaluate("window.isSecureContext") is False

    window.page.get_by_role("button", name="Copy").first.click()

    window.page.get_by_role("button", name="Copied").wait_for()
    assert clipboard(window) == key
    # Chromium says of each page that plain http has no use for this header of Django's.
    assert all("Cross-Origin-Opener-Policy" in error for error in window.errors)
    window.errors.clear()


def through_every_page(window: Visit, look: Callable[[str], None]) -> None:
    page = window.page
    window.goto("/")
    look("home")
    window.goto("/admin/")
    look("sign in")
    window.sign_in()
    look("index")
    issue(window, "x" * 100)
    look("issued")
    window.follow("I have saved the key")
    look("key")
    window.follow("Revoke…")
    look("revoke")
    for path in ("keys/apikey/", "keys/apikey/add/", "proxy/call/", "keys/user/", "keys/user/add/"):
        window.goto(f"/admin/{path}")
        look(path)
    page.goto(f"{window.origin}/admin/proxy/call/")
    page.locator("#result_list tbody a").first.click()
    look("call")


@pytest.fixture(scope="module")
def wrong(browser_name, browser, web_portal, echo_server):
    echo_server.reset()
    web_portal.request("GET", CALL, key=web_portal.issue("bob")["key"])
    return tour(browser, web_portal, through_every_page)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_page_fits_and_follows_light_and_dark(wrong, scheme, width):
    assert wrong[scheme, width] == []


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_error_page_says_what_to_do(visit, scheme, width):
    window = visit(color_scheme=scheme, viewport={"width": width, "height": 900})

    window.goto("/no/such/page")

    assert window.page.get_by_role("heading", name="There is no such page").is_visible()
    assert "req_" in window.page.locator(".facts").inner_text()
    assert not window.scrolls_sideways()
    assert window.is_light() is (scheme == "light")
    [not_found] = window.errors  # Chromium's own line about the page's status
    assert "404" in not_found
    window.errors.clear()
