"""docs/*.md as pages that contain this portal's own URL."""

import re
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from django.conf import settings
from django.utils.html import escape, format_html
from django.utils.safestring import SafeString
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import OptionsDict

HOST = "https://registry.example"  # stands for PUBLIC_URL in the documents


@dataclass(frozen=True, kw_only=True)
class Document:
    """A file in docs/ that has a page, with the page's name and a one-line summary. `sections`: the titles of those
    that the page has besides the beginning; the others are for operators. Empty: all of them."""

    slug: str
    file: str
    title: str
    about: str
    sections: tuple[str, ...] = ()


DOCUMENTS = {
    document.slug: document
    for document in (
        Document(
            slug="quickstart",
            file="quickstart.md",
            title="Quickstart",
            about="From a key to the first registered model: shell, Python and CI.",
        ),
        Document(
            slug="errors",
            file="errors.md",
            title="Why did my call fail?",
            about="Every error by its reason: what happened, and what to do.",
        ),
        Document(
            slug="rights",
            file="authorization.md",
            title="What a key may do",
            about="Scopes and presets, ownership, and what is refused from everybody.",
        ),
        Document(
            slug="limits",
            file="limits.md",
            title="Limits",
            about="How many calls a key may make, how large they may be, and what happens beyond.",
            sections=("Size of one call", "Share of one user while others are active"),
        ),
        Document(
            slug="integrations",
            file="integrations.md",
            title="Programs",
            about="Autologging, Lightning, Kedro, LiteLLM, OpenTelemetry and others: their lines and scopes.",
            sections=("Programs that write to MLflow",),
        ),
        Document(
            slug="workload-identity",
            file="workload-identity.md",
            title="Workload identity",
            about="Signed tokens of CI jobs and clusters in place of a stored secret.",
            sections=("Add a trust", "Use it", "Exchange a token for a key", "What the portal checks"),
        ),
        Document(
            slug="provenance",
            file="provenance.md",
            title="Provenance",
            about="Which files were registered: verify a download, and see what it can do when it is loaded.",
            sections=("Manifests", "Signatures", "Downloads", "What a version can do when it is loaded"),
        ),
        Document(
            slug="api",
            file="api.md",
            title="The API",
            about="Keys, usage and registrations by program.",
        ),
    )
}
PLACES = {document.file: f"/docs/{slug}/" for slug, document in DOCUMENTS.items()}
PLACES["operations.md"] = "/docs/operations/"


class Renderer(RendererHTML):
    """Renders code with a copy button, tables that scroll on their own, and headings with anchors."""

    def fence(
        self, tokens: Sequence[Token], index: int, options: OptionsDict, env: MutableMapping[str, Any]
    ) -> str:
        env["blocks"] = number = env.get("blocks", 0) + 1
        token = tokens[index]
        return format_html(
            '<div class="code"><pre id="code-{}" data-language="{}" tabindex="0" role="region" aria-label="Code {}">'
            "{}</pre>"
            '<button type="button" data-copy="code-{}" aria-live="polite" hidden>Copy</button></div>\n',
            number,
            token.info.strip(),
            number,
            token.content.rstrip("\n"),
            number,
        )

    def heading_open(
        self, tokens: Sequence[Token], index: int, options: OptionsDict, env: MutableMapping[str, Any]
    ) -> str:
        return format_html('<{} id="{}">', tokens[index].tag, anchor(tokens[index + 1].content))

    def table_open(
        self, tokens: Sequence[Token], index: int, options: OptionsDict, env: MutableMapping[str, Any]
    ) -> str:
        env["columns"] = []
        return '<div class="table" tabindex="0"><table class="stack">\n'

    def table_close(
        self, tokens: Sequence[Token], index: int, options: OptionsDict, env: MutableMapping[str, Any]
    ) -> str:
        return "</table></div>\n"

    def th_open(
        self, tokens: Sequence[Token], index: int, options: OptionsDict, env: MutableMapping[str, Any]
    ) -> str:
        env["columns"].append(tokens[index + 1].content)
        return "<th>"

    def td_open(
        self, tokens: Sequence[Token], index: int, options: OptionsDict, env: MutableMapping[str, Any]
    ) -> str:
        """Cells after the first carry their column's name, for narrow screens, where the table becomes a list."""
        env["column"] += 1
        label = env["columns"][env["column"] - 1]
        return format_html('<td data-label="{}">', label) if env["column"] > 1 else "<td>"

    def tr_open(
        self, tokens: Sequence[Token], index: int, options: OptionsDict, env: MutableMapping[str, Any]
    ) -> str:
        """A row that starts with one word of code gets an anchor of that name: /docs/errors/#scope."""
        env["column"] = 0
        cell = tokens[index + 2].children or []
        is_word = [token.type for token in cell] == ["code_inline"]
        return format_html('<tr id="{}">\n', cell[0].content) if is_word else "<tr>\n"

    def link_open(
        self, tokens: Sequence[Token], index: int, options: OptionsDict, env: MutableMapping[str, Any]
    ) -> str:
        """A link to a document becomes a link to its page, if it has one."""
        file, _, place = str(tokens[index].attrs.get("href", "")).partition("#")
        address = PLACES.get(file, file) + (f"#{place}" if place else "")
        return "<a>" if address.endswith(".md") else f'<a href="{escape(address)}">'


RENDERER = MarkdownIt("commonmark", {"html": False}, renderer_cls=Renderer).enable("table")


def anchor(title: str) -> str:
    """The anchor that GitHub would generate, so that links in the files work in both places."""
    return re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-")


@cache
def text(file: str) -> str:
    return (settings.BASE_DIR / "docs" / file).read_text(encoding="utf-8")


def shown_text(document: Document) -> str:
    """What the page has of the file, without its title, which the page itself shows."""
    body = text(document.file).partition("\n")[2]
    if not document.sections:
        return body
    beginning, *sections = re.split(r"^(?=## )", body, flags=re.MULTILINE)
    titles = [section.partition("\n")[0].removeprefix("## ") for section in sections]
    return beginning + "".join(sections[titles.index(title)] for title in document.sections)


def html(document: Document) -> SafeString:
    """The document as HTML with this portal's URL."""
    return render(document, settings.PUBLIC_URL)


@lru_cache(maxsize=2 * len(DOCUMENTS))
def render(document: Document, public_url: str) -> SafeString:
    """Rendered once: anybody may read these pages, and the largest takes tens of milliseconds."""
    body = shown_text(document).replace(HOST, public_url)
    return SafeString(RENDERER.render(body))  # HTML in the text is shown as text


def inline(line: str) -> SafeString:
    return SafeString(RENDERER.renderInline(line))
