"""A holder on their own pages: rotates a key, reads why a call failed; and how the pages look and behave."""

import re

import pytest
from playwright.sync_api import Error

from tests.browser.conftest import Visit
from tests.portals import Portal, wait_for

pytestmark = pytest.mark.browser

SECRET = re.compile(r"hk_live_[0-9A-Za-z]{32}")
CALL = "/api/mlflow/api/2.0/mlflow/experiments/get?experiment_id=0"
DELETE = "/api/mlflow/api/2.0/mlflow/registered-models/delete"


@pytest.fixture
def bob(visit):
    """Opens windows in which bob is signed in."""

    def open_window(**options) -> Visit:
        window = visit(**options)
        window.let_in("bob")
        return window

    return open_window


@pytest.fixture(scope="module")
def key(web_portal) -> dict:
    """Bob's key, that was used and refused and registered a model."""
    issued = web_portal.issue("bob", "--preset", "contributor")
    web_portal.request("GET", CALL, key=issued["key"])
    web_portal.request(
        "POST",
        "/api/mlflow/api/2.0/mlflow/registered-models/create",
        key=issued["key"],
        body={"name": "bobs"},
    )
    refused = web_portal.request("DELETE", DELETE, key=issued["key"], body={"name": "x"})
    assert refused.status == 403
    web_portal.calls(request_id=refused.headers["X-Request-ID"])
    return {**issued, "refused": refused.headers["X-Request-ID"]}


def rotate(window: Visit, key: dict) -> str:
    """By hand, from the account page on; returns the secret that is shown."""
    window.goto("/account/")
    window.page.locator(f"a[href*='{key['id']}']").click()
    window.follow("Rotate")
    window.page.get_by_label("The old secret ends").select_option("now")
    window.follow("Create new secret", "button")
    return window.page.locator("#secret").inner_text()


def test_a_holder_rotates_a_key_and_its_client_connects(bob, web_portal: Portal):
    key, window = web_portal.issue("bob"), bob()
    page = window.page

    secret = rotate(window, key)

    assert SECRET.fullmatch(secret)
    assert secret != key["key"]
    assert page.get_by_text("Waiting for the first call…").is_visible()
    old = wait_for(
        lambda: web_portal.request("GET", CALL, key=key["key"]), lambda seen: seen.status == 401, seconds=2
    )
    assert "got a new secret" in old.json()["message"] or "not known" in old.json()["message"]
    assert web_portal.request("GET", CALL, key=secret).status == 200
    page.get_by_text("Connected. First call on").wait_for()
    window.follow("I have saved the key")
    assert page.get_by_role("heading", name="test", exact=True).is_visible()
    assert secret not in page.content()


def test_the_secret_is_shown_once_whatever_is_tried(bob, web_portal: Portal):
    key, window = web_portal.issue("bob"), bob()
    page = window.page
    page.on("dialog", lambda dialog: dialog.accept())
    secret = rotate(window, key)
    second = page.context.new_page()
    second.goto(page.url)

    assert not SECRET.search(second.content())
    page.reload()
    assert page.get_by_text("The new secret cannot be shown again.").is_visible()
    assert secret not in page.content()
    page.go_back()
    assert secret not in page.content()
    assert secret not in window.stored()
    # Nothing is stored: the browser would have to send the form again.
    with pytest.raises(Error, match="ERR_CACHE_MISS"):
        page.go_forward()
    rotated = (
        "select count(*) from keys_keyevent e join keys_apikey k on k.id = e.key_id where kind = 'rotated'"
    )
    assert web_portal.rows(f"{rotated} and k.public_id = %s", key["id"]) == [{"count": 1}]


def test_leaving_without_having_copied_asks_first(bob, web_portal: Portal):
    key, window = web_portal.issue("bob"), bob()
    page = window.page
    asked = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    rotate(window, key)
    page.get_by_role("heading", name="New secret").click()  # browsers ask only those who did something

    window.follow("Docs")
    assert asked == ["beforeunload"]

    rotate(window, key)
    page.get_by_role("button", name="Copy").first.click()
    page.get_by_role("button", name="Copied").wait_for()
    window.follow("Docs")
    assert asked == ["beforeunload"]


def test_a_request_id_is_looked_up_from_the_account_page(bob, key):
    window = bob()
    window.goto("/account/")

    window.page.get_by_label("Request id or error", exact=True).fill(f" {key['refused']}\t")
    window.follow("Look up", "button")

    page = window.page
    assert page.get_by_role("heading", name="registered-models.delete").is_visible()
    assert page.get_by_text("The operation needs a scope that the key does not have").is_visible()
    assert page.get_by_text("Delete registered models, their versions and prompts").is_visible()

    window.follow("Look up")
    page.get_by_label("Request id or error", exact=True).fill(key["key"])
    window.follow("Look up", "button")
    assert page.get_by_text("That is an API key, not a request id.").is_visible()
    assert key["key"] not in page.content()
    assert key["key"] not in page.url


def test_a_key_is_revoked_by_keyboard_alone(bob, web_portal: Portal):
    key, window = web_portal.issue("bob"), bob()
    window.goto(f"/account/keys/{key['id']}/revoke/")

    window.page.keyboard.type("test")
    for _ in range(2):  # past the reason, to the button
        window.page.keyboard.press("Tab")
    with window.page.expect_navigation():
        window.page.keyboard.press("Enter")

    window.page.get_by_text("is revoked. Calls with it are refused from now on.").wait_for()


def pages(key: dict, scheme: str) -> dict[str, int]:
    """Pages of account, documents and errors, and their status. In light, without those of which
    test_every_page.py does the same."""
    own = f"/account/keys/{key['id']}/"
    elsewhere = [
        "/account/",
        own,
        f"{own}rotate/",
        f"{own}revoke/",
        "/account/usage/",
        "/account/calls/",
        f"/account/calls/{key['refused']}/",
        "/account/registrations/",
        "/account/registrations/model/?name=bobs",
        "/docs/",
        "/docs/quickstart/",
        "/docs/operations/",
    ]
    good = ["/account/usage/?period=24h", "/account/calls/find/", "/docs/errors/", "/docs/api/"]
    if scheme == "dark":
        good += elsewhere
    return dict.fromkeys(good, 200) | {
        f"/account/calls/req_{'0' * 32}/": 404,
        "/no/such/page": 404,
        "/api/mlflow/x": 401,
    }


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_every_page_is_accessible_fits_and_follows_light_and_dark(bob, key, scheme, width):
    window = bob(color_scheme=scheme, viewport={"width": width, "height": 900})
    wrong = []
    for path, status in pages(key, scheme).items():
        response = window.page.goto(window.origin + path)
        assert response is not None
        assert response.status == status, path
        if window.scrolls_sideways() or window.is_light() is not (scheme == "light"):
            wrong.append(path)
        wrong += [(path, *found) for found in window.findings()]
    window.page.goto(f"{window.origin}/docs/")
    # What the browser itself says of an error's status; nothing else is let pass.
    window.errors = [error for error in window.errors if "Failed to load resource" not in error]

    assert wrong == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_front_page_and_a_new_secret_are_accessible(visit, bob, web_portal, scheme):
    home = visit(color_scheme=scheme, viewport={"width": 390, "height": 900})
    home.goto("/")
    assert home.findings(colours_only=scheme == "dark") == []
    assert not home.scrolls_sideways()

    window = bob(color_scheme=scheme, viewport={"width": 390, "height": 900})
    window.page.on("dialog", lambda dialog: dialog.accept())
    rotate(window, web_portal.issue("bob"))
    assert window.findings(colours_only=scheme == "dark") == []
    assert not window.scrolls_sideways()


def test_the_pages_follow_what_was_chosen_in_the_admin(bob):
    window = bob(color_scheme="light")
    window.goto("/account/")
    assert window.is_light()

    window.page.evaluate("localStorage.setItem('adminTheme', '\"dark\"')")
    window.page.reload()

    assert not window.is_light()


def test_a_page_draws_its_chart_and_says_the_same_in_words(bob, key):
    window = bob()
    window.goto("/account/usage/?period=24h")

    drawn = window.page.locator("canvas").evaluate(
        "canvas => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some(Boolean)"
    )
    window.page.get_by_text("Show as a table").click()

    assert drawn
    last = window.page.locator("#numbers tbody tr").last
    assert int(last.locator("td").nth(2).inner_text()) >= 1
