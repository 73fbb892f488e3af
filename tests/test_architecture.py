"""ARCHITECTURE.md against the tree: every folder is listed with its number of files and its purpose."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = (ROOT / "ARCHITECTURE.md").read_text()
MOST_FILES = 16  # of one folder; commands have a file each by Django's rule
LONGEST_FILE = 400  # lines
PACKAGES = ("keys", "proxy", "portal")


def folders() -> list[Path]:
    """The Python packages of the three apps, without migrations."""
    found = {file.parent for package in PACKAGES for file in (ROOT / package).rglob("__init__.py")}
    return sorted(folder for folder in found if folder.name != "migrations")


def modules(folder: Path) -> list[Path]:
    return sorted(file for file in folder.glob("*.py") if file.name != "__init__.py")


def purpose(folder: Path) -> str:
    docstring = ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or ""
    return docstring.partition("\n")[0]


def names(folder: Path) -> str:
    return ", ".join(file.stem for file in modules(folder))


def expected_rows() -> list[str]:
    return [
        f"| `{folder.relative_to(ROOT)}/` | {len(modules(folder))}: {names(folder)} | {purpose(folder)} |"
        for folder in folders()
        if modules(folder)
    ]


def test_every_folder_is_listed_with_its_files_and_its_purpose():
    rows = re.findall(r"^\| `(?:keys|proxy|portal)/.*\|$", DOCUMENT, re.MULTILINE)
    listed = [row for row in rows if re.search(r"\| \d+: ", row)]

    assert listed == expected_rows(), "the table should be:\n" + "\n".join(expected_rows())


@pytest.mark.parametrize("folder", folders(), ids=lambda folder: str(folder.relative_to(ROOT)))
def test_a_folder_states_its_purpose_and_stays_small(folder):
    assert purpose(folder).endswith("."), "its __init__.py needs a docstring whose first line is a sentence"
    if folder.name != "commands":
        assert len(modules(folder)) <= MOST_FILES


def test_no_file_is_longer_than_a_reader_can_hold():
    long = {
        str(file.relative_to(ROOT)): lines
        for folder in folders()
        for file in folder.glob("*.py")
        if (lines := len(file.read_text().splitlines())) > LONGEST_FILE
    }

    assert long == {}
