"""The dashboard, the usage log and the ledger in a browser: readable by everybody, light and dark, wide and narrow."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.browser.conftest import SCHEMES, WIDTHS, Visit, misfits, tour

pytestmark = pytest.mark.browser

LOG, LEDGER = "/admin/proxy/call/", "/admin/proxy/registration/"
PAGES = [
    "/admin/?period=30d",
    "/admin/settings/",
    "/admin/health/",
    LOG,
    LEDGER,
    f"{LEDGER}model/?name=vision",
]


@pytest.fixture(scope="module")
def told(web_portal):
    """Some calls, registrations and totals to look at."""
    web_portal.manage("shell", "-c", "from tests.proxy.audit_story import tell; tell()")


def through_every_page(window: Visit, look: Callable[[str], None]) -> None:
    page = window.page
    window.let_in("alice")
    for path in PAGES:
        window.goto(path)
        page.wait_for_load_state("networkidle")
        if path in (LOG, LEDGER):
            page.get_by_text("Filter", exact=True).click()
        look(path)
        if path in (LOG, LEDGER):
            page.locator("a[data-drawer]").first.click()
            page.locator("#drawer dl").wait_for()
            look(f"{path}, the drawer")


def findings_and_misfits(window: Visit, scheme: str) -> list[Any]:
    """In dark, the colours are looked at in a narrow window: they are the same in a wide one."""
    if scheme == "dark" and window.is_wide():
        return misfits(window, scheme)
    return [*window.findings(colours_only=scheme == "dark"), *misfits(window, scheme)]


@pytest.fixture(scope="module")
def wrong(browser_name, browser, web_portal, told):
    return tour(browser, web_portal, through_every_page, findings_and_misfits)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_page_is_accessible_and_fits(wrong, scheme, width):
    assert wrong[scheme, width] == []


def test_a_call_is_found_and_read_by_keyboard_alone(visit, web_portal, told):
    window = visit()
    page = window.page
    window.let_in("alice")
    window.goto(LOG)

    page.get_by_text("Filter", exact=True).focus()
    page.keyboard.press("Enter")
    page.get_by_label("Request id", exact=True).focus()
    page.keyboard.type(f"req_{7:032x}")
    page.keyboard.press("Enter")
    page.wait_for_url("**?request_id=req_*")
    row = page.locator("#result_list tbody tr")
    assert row.count() == 1

    row.locator("a").first.focus()
    page.keyboard.press("Enter")
    page.locator("#drawer dl").wait_for()
    assert page.locator("#drawer-title").evaluate("element => element === document.activeElement")
    assert "413 refused" in page.locator("#drawer").inner_text()
    assert "What to do:" in page.locator("#drawer").inner_text()
    page.keyboard.press("Escape")
    assert page.locator("#drawer").is_hidden()
    assert row.locator("a").first.evaluate("element => element === document.activeElement")

    page.keyboard.press("Enter")
    page.locator("#drawer dl").wait_for()
    window.follow("Open as a page")
    assert page.url.endswith("/change/")
    page.get_by_text("What to do:").wait_for()


def test_a_key_pasted_into_the_filter_is_in_no_address_and_no_log(visit, web_portal, told):
    secret = web_portal.issue("dora")["key"]
    window = visit()
    page = window.page
    addresses: list[str] = []
    page.on("request", lambda request: addresses.append(request.url))
    window.let_in("alice")
    window.goto(LEDGER)

    page.get_by_text("Filter", exact=True).click()
    page.get_by_label("Model", exact=True).fill(secret)
    page.get_by_role("button", name="Apply", exact=True).click()
    page.wait_for_url("**?key=key_*")

    assert secret not in page.content()
    assert not any(secret in address for address in addresses)
    assert secret not in web_portal.log.read_text()


def test_the_chart_is_drawn_and_health_arrives_by_itself(visit, web_portal, told):
    window = visit()
    page = window.page
    window.sign_in()

    page.get_by_text("PostgreSQL: ok").wait_for()
    drawn = page.evaluate(
        "() => { const c = document.getElementById('chart'); const d = c.getContext('2d')"
        ".getImageData(0, 0, c.width, c.height).data; return d.some((value) => value !== 0); }"
    )
    assert drawn
    page.get_by_text("Show as a table").click()
    assert page.get_by_role("table").locator("tbody tr").count() == 24
    window.follow("7 days")
    assert page.get_by_text("Calls in the last 7 days").is_visible()
