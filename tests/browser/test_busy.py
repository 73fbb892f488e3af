"""What takes long shows that it is running, and how far it has got."""

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser


def test_an_export_counts_its_lines_and_saves_the_file(visit, web_portal):
    for number in range(3):
        web_portal.issue("bob", "--name", f"key {number}")
    window = visit(accept_downloads=True)
    window.let_in("alice")
    window.goto("/admin/keys/apikey/")
    link = window.page.get_by_role("link", name="Download as CSV")

    link.focus()
    with window.page.expect_download() as download:
        window.page.keyboard.press("Enter")

    text = download.value.path().read_text()
    assert download.value.suggested_filename == "keys.csv"
    assert text.startswith("id,name,key,owner")
    expect(window.page.get_by_role("status")).to_have_text(f"Downloaded {text.count(chr(10))} lines.")
    assert window.findings() == []


def test_an_export_that_waits_says_so_and_can_be_cancelled(visit, web_portal):
    window, waiting = visit(), []
    window.let_in("alice")
    window.goto("/admin/proxy/call/")
    window.page.route("**/export/**", lambda route: waiting.append(route))

    window.page.get_by_role("link", name="Download as CSV").click()
    expect(window.page.get_by_role("status")).to_have_text("Downloading…")
    window.page.get_by_role("button", name="Cancel").click()

    expect(window.page.get_by_role("status")).to_have_text("Cancelled. No file was saved.")
    expect(window.page.get_by_role("link", name="Download as CSV")).to_be_focused()


def test_a_form_that_waits_says_so_on_its_button_and_beside_it(visit, web_portal):
    key = web_portal.issue("bob")["id"]
    [[pk]] = web_portal.sql("select id from keys_apikey where public_id = %s", key)
    window = visit()
    window.let_in("alice")
    window.goto(f"/admin/incident/{pk}/")
    # The page stays, as it does until the response is there.
    window.page.evaluate("window.addEventListener('submit', event => event.preventDefault())")
    button, status = window.page.get_by_role("button", name="Show"), window.page.get_by_role("status")
    window.page.route("**/progress/x/", lambda route: route.fulfill(json={"done": 1200, "total": 5000}))
    button.evaluate("button => { button.dataset.progress = '/admin/progress/x/' }")

    button.click()

    working = status.filter(has_text="Reading the ledger, the owners and the usage log…")
    expect(working).to_be_visible()
    expect(window.page.locator(".waiting")).to_contain_text("1,200 of 5,000, ")
    expect(button).to_have_attribute("aria-busy", "true")
    assert window.findings() == []
    window.page.evaluate("window.dispatchEvent(new Event('pageshow'))")  # back on the page
    expect(working).to_have_count(0)
    expect(button).not_to_have_attribute("aria-busy", "true")
