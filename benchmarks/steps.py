"""A person in front of a browser, whose steps are counted, for benchmarks.three_days."""

from dataclasses import dataclass

from playwright.sync_api import Page


@dataclass
class Person:
    """A browser window that counts what is done in it."""

    page: Page
    url: str
    clicks: int = 0
    fields: int = 0
    pages: int = 0

    def __post_init__(self) -> None:
        self.page.on("framenavigated", lambda frame: self.note_page(frame == self.page.main_frame))

    def note_page(self, is_main: bool) -> None:
        self.pages += is_main

    def goto(self, path: str) -> None:
        self.page.goto(path if path.startswith("http") else self.url + path)

    def click(self, name: str, role: str = "link") -> None:
        self.clicks += 1
        self.page.get_by_role(role, name=name, exact=True).first.click()  # type: ignore[arg-type]
        self.page.wait_for_load_state()

    def fill(self, label: str, text: str) -> None:
        self.fields += 1
        self.page.get_by_label(label, exact=True).fill(text)

    def choose(self, label: str, option: str) -> None:
        self.fields += 1
        self.page.get_by_label(label, exact=True).select_option(label=option)

    def check(self, label: str) -> None:
        self.clicks += 1
        self.page.get_by_label(label).first.check()

    def search(self, text: str) -> None:
        """Ctrl K, the text, Enter: the first hit."""
        self.clicks += 2
        self.fields += 1
        self.page.keyboard.press("Control+k")
        self.page.get_by_role("combobox").fill(text)
        self.page.get_by_role("option", name=text).first.wait_for()
        with self.page.expect_navigation():
            self.page.keyboard.press("Enter")

    def sees(self, text: str) -> None:
        self.page.get_by_text(text).first.wait_for(timeout=10_000)


def sign_in(person: Person, name: str, password: str, place: str) -> None:
    person.goto(place)
    person.page.get_by_label("Username").fill(name)
    person.page.get_by_label("Password", exact=True).fill(password)
    person.page.get_by_role("button", name="Sign in", exact=True).click()
    person.page.wait_for_url(f"**{place}")
