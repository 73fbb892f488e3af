"""The texts that pages show in the reader's language, and their catalogues: `make translations` updates portal/locale.

Texts come from the templates, from calls of gettext, and from the tables and forms that TABLES and FORMS name: their
texts stay English in the code, and the pages translate them. Compiled catalogues are committed, so that a fresh clone
needs no compiler for them.
"""

import ast
import datetime
import io
import re
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import Any

import django
from babel.messages import Catalog, Message
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from django.forms.utils import pretty_name
from django.template.base import Lexer, TokenType

ROOT = Path(__file__).resolve().parent.parent
LOCALE = ROOT / "portal" / "locale"
LANGUAGES = ("de", "ja")
# `translate` is how code that also writes English texts names the function that translates.
GETTEXT = {"gettext", "gettext_lazy", "gettext_noop", "translate"}
NGETTEXT = {"ngettext", "ngettext_lazy"}
CONSTANT = re.compile(r"""\b_\((?:"([^"]+)"|'([^']+)')\)""")
# Modules and the names in them whose texts a page shows: a text, a list, a mapping's values, or labels of choices.
TABLES = (
    ("keys.actions.collecting", "END_REASONS"),
    ("keys.actions.invitations", "END_REASONS"),
    ("keys.alerts.leaks", "THANKS"),
    ("keys.lists.event_words", "RIGHTS"),
    ("keys.lists.event_words", "COMMAND_LINE"),
    ("keys.lists.event_words", "REPORT"),
    ("keys.lists.event_words", "UNKNOWN_CALLER"),
    ("keys.models.events", "KeyEvent.Kind"),
    ("keys.models.api_keys", "ApiKey.Environment"),
    ("keys.models.api_keys", "ApiKey.State"),
    ("keys.models.key_requests", "DESCRIPTIONS"),
    ("keys.models.key_requests", "KeyRequest.Kind"),
    ("keys.models.organisations", "Membership.Role"),
    ("keys.rights.scopes", "ACTS"),
    ("keys.rights.scopes", "AREA_LABELS"),
    ("keys.rights.scopes", "PORTAL_SCOPE_LABELS"),
    ("portal.account.advice", "OF_MLFLOW"),
    ("portal.account.forms", "ROLES"),
    ("portal.account.organisations.keys", "VERBS"),
    ("portal.account.organisations.publications", "MEANING"),
    ("portal.account.organisations.records", "MEANING"),
    ("portal.account.own_calls", "OF_MLFLOW"),
    ("portal.account.own_calls", "OUTCOMES"),
    ("portal.account.own_requests", "HEADINGS"),
    ("portal.pages.palette", "REPLACED"),
    ("proxy.answers", "HEADINGS"),
    ("proxy.answers", "OTHER_HEADING"),
    ("proxy.ledger.history", "SENTENCES"),
    ("proxy.ledger.publishing", "VISIBLE"),
    ("proxy.lists.usage_report", "PRESETS"),
    ("proxy.models.registrations", "Registration.Outcome"),
    ("proxy.provenance.comparison", "IN_WORDS"),
)
# Texts that the code puts together: states and roles in the middle of a sentence, names of keys in tables.
WORDS = (
    *(
        "active",
        "paused",
        "revoked",
        "expired",
        "rotating",
        "leaked",
        "Leaked",
        "approved",
        "declined",
        "withdrawn",
    ),
    *("member", "maintainer", "owner", "reader", "contributor", "full", "Reader", "Contributor", "Full"),
    *("Single scopes", "calls", "registrations", "usage", "Calls", "Registrations", "Usage", "day", "month"),
    *("hour", "24 hours", "7 days", "30 days", "90 days", "Your keys", "Request a key", "Security", "Docs"),
    *("complete", "missing", "malformed", "harmless", "unusual", "dangerous", "at once", "then", "bytes"),
    *(
        "registered model",
        "model version",
        "run",
        "experiment",
        "logged model",
        "trace",
        "artifact",
        "prompt",
    ),
    *("after 1 hour", "after 24 hours", "after 7 days", "after 30 days"),
)
# Modules and forms that `field.html` shows.
FORMS = (
    ("keys.admin.invitation_pages", "PasswordForm"),
    ("keys.api.leak_reports", "ReportForm"),
    ("keys.pages.key_forms", "RevokeForm"),
    ("keys.pages.key_forms", "RotateForm"),
    ("portal.account.forms", "InviteForm"),
    ("portal.account.forms", "MemberForm"),
    ("portal.account.forms", "PublishForm"),
    ("portal.account.forms", "ReasonForm"),
    ("portal.account.forms", "RequestForm"),
    ("portal.account.forms", "ServiceUserForm"),
    ("portal.account.forms", "TeamKeyForm"),
    ("portal.account.organisations.records", "HandOverForm"),
    ("portal.account.organisations.trusts", "TrialForm"),
    ("portal.account.organisations.trusts", "TrustForm"),
    ("proxy.lists.usage_report", "UsageForm"),
)
NO_DATE = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)  # so that the same texts make the same file
Id = str | tuple[str, str]  # a singular, or a singular and its plural


def in_templates() -> Iterator[Id]:
    for file in sorted((ROOT / "templates").rglob("*.*")):
        yield from in_template(file.read_text(encoding="utf-8"))


def in_template(source: str) -> Iterator[Id]:
    """The texts of `translate`, `blocktranslate` and `_("…")`."""
    block: list[str] | None = None
    is_trimmed = False
    for token in Lexer(source).tokenize():
        bits = token.split_contents() if token.token_type == TokenType.BLOCK else [""]
        if bits[0] == "blocktranslate":
            block, is_trimmed = [""], "trimmed" in bits
        elif bits[0] == "endblocktranslate" and block:
            texts = [" ".join(text.split()) if is_trimmed else text for text in block]
            yield (texts[0], texts[1]) if len(texts) > 1 else texts[0]
            block = None
        elif bits[0] == "plural" and block:
            block.append("")
        elif block:
            is_variable = token.token_type == TokenType.VAR
            block[-1] += f"%({token.contents})s" if is_variable else token.contents.replace("%", "%%")
        elif bits[0] == "translate" and bits[1][0] in "\"'":
            yield bits[1][1:-1]
        elif token.token_type in (TokenType.BLOCK, TokenType.VAR):
            yield from (match[1] or match[2] for match in CONSTANT.finditer(token.contents))


def in_code() -> Iterator[Id]:
    for package in ("keys", "proxy", "portal"):
        for file in sorted((ROOT / package).rglob("*.py")):
            source = file.read_text(encoding="utf-8")
            for node in ast.walk(ast.parse(source)) if re.search(r"gettext|\btranslate\(", source) else ():
                yield from in_call(node) if isinstance(node, ast.Call) else ()


def in_call(node: ast.Call) -> Iterator[Id]:
    name = getattr(node.func, "id", "")
    texts = [each.value for each in node.args if isinstance(each, ast.Constant)]
    if name in NGETTEXT:
        yield texts[0], texts[1]
    elif name in GETTEXT:
        yield from texts[:1]


def in_tables() -> Iterator[str]:
    for module, name in TABLES:
        yield from texts_of(attrgetter(name)(import_module(module)))
    yield from WORDS


def texts_of(table: Any) -> Iterator[str]:
    if isinstance(table, str):
        if table:
            yield table
    elif hasattr(table, "labels"):
        yield from map(str, table.labels)
    elif isinstance(table, dict):
        yield from texts_of(list(table.values()))
    elif isinstance(table, Iterable):
        for each in table:
            yield from texts_of(each)


def in_forms() -> Iterator[str]:
    """Labels, help texts, labels of choices, and messages of errors."""
    for module, name in FORMS:
        for field_name, field in getattr(import_module(module), name).base_fields.items():
            if not field.widget.is_hidden:
                yield str(field.label or pretty_name(field_name))
            yield from texts_of(str(field.help_text))
            yield from texts_of(str(getattr(field, "empty_label", None) or ""))
            if isinstance(choices := getattr(field, "choices", None), list):
                yield from (str(label) for _, label in choices)


@cache
def sources() -> frozenset[Id]:
    found = {*in_templates(), *in_code(), *in_tables(), *in_forms()}
    plurals = {each for each in found if isinstance(each, tuple)}
    singulars = {each[0] for each in plurals}
    texts = {
        each
        for each in found
        if isinstance(each, str) and each not in singulars and re.search("[A-Za-z]", each)
    }
    return frozenset(plurals | texts)


def po_file(language: str) -> Path:
    return LOCALE / language / "LC_MESSAGES" / "django.po"


def read_catalogue(language: str) -> Catalog:
    file = po_file(language)
    return read_po(io.BytesIO(file.read_bytes() if file.exists() else b""), locale=language)


def updated(language: str) -> Catalog:
    """The catalogue with the texts of the sources alone, and the translations that it has of them."""
    old = read_catalogue(language)
    new = Catalog(locale=language, fuzzy=False)
    for each in sources():
        known = old.get(each[0] if isinstance(each, tuple) else each)
        same = known and isinstance(known.id, tuple) == isinstance(each, tuple)
        new.add(each, known.string if known and same else None)
    return new


def as_po(catalogue: Catalog) -> bytes:
    file = io.BytesIO()
    write_po(file, catalogue, width=110, sort_output=True, no_location=True, omit_header=True)
    plurals = f'"Plural-Forms: {catalogue.plural_forms}\\n"\n'
    return (
        b'msgid ""\nmsgstr ""\n"Content-Type: text/plain; charset=utf-8\\n"\n'
        + plurals.encode()
        + b"\n"
        + file.getvalue()
    )


def as_mo(catalogue: Catalog) -> bytes:
    file = io.BytesIO()
    catalogue.creation_date = catalogue.revision_date = NO_DATE
    write_mo(file, catalogue)
    return file.getvalue()


def untranslated(catalogue: Catalog) -> list[Message]:
    return [
        each
        for each in catalogue
        if each.id and not all(each.string if isinstance(each.string, tuple | list) else [each.string])
    ]


def main() -> None:
    django.setup()
    for language in LANGUAGES:
        catalogue = updated(language)
        file = po_file(language)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(as_po(catalogue))
        file.with_suffix(".mo").write_bytes(as_mo(read_catalogue(language)))
        print(
            f"{file.relative_to(ROOT)}: {len(untranslated(catalogue))} of {len(catalogue)} texts to translate"
        )


if __name__ == "__main__":
    main()
