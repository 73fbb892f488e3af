"""The steps of three working days in a real browser, against a portal that `make run` has just started:

    ADMIN_PASSWORD=… .venv/bin/python -m benchmarks.three_days http://127.0.0.1:8000

A data scientist, an admin and an auditor do what they do every day. A step is a link or button that is activated, a
field that is filled in, or a page that opens. Signing in and the stock client's own work are not counted. DATA_DIR is
the running portal's. From before the report of the leak, the leaked secret is tried all the time.
"""

import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

from benchmarks.steps import Person, sign_in

ROOT = Path(__file__).parent.parent
PASSWORD = "correct horse battery staple"
WORK = """
import sys
from mlflow import MlflowClient
client, name = MlflowClient(), sys.argv[1]
run = client.create_run(client.create_experiment(name)).info.run_id
client.log_metric(run, "loss", 0.5)
client.log_text(run, "hello", "notes.txt")
client.create_registered_model(name)
client.create_model_version(name, f"runs:/{run}/model", run_id=run)
"""
DELETE = "import sys; from mlflow import MlflowClient; MlflowClient().delete_registered_model(sys.argv[1])"


@dataclass
class Day:
    """A portal, the people in front of it, and the table of their steps."""

    browser: Browser
    url: str
    name: str = field(default_factory=lambda: f"eve-{int(time.time())}")
    model: str = field(default_factory=lambda: f"churn-{int(time.time())}")
    people: dict[str, Person] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    rows: list[tuple[str, str, int, int, int]] = field(default_factory=list)

    def person(self, name: str) -> Person:
        if name not in self.people:
            context = self.browser.new_context(accept_downloads=True)
            context.set_default_timeout(10_000)
            self.people[name] = Person(context.new_page(), self.url)
        return self.people[name]

    def task(self, who: str, what: str, act: Callable[[Person], Any], start: str = "") -> None:
        """Do it from the page `start`, and count its steps."""
        person = self.person(who)
        if start:
            person.goto(start)
        person.clicks = person.fields = person.pages = 0
        act(person)
        self.rows.append((who, what, person.clicks, person.fields, person.pages))
        print(
            f"{who}: {what}: {person.clicks} clicks, {person.fields} fields, {person.pages} pages", flush=True
        )

    def client(self, script: str, *arguments: str, key: str) -> str:
        """What the stock client prints of an error."""
        environment = {**os.environ, "MLFLOW_TRACKING_URI": f"{self.url}/api/mlflow"}
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments],
            env={**environment, "MLFLOW_TRACKING_TOKEN": key},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stderr.strip().rpartition("\n")[2]


def manage(*arguments: str) -> Any:
    command = [sys.executable, "manage.py", *arguments, "--json"]
    return json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)


# The admin


def add_person(day: Day) -> Callable[[Person], None]:
    def act(admin: Person) -> None:
        admin.click("Add a user")
        admin.fill("Name", day.name)
        admin.click("Add user", "button")
        day.notes["message"] = admin.page.locator("#message").inner_text()
        admin.click("Copy", "button")

    return act


def issue_another(day: Day) -> Callable[[Person], None]:
    def act(admin: Person) -> None:
        admin.click("Issue a key")
        admin.choose("Owner", day.name)
        admin.fill("Name", "nightly")
        admin.click("Issue key", "button")
        day.notes["link"] = re.findall(
            r"http\S+/collect/link/\S+", admin.page.locator("#message").inner_text()
        )[0]
        admin.click("Copy", "button")

    return act


def approve(admin: Person) -> None:
    admin.clicks += 1
    admin.page.get_by_role("button", name=re.compile("^Approve")).first.click()
    admin.sees("pproved")


def find_key(day: Day) -> Callable[[Person], None]:
    def act(admin: Person) -> None:
        admin.search(day.notes["key"].removeprefix("hk_live_")[:4])
        admin.sees("first key")

    return act


def handle_leak(admin: Person) -> None:
    """From the dashboard: rotate, copy the message for the holder, see what the key touched, quarantine."""
    admin.clicks += 1
    alerts = admin.page.locator("section").filter(has_text="Open alerts")
    alerts.get_by_role("link", name=re.compile("first key")).first.click()
    admin.click("Rotate")
    admin.click("Replace the leaked secret", "button")
    admin.click("Copy", "button")
    admin.click("Incident report")
    admin.click("Quarantine these versions", "button")
    admin.click("Quarantine 1 version", "button")
    admin.sees("version 1: marked")


def make_auditor(admin: Person) -> None:
    admin.click("audrey")
    admin.check("Auditor:")
    admin.click("Save", "button")
    admin.sees("changed successfully")


# The data scientist


def first_call(day: Day) -> Callable[[Person], None]:
    def act(holder: Person) -> None:
        holder.goto(re.findall(r"http\S+", day.notes["message"])[0])
        holder.fill("Password", PASSWORD)
        holder.fill("Repeat the password", PASSWORD)
        holder.click("Set password", "button")
        holder.click("Show the key", "button")
        day.notes["key"] = holder.page.locator("#secret").inner_text()
        holder.click("Copy", "button")
        day.client(WORK, day.model, key=day.notes["key"])
        holder.sees("Connected. First call on")

    return act


def why(text: str) -> Callable[[Person], None]:
    def act(holder: Person) -> None:
        holder.fill("Request id or error", text)
        holder.click("Look up", "button")
        holder.sees("What to do.")

    return act


def ask_for_more_time(holder: Person) -> None:
    holder.click("first key")
    holder.click("Request a later expiry")
    holder.click("Send request", "button")
    holder.sees("You requested")


def rotate_and_end(holder: Person) -> None:
    """Rotate with a day's overlap, see that nobody uses the old secret, end it."""
    holder.click("nightly")
    holder.click("Rotate")
    holder.click("Create new secret", "button")
    holder.click("Copy", "button")
    holder.click("I have saved the key")
    holder.sees("Who still uses the old secret")
    holder.click("End the old secret…")
    holder.click("End the old secret", "button")


def collect(day: Day) -> Callable[[Person], None]:
    def act(holder: Person) -> None:
        holder.goto(day.notes["link"])
        holder.click("Show the key", "button")
        holder.click("Copy", "button")

    return act


def replace_leaked(day: Day) -> Callable[[Person], None]:
    """From the message of the admin, or the holder's own page: the new secret, which alone works."""

    def act(holder: Person) -> None:
        holder.click("first key")
        holder.click("Rotate")
        holder.click("Create new secret", "button")
        day.notes["new"] = holder.page.locator("#secret").inner_text()
        holder.click("Copy", "button")

    return act


def report(day: Day) -> Callable[[Person], None]:
    def act(finder: Person) -> None:
        finder.goto("/leaks")
        finder.fill("The key, or the text that contains it", day.notes["key"])
        finder.page.get_by_label("Where you found it").fill("https://git.example/notebook")
        finder.fields += 1
        finder.click("Report", "button")
        finder.sees("Thank you")

    return act


# The auditor


def accounting(auditor: Person) -> None:
    auditor.click("Usage")
    auditor.click("Last month")
    with auditor.page.expect_download():
        auditor.click("Download as CSV")


def who_registered(day: Day) -> Callable[[Person], None]:
    def act(auditor: Person) -> None:
        auditor.search(day.model)
        auditor.click("1")
        auditor.sees("quarantine")

    return act


def who_was_told(auditor: Person) -> None:
    auditor.click("Alerts")
    auditor.click("All")
    auditor.page.locator("#result_list").get_by_text("found in the open").first.wait_for()


def what_was_taken(auditor: Person) -> None:
    auditor.click("Keys")
    auditor.page.get_by_role("link", name=re.compile("^first key")).first.click()
    auditor.clicks += 1
    auditor.click("Incident report")
    auditor.sees("Downloaded since")


def status_of(day: Day, secret: str) -> int:
    """The status of a read with the secret."""
    path = "/api/mlflow/api/2.0/mlflow/experiments/search?max_results=1"
    request = urllib.request.Request(day.url + path, headers={"Authorization": f"Bearer {secret}"})
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


@contextmanager
def tried_all_the_time(day: Day, secret: str) -> Iterator[None]:
    """Try the secret ten times a second. Prints how often it was accepted before and after `day.notes["reported"]`,
    the end of the finder's task."""
    tries: list[tuple[float, int]] = []
    is_over = threading.Event()

    def run() -> None:
        while not is_over.wait(0.1):
            tries.append((time.monotonic(), status_of(day, secret)))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
    reported = float(day.notes["reported"])
    before, after = ([status for at, status in tries if (at > reported) is later] for later in (False, True))
    print(f"{time.monotonic() - reported:.1f} s from the report to the incident report and the new secret")
    print(
        f"The leaked secret: accepted {after.count(200)} of {len(after)} times, before it {before.count(200)}"
    )


def walk(day: Day, password: str) -> None:
    admin, auditor = day.person("admin"), day.person("auditor")
    sign_in(admin, "admin", password, "/admin/")
    link = manage("invite_user", "--user", "audrey")["link"]
    auditor.goto(link)
    for label in ("Password", "Repeat the password"):
        auditor.page.get_by_label(label, exact=True).fill(PASSWORD)
    auditor.page.get_by_role("button", name="Set password").click()
    auditor.page.wait_for_url("**/account/")

    day.task(
        "admin", "add a person with a key, and get the message to send", add_person(day), "/admin/keys/user/"
    )
    day.task("data scientist", "from the message to the first call", first_call(day))
    error = day.client(DELETE, day.model, key=day.notes["key"])
    day.task("data scientist", "why a call failed, from the client's error", why(error), "/account/")
    typo = day.client(DELETE, day.model, key=f"{day.notes['key'][:-1]}{'ab'[day.notes['key'][-1] == 'a']}")
    day.task("data scientist", "why a mistyped key failed", why(typo), "/account/")
    day.task("data scientist", "ask for a later expiry", ask_for_more_time, "/account/")
    day.task("admin", "decide about it", approve, "/admin/")
    day.task("admin", "issue somebody another key", issue_another(day), "/admin/keys/apikey/")
    day.task("data scientist", "collect the other key", collect(day))
    day.task("data scientist", "rotate it, and end the old secret", rotate_and_end, "/account/")
    day.task("admin", "find a key by its first four characters", find_key(day), "/admin/")
    day.task("admin", "make somebody an auditor", make_auditor, "/admin/keys/user/")
    with tried_all_the_time(day, day.notes["key"]):
        day.task("finder", "report a leaked key", report(day))
        day.notes["reported"] = str(time.monotonic())
        day.task(
            "admin", "from the alert to a rotated key, a report and a quarantine", handle_leak, "/admin/"
        )
        day.task(
            "data scientist", "create the new secret of the leaked key", replace_leaked(day), "/account/"
        )
    print(f"The new secret: {status_of(day, day.notes['new'])}")
    day.task("auditor", "last month's calls by user and key, as CSV", accounting, "/admin/")
    day.task(
        "auditor", "who registered a version, and whether it is in quarantine", who_registered(day), "/admin/"
    )
    day.task("auditor", "who was notified of the leak", who_was_told, "/admin/")
    day.task("auditor", "what the leaked key downloaded", what_was_taken, "/admin/")


def main() -> int:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        day = Day(browser, sys.argv[1].rstrip("/"))
        walk(day, os.environ["ADMIN_PASSWORD"])
        browser.close()
    print("\n| who | task | clicks | fields | pages |\n|---|---|---|---|---|")
    for row in day.rows:
        print(f"| {' | '.join(str(value) for value in row)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
