"""MLflow's own pages in a real browser, in front of a real MLflow, for what a stock client has made."""

import re
import secrets
from dataclasses import dataclass, field

import mlflow
import pytest
from mlflow import MlflowClient
from playwright.sync_api import Locator, Page, Response, expect

from tests.browser.conftest import PASSWORD, Visit
from tests.sessions import Browser, sign_in

REPORT = """<h1>A report</h1><script>document.title = "taken"; parent.postMessage("taken", "*")</script>"""
CHATTER = re.compile("AG Grid: since v27.1")  # MLflow's own page, about itself


@dataclass
class Work:
    """What yves has made with his key."""

    experiment: str
    run: str
    model: str


@pytest.fixture(scope="module")
def yves(mlflow_portal) -> Browser:
    return sign_in(mlflow_portal, "yves")


@pytest.fixture(scope="module")
def key(mlflow_portal, yves) -> dict:
    return mlflow_portal.issue("yves")


@pytest.fixture(scope="module")
def zoe(mlflow_portal) -> Browser:
    """Who has no key."""
    return sign_in(mlflow_portal, "zoe")


@pytest.fixture(scope="module")
def work(mlflow_portal, key) -> Work:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_TOKEN", key["key"])
        mlflow.set_tracking_uri(f"{mlflow_portal.url}/api/mlflow")
        client = MlflowClient()
        name = f"pages-{secrets.token_hex(4)}"
        experiment = client.create_experiment(name)
        run = client.create_run(experiment, run_name="first run").info.run_id
        for step in range(5):
            client.log_metric(run, "loss", 1 / (step + 1), step=step)
        client.log_text(run, "hello from the client", "notes.txt")
        client.log_text(run, REPORT, "report.html")
        client.set_terminated(run)
        client.create_registered_model(name, description="What the pages show.")
        client.create_model_version(name, f"runs:/{run}/model", run_id=run, description="The first.")
    return Work(experiment, run, name)


@dataclass
class Pages:
    """A window on MLflow's pages, and what went wrong in it."""

    visit: Visit
    refused: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("response", self.note_response)

    @property
    def page(self) -> Page:
        return self.visit.page

    def note_response(self, response: Response) -> None:
        if response.status >= 400:
            self.refused.append(
                f"{response.status} {response.url.partition('/mlflow/')[2].partition('?')[0]}"
            )

    def goto(self, where: str = "") -> None:
        """Load the page afresh: a change behind the hash alone does not."""
        self.page.goto("about:blank")
        self.visit.goto(f"/mlflow/{where}")

    @property
    def errors(self) -> list[str]:
        return [line for line in self.visit.errors if not CHATTER.search(line)]


def shows(what: Locator) -> None:
    """MLflow's pages load a good deal before they show anything."""
    expect(what).to_be_visible(timeout=20_000)


@pytest.fixture
def pages(new_context, mlflow_portal):
    """Opens windows: `pages()`, `pages(yves)`. No request may leave for elsewhere."""
    opened: list[Pages] = []

    def open_window(user: Browser | None = None) -> Pages:
        context = new_context(viewport={"width": 1400, "height": 900}, accept_downloads=True)
        opened.append(Pages(Visit(context.new_page(), mlflow_portal)))
        if user:
            opened[-1].visit.let_in(user.name)
        return opened[-1]

    yield open_window
    for window in opened:
        window.page.context.close()
    assert [url for window in opened for url in window.visit.foreign if url != "about:blank"] == []


def test_a_visitor_signs_in_and_comes_back(pages, mlflow_portal):
    script = f"from keys.models import User; User.objects.create_user('xenia', password='{PASSWORD}', is_staff=True)"
    mlflow_portal.manage("shell", "-c", script)
    window = pages()
    window.goto()
    window.page.get_by_label("Username").fill("xenia")
    window.page.get_by_label("Password").fill(PASSWORD)
    window.page.get_by_label("Password").press("Enter")

    window.page.wait_for_url("**/mlflow/**")
    shows(window.page.get_by_role("heading", name="Experiments"))
    assert window.errors == []


def test_the_pages_open_on_models_and_runs_say_who_is_signed_in_and_lead_back(pages, zoe):
    window = pages(zoe)
    page = window.page
    window.goto()

    shows(page.get_by_role("heading", name="Experiments"))
    shows(page.get_by_text("Model registry"))
    shows(page.get_by_text("Signed in as zoe"))
    for closed in ("Assistant", "Start Demo"):
        assert page.get_by_text(closed).filter(visible=True).count() == 0
    assert page.evaluate("document.documentElement.scrollHeight <= window.innerHeight")
    assert (window.errors, window.refused) == ([], [])

    page.get_by_role("link", name="Account", exact=True).click()
    page.wait_for_url("**/account/")


def test_what_the_client_made_is_shown_and_nothing_goes_wrong(pages, zoe, work):
    window = pages(zoe)
    page = window.page

    window.goto("#/experiments")
    shows(page.get_by_role("link", name=work.model))

    window.goto(f"#/experiments/{work.experiment}/runs")
    shows(page.get_by_text("first run").first)

    window.goto(f"#/runs/{work.run}")  # as the portal's own pages link to it
    shows(page.get_by_role("heading", name="first run"))
    shows(page.get_by_role("link", name="loss"))

    window.goto(f"#/experiments/{work.experiment}/runs/{work.run}/model-metrics")
    shows(page.locator(".js-plotly-plot").first)

    window.goto(f"#/experiments/{work.experiment}/runs/{work.run}/artifacts/notes.txt")
    shows(page.get_by_text("hello from the client"))

    window.goto("#/models")
    shows(page.get_by_role("link", name=work.model))
    assert page.get_by_role("dialog").count() == 0  # MLflow's, which advertises its new registry
    window.goto(f"#/models/{work.model}")
    shows(page.get_by_text("What the pages show."))
    window.goto(f"#/models/{work.model}/versions/1")
    shows(page.get_by_text("The first."))

    window.goto("#/prompts")
    shows(page.get_by_role("heading", name="Prompts"))
    window.goto(f"#/experiments/{work.experiment}/datasets")
    shows(page.get_by_text("evaluation dataset").first)
    window.goto(f"#/experiments/{work.experiment}/overview/usage")
    shows(page.get_by_role("heading", name="Overview"))

    # MLflow itself looks for a file that this version does not have.
    assert {line for line in window.refused if "model-versions/get-artifact" not in line} == set()
    assert [line for line in window.errors if "status of 500" not in line and "width(-1)" not in line] == []


def test_a_refused_part_says_so_and_the_page_goes_on(pages, zoe):
    window = pages(zoe)

    window.goto("#/settings/webhooks")

    shows(window.page.get_by_text("webhooks make the server call other addresses").first)
    shows(window.page.get_by_role("heading", name="Webhooks"))
    assert window.refused == ["403 ajax-api/2.0/mlflow/webhooks"]


def add_tag(window: Pages, name: str) -> None:
    form = window.page.locator("form").filter(has=window.page.get_by_placeholder("Name"))
    form.get_by_placeholder("Name").fill(name)
    form.get_by_placeholder("Value").fill("vision")
    form.get_by_role("button", name="Add").click()


def test_a_holder_writes_what_is_theirs_and_it_is_on_record(pages, yves, work, mlflow_portal):
    window = pages(yves)
    window.goto(f"#/models/{work.model}")
    add_tag(window, "team")

    shows(window.page.get_by_role("cell", name="team", exact=True))
    assert window.refused == []
    [row] = mlflow_portal.rows(
        "select r.*, u.username from proxy_registration r join keys_user u on u.id = user_id "
        "where operation = 'registered-models.set-tag' and object_name = %s",
        work.model,
    )
    assert (row["username"], row["key_id"], row["actor"], row["outcome"]) == ("yves", None, "browser", "done")
    assert row["tags"] == {"team": "vision"}
    [call] = mlflow_portal.calls(request_id=row["request_id"])
    assert (call["user_id"], call["key_id"], call["status"]) == (row["user_id"], None, 200)


def test_what_is_made_in_the_pages_belongs_to_who_made_it(pages, yves, mlflow_portal):
    name = f"made-in-pages-{secrets.token_hex(4)}"
    window = pages(yves)
    window.goto("#/experiments")
    window.page.get_by_test_id("create-experiment-button").click()
    window.page.get_by_placeholder("Input an experiment name").fill(name)
    window.page.get_by_role("dialog").get_by_role("button", name="Create").click()
    window.page.wait_for_url(re.compile(r"/experiments/\d+"))

    [experiment] = re.findall(r"/experiments/(\d+)", window.page.url)
    [(owner,)] = mlflow_portal.sql(
        "select username from proxy_owner o join keys_user u on u.id = user_id where kind = 'experiment' and name = %s",
        experiment,
    )
    assert owner == "yves"


def test_without_the_right_a_write_is_refused_in_words(pages, zoe, work):
    window = pages(zoe)
    window.goto(f"#/models/{work.model}")
    add_tag(window, "mine")

    shows(window.page.get_by_text("needs the scope registry:write").first)
    assert window.refused == ["403 ajax-api/2.0/mlflow/registered-models/set-tag"]


def test_an_artifact_is_shown_without_its_scripts_and_never_becomes_a_page(pages, zoe, work):
    window = pages(zoe)
    window.goto(f"#/experiments/{work.experiment}/runs/{work.run}/artifacts/report.html")
    preview = window.page.frame_locator("iframe")
    shows(preview.get_by_role("heading", name="A report"))
    assert all("Content Security Policy" in line for line in window.errors)  # the report's script, stopped
    assert window.errors

    link = f"{window.visit.origin}/mlflow/get-artifact?path=report.html&run_uuid={work.run}"
    with window.page.expect_download() as download:
        window.page.evaluate("link => { window.location = link }", link)
    assert download.value.suggested_filename == "report.html"
    assert window.page.title() != "taken"


FORGED = """
<form id=form method=post enctype=text/plain action="{target}"><input name='{{"name":"forged","a":"' value='"}}'></form>
<script>
  const outcomes = [];
  const note = (name) => (answer) => outcomes.push(name);
  Promise.allSettled([
    fetch("{target}", {{method: "POST", mode: "no-cors", credentials: "include", body: '{{"name":"forged"}}'}}),
    fetch("{target}", {{method: "POST", credentials: "include", headers: {{"Content-Type": "application/json"}},
                       body: '{{"name":"forged"}}'}}),
  ]).then(() => document.getElementById("form").submit());
</script>
"""


def test_another_sites_page_writes_nothing(pages, yves, mlflow_portal):
    window = pages(yves)
    target = f"{mlflow_portal.url}/mlflow/ajax-api/2.0/mlflow/registered-models/create"
    evil = "http://evil.test/"
    window.page.route(
        evil, lambda route: route.fulfill(content_type="text/html", body=FORGED.format(target=target))
    )

    with window.page.expect_navigation(url=target):
        window.page.goto(evil)

    window.visit.foreign.remove(evil)
    assert mlflow_portal.rows("select * from proxy_registration where object_name = 'forged'") == []
    found = yves.call("GET", "/mlflow/ajax-api/2.0/mlflow/registered-models/get?name=forged")
    assert found.status == 404
