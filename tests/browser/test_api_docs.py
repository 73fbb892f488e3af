"""The management API's browser: under the strict policy, from this host alone."""

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.postgresql]


def test_it_shows_every_operation_and_tries_one_with_a_key(visit, web_portal):
    """The visit itself sees to it that nothing is foreign and nothing violates the policy."""
    key = web_portal.issue("bob", "--scope", "portal:read")
    window = visit()
    answer = window.page.goto(f"{window.origin}/api/v1/docs/")
    policy = answer.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy

    page = window.page
    page.get_by_text("/api/v1/keys/{key_id}/rotate").wait_for()
    assert page.locator(".opblock").count() > 25
    page.get_by_role("button", name="Authorize").first.click()
    bearer = page.locator(".auth-container").filter(has_text="http, Bearer").last
    bearer.locator("input").fill(key["key"])
    bearer.get_by_role("button", name="Apply credentials").click()
    page.locator(".btn-done").first.click()
    page.locator("#operations-me-me .opblock-summary-control").click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_role("button", name="Execute").click()
    page.locator(".live-responses-table .response-col_status", has_text="200").first.wait_for()

    assert '"bob"' in page.locator(".live-responses-table").inner_text()
    assert key["key"] not in page.url
    assert page.evaluate("Object.keys(localStorage).length") == 0


def test_it_fits_a_narrow_window(visit):
    window = visit(viewport={"width": 390, "height": 800})
    window.goto("/api/v1/docs/")
    window.page.get_by_text("/api/v1/keys/{key_id}/rotate").wait_for()

    assert not window.scrolls_sideways()
