"""The documents say what the code does."""

import ast
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from keys.rights.scopes import Preset
from portal.pages import explanations
from portal.pages.documents import anchor
from proxy.answers import ERROR_CODES
from proxy.routes.reference import format_page
from proxy.routes.table import OPERATIONS
from tests.refusals_in_code import Value, made

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = (ROOT / "docs" / "settings.md").read_text()
ERRORS = (ROOT / "docs" / "errors.md").read_text()
DOCUMENTS = [
    path
    for folder in (".", "docs", "deploy", "examples")
    for path in (ROOT / folder).glob("*.md")
    if path.name != "CHANGELOG.md"  # it may name what is gone
]
# In addition to the limits by the minute, and to routes that do not exist: what a status can also mean.
OTHER_CODES = {429: ("TEMPORARILY_UNAVAILABLE",), 404: ("RESOURCE_DOES_NOT_EXIST",)}
HELPERS = {
    "text",
    "flag",
    "number",
    "size",
    "items",
    "choice",
    "oidc_providers",
    "http_url",
    "redis_url",
    "networks",
    "readable_file",
    "certificate_file",
    "smtp_url",
    "signing_key",
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


@dataclass(frozen=True)
class Answered:
    """How callers see a reason; None where the code passes on what MLflow answered."""

    status: Value
    error_code: Value


def answered_by_reason() -> dict[Value, set[Answered]]:
    found: dict[Value, set[Answered]] = {}
    for each in made():
        assert each.reason, f"{each.where}: a reason is a constant, or this test cannot compare it"
        error_code = each.error_code or ERROR_CODES.get(each.status, "INTERNAL_ERROR")
        found.setdefault(each.reason, set()).add(
            Answered(each.status, error_code) if each.status else Answered(None, "")
        )
    return found


def test_every_reason_for_a_refusal_is_documented():
    explained = explanations.parse(ERRORS)

    assert set(answered_by_reason()) - set(explained) == set()
    assert set(explained) - set(answered_by_reason()) == {
        "cut_off",
        "direct",
        "portal_stopped",
        "unchecked",
    }  # in the log only


def test_every_reason_is_documented_with_the_status_and_error_code_that_the_code_answers():
    explained = explanations.parse(ERRORS)

    for reason, answered in answered_by_reason().items():
        row = explained[reason]
        also = {
            Answered(int(status), ERROR_CODES[int(status)])
            for status in re.findall(r"`(\d{3})`", row.happened)
        }
        assert answered == {Answered(row.status, row.error_code)} | also, reason


def test_every_reason_says_what_happened_and_what_to_do_under_the_right_status():
    for explanation in explanations.parse(ERRORS).values():
        assert explanation.happened.endswith("."), explanation.reason
        assert explanation.remedy.endswith("."), explanation.reason
        if explanation.status and explanation.status != 500:
            codes = {ERROR_CODES[explanation.status], *OTHER_CODES.get(explanation.status, ())}
            assert explanation.error_code in codes


def test_a_reason_that_is_explained_twice_is_a_mistake():
    row = "| `scope` | It lacks one. | Get one. |\n"

    with pytest.raises(ValueError, match="scope is explained twice"):
        explanations.parse(row + row)


def test_the_table_of_operations_is_the_codes():
    assert (ROOT / "docs" / "operations.md").read_text() == format_page(OPERATIONS)


@pytest.mark.parametrize("preset", Preset)
def test_every_preset_is_documented(preset):
    assert f"| {preset.value.capitalize()}" in (ROOT / "docs" / "authorization.md").read_text()


@pytest.mark.parametrize("file", sorted(str(path.relative_to(ROOT)) for path in DOCUMENTS))
def test_every_file_that_a_document_names_is_there(file):
    text = (ROOT / file).read_text()
    linked = re.findall(r"\]\(([^)#:]+)[^):]*\)", text)
    named = re.findall(r"`((?:keys|proxy|portal|tests|docs|deploy|benchmarks)/[\w./-]+)`", text)

    beside = (ROOT / file).parent
    assert [path for path in linked if not (beside / path).exists()] == []
    assert [path for path in named if not (ROOT / path).exists()] == []


def headings(path: Path) -> set[str]:
    """The anchors of a document's headings."""
    text = re.sub(r"^ *```.*?^ *```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    return {anchor(title) for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}


def test_every_heading_that_a_link_names_is_there():
    links = [
        (path, path.parent / file if file else path, heading)
        for path in DOCUMENTS
        for file, heading in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", path.read_text())
    ]
    broken = [
        f"{path.name}: {target.name}#{heading}"
        for path, target, heading in links
        if target.suffix == ".md" and heading not in headings(target)
    ]

    assert len(links) > 5
    assert broken == []


def test_every_command_of_readme_is_a_command():
    for command in re.findall(r"manage\.py (\w+)", (ROOT / "README.md").read_text()):
        found = [*ROOT.glob(f"*/management/commands/{command}.py")]
        assert found or command in ("migrate", "changepassword"), command  # Django's own
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    shown = set(re.findall(r"(?:^|`)make (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert shown == {"run", "test", "lint", "check", "bench"} & set(targets)


def test_every_fault_names_a_test_that_exists():
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", (ROOT / "docs" / "faults.md").read_text())

    assert len(named) > 20
    for file, name in named:
        assert f"def {name}(" in (ROOT / "tests" / file).read_text(), f"{file}::{name}"


def test_every_command_is_documented_and_every_documented_command_exists():
    own = {path.stem for path in ROOT.glob("*/management/commands/*.py") if path.stem != "__init__"}
    rows = re.findall(r"^\| (`[a-z_`, ]+`) \|", (ROOT / "docs" / "commands.md").read_text(), re.MULTILINE)
    documented = {command for row in rows for command in re.findall(r"`(\w+)`", row)}

    assert documented == own | {"migrate", "check", "createsuperuser", "changepassword"}  # Django's


def test_readme_lists_every_document_under_one_kind_of_question():
    listed = re.findall(r"^- \[[^]]+\]\(([^)]+)\)", (ROOT / "README.md").read_text(), re.MULTILINE)
    documents = {str(path.relative_to(ROOT)) for path in DOCUMENTS} | {"CHANGELOG.md"}
    unlisted = {
        "README.md",
        "examples/r.md",
        "examples/java.md",
    }  # the last two are listed by examples/README.md

    assert sorted(listed) == sorted(documents - unlisted)


def test_every_name_that_contributing_places_in_a_file_is_there():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    placed = re.findall(r"`(\w+)`\s+(?:in|of)\s+`([\w/.-]+\.py)`", text)

    assert len(placed) > 10
    assert [(name, file) for name, file in placed if name not in (ROOT / file).read_text()] == []
