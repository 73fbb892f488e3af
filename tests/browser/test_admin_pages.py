"""The admin's pages for keys and users, as people with a keyboard, a phone or a screen reader meet them."""

import time
from contextlib import suppress

import pytest
from playwright.sync_api import Error as PlaywrightError

from tests.browser.test_issue_key import CALL, issue
from tests.portals import wait_for

pytestmark = pytest.mark.browser

LISTS = ["keys/user/", "proxy/owner/", "keys/keyevent/"]  # calls and registrations are searched by POST
SHOWN_WITHIN_SECONDS = 3
SLACK = 3  # times as long, where the machine has other things to do


def tab_to(window, name: str, role: str) -> None:
    """Press Tab until the element has the focus, as who has no mouse would."""
    tab_to_first(window, window.page.get_by_role(role, name=name, exact=True), f"the {role} “{name}”")


def tab_to_first(window, locator, words: str) -> None:
    wanted = locator.first.element_handle()
    for _ in range(80):
        window.page.keyboard.press("Tab")
        if window.page.evaluate("element => document.activeElement === element", wanted):
            return
    raise AssertionError(f"Tab does not reach {words}")


def press_enter(window) -> None:
    with window.page.expect_navigation():
        window.page.keyboard.press("Enter")


def test_the_keyboard_alone_issues_and_revokes_a_key(visit, web_portal, echo):
    window = visit()
    page, keyboard = window.page, window.page.keyboard
    window.let_in("alice")
    window.goto("/admin/keys/apikey/")

    tab_to(window, "Issue a key", "link")
    press_enter(window)
    page.wait_for_function("document.activeElement.name === 'owner'")  # it has the focus by itself
    keyboard.type("bob")
    tab_to(window, "Name", "textbox")
    keyboard.type("by keyboard")
    tab_to_first(window, page.get_by_label("The holder collects it"), "how the key gets to its holder")
    keyboard.press("ArrowDown")  # to the other way: it is shown
    tab_to(window, "Issue key", "button")
    press_enter(window)
    key = page.locator("#secret").inner_text()
    assert web_portal.request("GET", CALL, key=key).status == 200
    tab_to(window, "I have saved the key", "link")
    press_enter(window)
    tab_to(window, "Revoke…", "link")
    press_enter(window)
    page.wait_for_function("document.activeElement.name === 'confirmation'")
    keyboard.type("by keyboard")
    tab_to(window, "Revoke key", "button")
    press_enter(window)

    page.get_by_text("is revoked. Calls with it are refused from now on.").wait_for()
    refused = wait_for(
        lambda: web_portal.request("GET", CALL, key=key), lambda seen: seen.status == 401, seconds=1
    )
    assert refused.status == 401


def test_it_says_connected_by_itself_after_the_first_call_and_stops_asking(visit, web_portal, echo):
    window = visit()
    page = window.page
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/connection/" in request.url else None)
    window.let_in("alice")
    key = issue(window, "to connect")
    line = page.locator("[data-connection]")
    assert line.inner_text() == "Waiting for the first call…"

    assert web_portal.request("GET", CALL, key=key).status == 200
    called = time.monotonic()
    page.get_by_text("Connected. First call on").wait_for()

    assert time.monotonic() - called < SHOWN_WITHIN_SECONDS * SLACK
    assert " UTC from 127.0.0.1" in line.inner_text()
    before = len(asked)
    page.wait_for_timeout(2000)  # longer than from one question to the next
    assert len(asked) == before
    assert not any(key in url for url in asked)


def content(page) -> str:
    """What the page holds; "" while it changes."""
    with suppress(PlaywrightError):
        return page.content()
    return ""


def test_leaving_with_nothing_copied_is_asked_about(visit):
    window = visit()
    page = window.page
    window.let_in("alice")
    key = issue(window, "not copied")
    asked: list[str] = []

    def stay(dialog) -> None:
        asked.append(dialog.type)
        dialog.dismiss()

    page.on("dialog", stay)
    page.locator("#secret").click()  # browsers ask only where something was done
    page.get_by_role("link", name="Users").first.click()
    wait_for(lambda: asked, bool, seconds=5)
    assert asked == ["beforeunload"]
    assert page.locator("#secret").inner_text() == key

    page.get_by_role("button", name="Copy").first.click()
    page.get_by_role("button", name="Copied").wait_for()
    window.follow("Users")
    assert asked == ["beforeunload"]
    with suppress(PlaywrightError):  # the browser asks before it sends a form again, and has no page to show
        page.go_back()
    assert key not in wait_for(lambda: content(page), bool, seconds=5)
    second = page.context.new_page()
    second.goto(f"{window.origin}/admin/keys/apikey/add/")
    assert key not in second.content()


@pytest.mark.parametrize("path", LISTS)
def test_a_key_pasted_into_any_search_finds_its_page_and_stays_out_of_addresses(visit, path):
    window = visit()
    page = window.page
    addresses: list[str] = []
    page.on("request", lambda request: addresses.extend([request.url, request.headers.get("referer", "")]))
    window.let_in("alice")
    key = issue(window, f"pasted into {path}")
    window.goto(f"/admin/{path}")

    page.locator("#searchbar").fill(f"Bearer {key}")
    with page.expect_navigation():
        page.keyboard.press("Enter")

    page.get_by_text("This is the key whose secret you searched for.").wait_for()
    assert not any(key in address for address in addresses)
    page.go_back()
    assert key not in page.content()


def test_the_palette_opens_closes_and_finds_by_keyboard(visit):
    window = visit()
    page, keyboard = window.page, window.page.keyboard
    addresses: list[str] = []
    page.on("request", lambda request: addresses.append(request.url))
    window.let_in("alice")
    key = issue(window, "by palette")
    window.goto("/admin/keys/user/")

    keyboard.press("Control+k")
    page.get_by_role("dialog").wait_for()
    keyboard.type("no such thing at all")
    page.get_by_text("No results.").wait_for()
    keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="hidden")

    tab_to(window, "Find a page, key or user Ctrl K", "button")
    keyboard.press("Enter")
    keyboard.insert_text(key)
    page.get_by_role("option", name="Revoke: by palette").wait_for()
    keyboard.press("ArrowDown")
    keyboard.press("ArrowUp")
    press_enter(window)
    page.wait_for_url("**/change/")
    assert "by palette" in page.locator("#apikey_form").inner_text()
    assert not any(key in address for address in addresses)


def test_the_filters_open_by_keyboard(visit):
    window = visit()
    window.let_in("alice")
    window.goto("/admin/keys/apikey/")

    window.page.keyboard.press("Tab")
    assert window.page.evaluate("document.activeElement.textContent") == "Skip to content"
    tab_to_first(window, window.page.locator("details.filter > summary"), "the filters")
    window.page.keyboard.press("Enter")
    window.page.get_by_label("Use", exact=True).select_option("Unused for 90 days")
    window.page.get_by_role("button", name="Apply").press("Enter")

    window.page.get_by_label("Filters in force").get_by_text("Unused for 90 days").wait_for()
    assert "unused=90" in window.page.url


def test_the_focus_moves_into_the_menu_of_a_narrow_screen_and_back(visit):
    window = visit()
    window.let_in("alice")
    window.page.set_viewport_size({"width": 390, "height": 844})
    window.goto("/admin/keys/apikey/")
    opener = window.page.locator("#main [aria-label=Menu]:visible")

    opener.focus()
    window.page.keyboard.press("Enter")
    window.page.wait_for_function("document.getElementById('nav-sidebar').contains(document.activeElement)")
    window.page.keyboard.press("Escape")

    window.page.wait_for_function("document.activeElement.getAttribute('aria-label') === 'Menu'")
    assert not window.page.locator("#nav-sidebar").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_new_key_and_the_palette_are_accessible_and_fit(visit, web_portal, echo, scheme):
    window = visit(color_scheme=scheme, viewport={"width": 1280, "height": 900})
    page, wrong = window.page, []

    def look(name: str) -> None:
        page.wait_for_load_state("networkidle")
        wrong.extend((name, *found) for found in window.findings(colours_only=scheme == "dark"))
        page.set_viewport_size({"width": 390, "height": 900})
        if window.scrolls_sideways():
            wrong.append((name, "scrolls sideways", []))
        page.set_viewport_size({"width": 1280, "height": 900})

    window.let_in("alice")
    key = issue(window, f"looked at in {scheme}")
    web_portal.request("GET", CALL, key=key)
    page.get_by_text("Connected.").wait_for()
    look("issued")
    window.follow("I have saved the key")
    page.keyboard.press("Control+k")
    page.get_by_role("option").first.wait_for()
    look("palette")

    assert wrong == []
