"""What key holders read names no command: they have no shell on the server."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import get_commands

from portal.pages.documents import DOCUMENTS, shown_text
from portal.pages.explanations import explanations

ROOT = Path(__file__).resolve().parent.parent.parent
# Code whose texts reach holders: refusals, errors of forms and of the API, alerts, and the account pages.
CODE = """
    keys/actions keys/alerts keys/api keys/credentials keys/formatting keys/limits keys/lists keys/models keys/pages
    keys/rights keys/refusals.py keys/page_slots.py keys/templatetags
    proxy/api proxy/ledger proxy/lists proxy/models proxy/policy proxy/request proxy/routes proxy/upstream proxy/usage
    proxy/templatetags proxy/answers.py proxy/forwarding.py proxy/views.py
    portal/account portal/api portal/http portal/sign_in portal/templatetags portal/pages/home.py
    portal/pages/documents.py portal/pages/explanations.py
"""
TEMPLATES = """
    account allauth base.html docs error.html field.html form_errors.html health.html home.html keys meter.html mfa
    mlflow_bar.html portal
    secret.html socialaccount usage
"""
# For contributors (docs/operations.md), and for admins, who are told to ask the operator.
OTHERS = {"proxy/routes/reference.py", "keys/alerts/deliveries.py"}
COMMANDS = sorted(
    name for name, app in get_commands().items() if app in ("keys", "proxy", "portal") and "_" in name
)
FORBIDDEN = re.compile(
    rf"manage\.py|\bmake (?:run|test|[a-z]+-[a-z]+)|\.venv\b|\bdoctor\b|\b(?:{'|'.join(COMMANDS)})\b"
)


def files(places: str, root: Path, pattern: str) -> list[Path]:
    found = [
        file
        for place in places.split()
        for file in ([root / place] if (root / place).is_file() else sorted((root / place).rglob(pattern)))
    ]
    assert all(file.exists() for file in found)
    return found


def texts(file: Path) -> Iterator[str]:
    """The string constants of a module that are no docstrings, names or event names: those with a space in them."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in docstrings
            and " " in node.value
        ):
            yield node.value


@pytest.mark.parametrize(
    "text", ["Run manage.py check.", "run `issue_key`", "see the doctor", "make run starts it"]
)
def test_the_rule_finds_commands(text):
    assert FORBIDDEN.search(text)


def test_no_message_of_the_code_names_a_command():
    named = {
        (str(file.relative_to(ROOT)), text)
        for file in files(CODE, ROOT, "*.py")
        if str(file.relative_to(ROOT)) not in OTHERS
        for text in texts(file)
        if FORBIDDEN.search(text)
    }

    assert named == set()


def test_no_page_of_a_holder_names_a_command():
    pages = files(TEMPLATES, ROOT / "templates", "*.*")
    named = {
        (file.name, found[0])
        for file in pages
        if (found := FORBIDDEN.search(re.sub(r"\{[#%].*?[#%]\}", "", file.read_text(encoding="utf-8"))))
    }

    assert len(pages) > 50
    assert named == set()


def test_no_explanation_and_no_document_for_holders_names_a_command():
    named = {
        (name, found[0])
        for name, text in [
            *((name, f"{each.happened} {each.remedy}") for name, each in explanations().items()),
            *((each.file, shown_text(each)) for each in DOCUMENTS.values()),
        ]
        if (found := FORBIDDEN.search(text))
    }

    assert named == set()
