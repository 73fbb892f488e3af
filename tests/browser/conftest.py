"""A real Chromium against a real portal; it may speak to nothing else."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from tests.portals import Portal, portal

PASSWORD = "correct horse battery staple"
INSECURE_HOST = (
    "portal.test"  # plain http at a name that is not localhost, where browsers have no clipboard API
)
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    f"--host-resolver-rules=MAP {INSECURE_HOST} 127.0.0.1",
]


@pytest.fixture(
    scope="module"
)  # not longer: while Playwright runs, Django takes this thread for an async one
def chromium() -> Iterator[Browser]:
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if executable is None:
        pytest.skip("no Chromium found; install one, on Debian and Ubuntu: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def web_portal(echo_server) -> Iterator[Portal]:
    """A portal in front of the echo server, with the superuser alice and bob, who holds keys."""
    with portal(mlflow_url=echo_server.url, ALLOWED_HOSTS=f"127.0.0.1,{INSECURE_HOST}") as running:
        running.manage(
            "shell",
            "-c",
            "from keys.models import User; User.objects.create_user('bob'); "
            f"User.objects.create_superuser('alice', password='{PASSWORD}')",
        )
        yield running


@dataclass
class Visit:
    """A browser window, and what went wrong in it."""

    page: Page
    origin: str
    foreign: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("request", lambda request: self.note_request(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on(
            "console",
            lambda line: self.note_line(line) if line.type in ("error", "warning") else None,
        )

    def note_line(self, line: ConsoleMessage) -> None:
        self.errors.append(f"{line.text} ({line.location['url']})")

    def note_request(self, url: str) -> None:
        if not url.startswith((f"{self.origin}/", "data:", "blob:")):
            self.foreign.append(url)

    def goto(self, path: str) -> None:
        self.page.goto(self.origin + path)

    def follow(self, name: str, role: str = "link") -> None:
        """Click the link, or the button, and wait for the page that it leads to."""
        with self.page.expect_navigation():
            self.page.get_by_role(role, name=name, exact=True).click()

    def sign_in(self) -> None:
        self.goto("/admin/")
        self.page.get_by_label("Username").fill("alice")
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.get_by_role("button", name="Sign in", exact=True).click()
        self.page.wait_for_url("**/admin/")

    def scrolls_sideways(self) -> bool:
        script = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
        return bool(self.page.evaluate(script))


@pytest.fixture
def visit(chromium, web_portal):
    """Opens windows: `visit()`, `visit(host=…, viewport=…)`. Nothing may go wrong in them."""
    visits: list[Visit] = []

    def open_window(*, host: str = "127.0.0.1", **options) -> Visit:
        context = chromium.new_context(**options)
        origin = f"http://{host}:{web_portal.port}"
        visits.append(Visit(context.new_page(), origin))
        return visits[-1]

    yield open_window
    for opened in visits:
        opened.page.context.close()
    assert [url for opened in visits for url in opened.foreign] == []
    assert [error for opened in visits for error in opened.errors] == []
