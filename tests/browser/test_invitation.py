"""An invitation's link in a real browser, which sends its Origin or not by the page's Referrer-Policy."""

from playwright.sync_api import expect

PASSWORD = "a phrase of eve's own"


def fill(visit, password):
    visit.page.get_by_label("Password", exact=True).fill(password)
    visit.page.get_by_label("Repeat the password").fill(password)
    visit.follow("Set password", role="button")


def test_an_invited_user_sets_a_password_and_lands_on_the_account_page(visit, web_portal):
    link = web_portal.manage("invite_user", "--user", "eve").stdout.split()[0]
    window = visit()
    window.page.goto(link)
    expect(window.page.get_by_role("heading", name="Welcome, eve")).to_be_visible()
    assert link.rstrip("/").rpartition("/")[2] not in window.page.url

    fill(window, "short")
    expect(window.page.get_by_text("too short")).to_be_visible()
    fill(window, PASSWORD)
    assert window.page.url == f"{window.origin}/account/"
    expect(window.page.get_by_role("link", name="Read the quickstart")).to_be_visible()

    again = visit()
    again.goto("/account/login/")
    again.page.get_by_label("Username").fill("eve")
    again.page.get_by_label("Password", exact=True).fill(PASSWORD)
    again.follow("Sign in", role="button")
    assert again.page.url == f"{again.origin}/account/"


def test_a_sign_in_link_for_someone_who_has_a_password_sets_another(visit, web_portal):
    made = "from keys.models import User; User.objects.create_user('ines', password='the one before')"
    web_portal.manage("shell", "-c", made)
    admin = visit()
    admin.sign_in()
    admin.goto("/admin/keys/user/?q=ines")
    admin.follow("ines")
    admin.follow("Sign-in link…")
    admin.follow("Create sign-in link", role="button")
    link = admin.page.locator("#link").inner_text()

    window = visit()
    window.page.goto(link)
    fill(window, PASSWORD)
    assert window.page.url == f"{window.origin}/account/"
