"""A real Chromium against a real portal; it may speak to nothing else."""

import asyncio
import shutil
from asyncio import events
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright, sync_playwright

from tests.portals import Portal, portal, wait_for
from tests.sessions import sign_in

PASSWORD = "correct horse battery staple"
INSECURE_HOST = (
    "portal.test"  # plain http at a name that is not localhost, where browsers have no clipboard API
)
# Chromium obeys only the last --disable-features, so this list begins with Playwright's own.
DISABLED = [
    *("AvoidUnnecessaryBeforeUnloadCheckSync", "DestroyProfileOnBrowserClose", "HttpsUpgrades"),
    *(
        "HttpsFirstBalancedModeAutoEnable",
        "LensOverlay",
        "MediaRouter",
        "PaintHolding",
        "ThirdPartyStoragePartitioning",
    ),
    *("AvoidCorsURLLoaderRestartOnRedirect", "OptimizationHints", "NetworkTimeServiceQuerying", "AimEnabled"),
    "PreconnectToSearch",
    # Parts of a window that these tests do not look at, each with a process of its own.
    *("WebUIOmniboxPopup", "WebUIOmniboxAimPopup", "WebUIOmniboxFullPopup"),
    # With site isolation each page starts two more processes.
    *("IsolateOrigins", "site-per-process"),
]
# Debian builds both from one source; without the parts of a window, a page takes half the CPU to load.
CHROMIUM = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-software-rasterizer",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-site-isolation-trials",
    "--renderer-process-limit=1",
    f"--disable-features={','.join(DISABLED)}",
    f"--host-resolver-rules=MAP {INSECURE_HOST} 127.0.0.1",
]


AXE = Axe()
# axe-core parses the colours of each element anew, and a page has a few dozen different ones: remember them.
AXE.axe_script += """;{
    const Color = axe.commons.color.Color, parse = Color.prototype.parseString, parsed = new Map();
    Color.prototype.parseString = function (text) {
        if (parsed.has(text)) [this.r, this.g, this.b, this.alpha] = parsed.get(text);
        else { parse.call(this, text); parsed.set(text, [this.r, this.g, this.b, this.alpha]); }
        return this;
    };
}
null;"""  # the value of the script: Playwright calls one that is a function
COLOUR_RULES = ["color-contrast", "link-in-text-block"]
LIGHTNESS = """() => {
    const drawing = document.createElement("canvas").getContext("2d");
    drawing.fillStyle = getComputedStyle(document.body).backgroundColor;
    drawing.fillRect(0, 0, 1, 1);
    const [red, green, blue] = drawing.getImageData(0, 0, 1, 1).data;
    return (red + green + blue) / 3;
}"""  # from 0 to 255
WIDTHS = [1280, 390]
SCHEMES = ["light", "dark"]


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict[str, Any]:
    """How the plugin starts Debian's Chromium: Playwright would have to fetch its own."""
    executable = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if executable is None:
        pytest.skip(
            "no Chromium found; install one, on Debian and Ubuntu: apt-get install chromium-headless-shell"
        )
    return {"executable_path": executable, "args": ARGUMENTS}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[Any]:
    """Hide Playwright's event loop from tests without a browser. It runs in this thread until the end of the run, and
    Django refuses the database to a thread in which an event loop runs."""
    global _event_loop
    if "browser" not in getattr(item, "fixturenames", ()):
        return (yield)
    show_event_loop()
    try:
        return (yield)
    finally:
        _event_loop = events._get_running_loop()
        events._set_running_loop(None)


_event_loop: asyncio.AbstractEventLoop | None = None


def show_event_loop() -> None:
    if _event_loop is not None:
        events._set_running_loop(_event_loop)


# The plugin's own of these names know nothing of the hidden event loop.


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as running:
        yield running
        show_event_loop()


@pytest.fixture(scope="session")
def browser(playwright: Playwright, browser_type_launch_args: dict[str, Any]) -> Iterator[Browser]:
    browser = playwright.chromium.launch(**browser_type_launch_args)
    yield browser
    show_event_loop()
    browser.close()


@pytest.fixture(scope="session")
def browser_context_args() -> dict[str, Any]:
    return {}


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
    portal: Portal
    host: str = "127.0.0.1"
    foreign: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("request", lambda request: self.note_request(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on(
            "console",
            lambda line: self.note_line(line) if line.type in ("error", "warning") else None,
        )

    @property
    def origin(self) -> str:
        return f"http://{self.host}:{self.portal.port}"

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

    def let_in(self, name: str) -> None:
        """As somebody who signed in before; tests/browser/test_sign_in.py looks at how people come in."""
        session, _, value = sign_in(self.portal, name).cookie.partition("=")
        cookie = {"name": session, "value": value, "url": self.origin, "httpOnly": True, "sameSite": "Lax"}
        self.page.context.add_cookies([cookie])

    def sign_in(self) -> None:
        """As alice, to the dashboard."""
        self.let_in("alice")
        self.goto("/admin/")

    def stored(self) -> str:
        """What the browser keeps of this page: cookies, those that scripts do not see too, and storage."""
        storage = self.page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])")
        return f"{self.page.context.cookies()} {storage}"

    def findings(self, *, colours_only: bool = False) -> list[tuple[str, list[Any]]]:
        """What axe-core calls serious or critical on this page: each rule, and the elements as it has them.

        `colours_only` is for the second of two themes: all its other rules have the same result in both.
        """
        options = {"resultTypes": ["violations"]} | ({"runOnly": COLOUR_RULES} if colours_only else {})
        found = AXE.run(self.page, options=options).response["violations"]
        return [
            (rule["id"], [node["html"][:200] for node in rule["nodes"]])
            for rule in found
            if rule["impact"] in ("serious", "critical")
        ]

    def is_light(self) -> bool:
        """Whether the page's background is, whatever the notation of its colour."""
        return bool(self.page.evaluate(LIGHTNESS) > 127)

    def is_wide(self) -> bool:
        size = self.page.viewport_size
        return size is not None and size["width"] > 1000

    def scrolls_sideways(self) -> bool:
        """Whether the page is wider than the window. Charts follow a window's width within a moment."""
        script = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        return not wait_for(lambda: self.page.evaluate(script), seconds=3)


@pytest.fixture
def visit(new_context, web_portal):
    """Opens windows: `visit()`, `visit(host=…, viewport=…)`. Nothing may go wrong in them."""
    visits: list[Visit] = []

    def open_window(*, host: str = "127.0.0.1", **options) -> Visit:
        visits.append(Visit(new_context(**options).new_page(), web_portal, host))
        return visits[-1]

    yield open_window
    for opened in visits:
        opened.page.context.close()
    assert [url for opened in visits for url in opened.foreign] == []
    assert [error for opened in visits for error in opened.errors] == []


def misfits(window: Visit, scheme: str) -> list[str]:
    """What is wrong with the open page's width and theme."""
    right_theme = window.is_light() is (scheme == "light")
    return (["scrolls sideways"] if window.scrolls_sideways() else []) + (
        [] if right_theme else [f"is not {scheme}"]
    )


Look = Callable[[Visit, str], list[Any]]
Walk = Callable[[Visit, Callable[[str], None]], None]


def tour(
    browser: Browser, portal: Portal, walk: Walk, look: Look = misfits
) -> dict[tuple[str, int], list[Any]]:
    """What `look` finds wrong at the steps of `walk`, by theme and width.

    Each theme has one walk: light in a wide window, dark in a narrow one. At each step the window takes the other
    width as well.
    """
    wrong: dict[tuple[str, int], list[Any]] = {(scheme, width): [] for scheme in SCHEMES for width in WIDTHS}
    for scheme, widths in zip(SCHEMES, (WIDTHS, WIDTHS[::-1]), strict=True):
        context = browser.new_context(color_scheme=scheme, viewport={"width": widths[0], "height": 900})
        window = Visit(context.new_page(), portal)

        def look_in_each_width(step: str, scheme=scheme, widths=widths, window=window) -> None:
            window.page.wait_for_load_state()
            for width in widths:
                window.page.set_viewport_size({"width": width, "height": 900})
                wrong[scheme, width] += [(step, found) for found in look(window, scheme)]
            window.page.set_viewport_size({"width": widths[0], "height": 900})

        walk(window, look_in_each_width)
        context.close()
        assert (window.foreign, window.errors) == ([], [])
    return wrong
