"""The documents say what the code does."""

import ast
import re
from pathlib import Path

import pytest

from keys.scopes import Preset
from portal import explanations
from proxy.answers import ERROR_CODES
from proxy.operation_table import markdown
from proxy.routes import OPERATIONS

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = (ROOT / "docs" / "settings.md").read_text()
ERRORS = (ROOT / "docs" / "errors.md").read_text()
MAKERS = {"unauthenticated", "invalid", "forbidden", "unavailable", "dangerous", "bad_gateway", "conflict"}
HELPERS = {
    "text",
    "flag",
    "number",
    "items",
    "choice",
    "http_url",
    "redis_url",
    "networks",
    "readable_file",
    "smtp_url",
}


def calls(package: str):
    for file in sorted((ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call):
                name = (
                    node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                )
                yield name, node


def text_of(node: ast.expr | None) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def test_every_setting_that_the_code_reads_is_documented_and_the_other_way_round():
    read = {
        text_of(node.args[0])
        for name, node in calls("portal")
        if name in HELPERS and node.args and text_of(node.args[0]).isupper()
    }
    documented = set(re.findall(r"^\| `([A-Z_]+)` \|", SETTINGS, re.MULTILINE))

    assert read == documented


def test_every_reason_for_a_refusal_is_documented():
    made = set()
    for package in ("keys", "proxy", "portal"):
        for name, node in calls(package):
            if name in MAKERS and node.args:
                made.add(text_of(node.args[0]))
            elif name == "ended" and len(node.args) > 1:
                made.add(text_of(node.args[1]))
            elif name == "error" and len(node.args) > 2:
                made.add(text_of(node.args[2]))
            elif name == "Refusal":
                made |= {text_of(keyword.value) for keyword in node.keywords if keyword.arg == "reason"}
    made.discard("")
    explained = explanations.parse(ERRORS)

    assert made - set(explained) == set()
    in_log_only = {"cut_off", "portal_stopped"}
    assert {reason for reason in explained if reason not in made} <= in_log_only


def test_every_reason_says_what_happened_and_what_to_do_under_the_right_status():
    for explanation in explanations.parse(ERRORS).values():
        assert explanation.happened.endswith("."), explanation.reason
        assert explanation.remedy.endswith("."), explanation.reason
        if explanation.status and explanation.status != 500:
            assert ERROR_CODES[explanation.status] == explanation.error_code


def test_a_reason_that_is_explained_twice_is_a_mistake():
    row = "| `scope` | It lacks one. | Get one. |\n"

    with pytest.raises(ValueError, match="scope is explained twice"):
        explanations.parse(row + row)


def test_the_table_of_operations_is_the_codes():
    assert (ROOT / "docs" / "operations.md").read_text() == markdown(OPERATIONS)


@pytest.mark.parametrize("preset", Preset)
def test_every_preset_is_documented(preset):
    assert f"| {preset.value.capitalize()}" in (ROOT / "docs" / "authorization.md").read_text()


@pytest.mark.parametrize("file", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_every_file_that_a_document_names_is_there(file):
    text = (ROOT / file).read_text()
    linked = re.findall(r"\]\(([^)#:]+)\)", text)
    named = re.findall(r"`((?:keys|proxy|portal|tests|docs|deploy|benchmarks)/[\w./-]+)`", text)

    assert linked or named
    assert [path for path in [*linked, *named] if not (ROOT / path).exists()] == []


def test_every_command_of_readme_is_a_command():
    for command in re.findall(r"manage\.py (\w+)", (ROOT / "README.md").read_text()):
        found = [*ROOT.glob(f"*/management/commands/{command}.py")]
        assert found or command in ("migrate", "changepassword"), command  # Django's own
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"(?:^|`)make (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE)) <= set(
        targets
    )


def test_every_fault_names_a_test_that_exists():
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", (ROOT / "docs" / "faults.md").read_text())

    assert len(named) > 20
    for file, name in named:
        assert f"def {name}(" in (ROOT / "tests" / file).read_text(), f"{file}::{name}"
