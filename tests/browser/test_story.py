"""From an admin's first click to a holder's last question: two browsers, the stock client, a real MLflow."""

import re
import time
from urllib.parse import urlsplit

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from playwright.sync_api import expect

from tests.browser.conftest import PASSWORD, Visit
from tests.browser.test_admin_pages import press_enter, tab_to, tab_to_first
from tests.browser.test_issue_key import clipboard
from tests.portals import Portal, portal

pytestmark = [pytest.mark.browser, pytest.mark.mlflow]

LEAK_SECONDS = 120  # from the report to the quarantine

PEOPLE = f"""
from keys.models import User
User.objects.create_superuser("alice", password="{PASSWORD}")
User.objects.create_user("bob", password="{PASSWORD}")
"""


@pytest.fixture(scope="module")
def office(mlflow_server) -> Portal:
    with portal(mlflow_url=mlflow_server.url, ISOLATION="required") as running:
        running.manage("shell", "-c", PEOPLE)
        yield running


@pytest.fixture
def windows(new_context, office):
    """alice's and bob's browser. Nothing goes wrong in them, and nothing leaves the host."""
    opened = []
    for _ in range(2):
        context = new_context(permissions=["clipboard-read", "clipboard-write"])
        opened.append(Visit(context.new_page(), office))
    yield opened
    for window in opened:
        window.page.context.close()
        assert (window.foreign, window.errors) == ([], [])


def sign_in(window: Visit, name: str, place: str) -> None:
    window.goto(place)
    window.page.get_by_label("Username").fill(name)
    window.page.get_by_label("Password", exact=True).fill(PASSWORD)
    window.page.get_by_role("button", name="Sign in", exact=True).click()
    window.page.wait_for_url(f"**{place}")


def copied(window: Visit) -> str:
    window.page.get_by_role("button", name="Copy").first.click()
    window.page.get_by_role("button", name="Copied").wait_for()
    key = clipboard(window)
    assert re.fullmatch(r"hk_live_[0-9A-Za-z]{32}", key)
    window.page.bring_to_front()
    return key


def test_the_whole_story(windows, office, monkeypatch):
    admin, holder = windows
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{office.url}/api/mlflow")
    mlflow.set_tracking_uri(f"{office.url}/api/mlflow")

    sign_in(admin, "alice", "/admin/")
    admin.goto("/admin/keys/apikey/")
    admin.follow("Issue a key")
    admin.page.get_by_label("Owner").select_option(label="bob")
    admin.page.get_by_label("Name", exact=True).fill("bob's training")
    admin.follow("Issue key", "button")
    message = admin.page.locator("#message").inner_text()
    assert "hk_live_" not in message

    sign_in(holder, "bob", "/account/")
    [link] = re.findall(r"/account/collect/link/\w+/", message)
    holder.goto(link)
    holder.follow("Show the key", "button")
    key = copied(holder)
    expect(holder.page.get_by_text("Waiting for the first call…")).to_be_visible()

    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", key)
    MlflowClient().create_registered_model("the-story")
    expect(holder.page.get_by_text("Connected")).to_be_visible()

    admin.goto("/admin/proxy/registration/")
    row = admin.page.get_by_role("row").filter(has_text="the-story")
    expect(row).to_contain_text("bob")
    expect(row).to_contain_text("Done")

    holder.goto("/account/")
    holder.follow("bob's training")
    holder.follow("Rotate")
    holder.page.get_by_label("The old secret ends").select_option("now")
    holder.follow("Create new secret", "button")
    new = copied(holder)
    assert new != key
    with pytest.raises(MlflowException, match="is not known here"):
        MlflowClient().search_registered_models()
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", new)
    assert MlflowClient().get_registered_model("the-story").name == "the-story"

    admin.goto("/admin/keys/apikey/")
    with admin.page.expect_navigation():
        admin.page.get_by_role("link", name="bob's training hk_live_").click()
    admin.follow("Revoke…")
    admin.page.get_by_label("Type the key's name to confirm").fill("bob's training")
    admin.follow("Revoke key", "button")
    with pytest.raises(MlflowException, match="was revoked") as refused:
        MlflowClient().search_registered_models()
    [request_id] = re.findall(r"req_[0-9a-f]{32}", str(refused.value))

    assert office.calls(request_id=request_id)  # written down by now
    holder.goto("/account/")
    holder.page.get_by_label("Request id or error", exact=True).fill(request_id)
    holder.follow("Look up", "button")
    expect(holder.page.get_by_text("What to do.")).to_be_visible()
    expect(holder.page.get_by_text("The key was revoked permanently.")).to_be_visible()


def test_a_leak_goes_from_report_to_incident_report_by_pages_and_keyboard_alone(windows, office, monkeypatch):
    admin, finder = windows
    issued = office.issue("bob", "--name", "leaky")
    office.sql(
        "update keys_user set last_login = now() where username = 'bob'"
    )  # a person, who collects secrets
    leaked = issued["key"]
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", leaked)
    mlflow.set_tracking_uri(f"{office.url}/api/mlflow")
    client = MlflowClient()
    run = client.create_run(client.create_experiment("leaky")).info.run_id
    client.create_registered_model("taken")
    client.create_model_version("taken", f"runs:/{run}/model", run_id=run)
    admin.let_in("alice")
    started = time.monotonic()

    finder.goto("/leaks")
    tab_to(finder, "The key, or the text that contains it", "textbox")
    finder.page.keyboard.insert_text(f"token = '{leaked}'")
    tab_to_first(finder, finder.page.get_by_label("Where you found it"), "where it was found")
    finder.page.keyboard.insert_text("https://git.example/notebook")
    tab_to(finder, "Report", "button")
    press_enter(finder)
    expect(finder.page.get_by_role("heading", name="Thank you")).to_be_visible()
    with pytest.raises(MlflowException, match="never works again"):  # from the first second
        MlflowClient().search_registered_models()

    admin.goto("/admin/")
    tab_to_first(admin, admin.page.get_by_role("link", name="leaky"), "the alert")
    press_enter(admin)
    expect(admin.page.get_by_text("https://git.example/notebook").first).to_be_visible()
    tab_to(admin, "Rotate", "link")
    press_enter(admin)
    tab_to(admin, "Replace the leaked secret", "button")
    press_enter(admin)
    tab_to(admin, "Copy", "button")
    admin.page.keyboard.press("Enter")
    admin.page.get_by_role("button", name="Copied").wait_for()
    assert "hk_live_" not in admin.page.content()
    [link] = re.findall(r"http\S+/rotate/", admin.page.locator("#message").inner_text())
    tab_to(admin, "Incident report", "link")
    press_enter(admin)
    expect(admin.page.get_by_role("cell", name="taken version 1")).to_be_visible()
    tab_to(admin, "Quarantine these versions", "button")
    press_enter(admin)
    tab_to(admin, "Quarantine 1 version", "button")
    press_enter(admin)
    expect(admin.page.get_by_text("taken version 1: marked")).to_be_visible()

    finder.let_in("bob")
    finder.goto(urlsplit(link).path)
    tab_to(finder, "Create new secret", "button")
    press_enter(finder)
    new = finder.page.locator("#secret").inner_text()

    assert time.monotonic() - started < LEAK_SECONDS
    with pytest.raises(MlflowException, match="is not known here"):
        MlflowClient().search_registered_models()
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", new)
    assert MlflowClient().get_model_version("taken", "1").tags["hokusai.quarantine"]
