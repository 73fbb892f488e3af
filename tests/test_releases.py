"""CHANGELOG.md has numbered releases with notes for operators, and the newest number is the project's."""

import datetime
import re
import tomllib
from pathlib import Path

import pytest
from django.db.migrations.loader import MigrationLoader

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "CHANGELOG.md").read_text()
SECTIONS = re.split(r"^## (.+)\n", TEXT, flags=re.MULTILINE)[1:]
BY_TITLE = dict(zip(SECTIONS[::2], SECTIONS[1::2], strict=True))
TITLE = re.compile(r"(\d+)\.(\d+)\.(\d+) - (\d{4}-\d\d-\d\d)")
RELEASES = [title for title in BY_TITLE if title != "Unreleased"]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
CHANGES = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")  # keepachangelog.com 1.1.0
# Where files state the version of the portal.
STATED = {
    "deploy/Dockerfile": r"hokusai-portal:([\w.]+)",
    "deploy/README.md": r"hokusai-portal:([\w.]+)",
    "deploy/compose/compose.yaml": r"hokusai-portal:([\w.]+)",
    "deploy/helm/hokusai-portal/Chart.yaml": r"(?:v|appV)ersion: ([\w.]+)",
}


def parts(content: str) -> dict[str, str]:
    """The text below each heading of a release."""
    found = re.split(r"^### (.+)\n", content, flags=re.MULTILINE)[1:]
    return {title: text.strip() for title, text in zip(found[::2], found[1::2], strict=True)}


def named_migrations(text: str) -> list[str]:
    """`keys.0016` to `keys.0025` as each of them."""
    named = []
    for app, first, last in re.findall(r"`(\w+)\.(\d{4})`(?:\s+to\s+`\1\.(\d{4})`)?", text):
        named += [f"{app}.{number:04}" for number in range(int(first), int(last or first) + 1)]
    return named


def test_the_newest_release_has_the_projects_version():
    assert next(iter(BY_TITLE)) == "Unreleased"
    assert RELEASES[0].split(" ")[0] == VERSION


def test_releases_have_descending_numbers_and_dates():
    found = [TITLE.fullmatch(title) for title in RELEASES]
    assert all(found), RELEASES
    numbers = [tuple(map(int, match.groups()[:3])) for match in found]
    dates = [datetime.date.fromisoformat(match[4]) for match in found]

    assert len(RELEASES) >= 3
    assert numbers == sorted(set(numbers), reverse=True)
    assert dates == sorted(dates, reverse=True)


@pytest.mark.parametrize("title", RELEASES)
def test_a_release_says_how_to_upgrade_and_whether_one_can_go_back(title):
    sections = parts(BY_TITLE[title])

    assert list(sections)[:2] == ["Upgrade notes", "Downgrade"]
    assert set(sections) - {"Upgrade notes", "Downgrade"} <= set(CHANGES)
    assert len(sections) > 2
    assert all(sections.values())


def test_every_migration_is_in_the_upgrade_notes_of_one_release():
    on_disk = {
        f"{app}.{name[:4]}" for app, name in MigrationLoader(None).disk_migrations if app in ("keys", "proxy")
    }
    # Notes may also mention a migration of theirs once more, to say what it does.
    released = [set(named_migrations(parts(text).get("Upgrade notes", ""))) for text in BY_TITLE.values()]

    assert set().union(*released) == on_disk
    assert sum(map(len, released)) == len(on_disk), "two releases name the same migration"


@pytest.mark.parametrize("file", STATED)
def test_files_for_deployment_state_the_projects_version(file):
    stated = re.findall(STATED[file], (ROOT / file).read_text())

    assert stated
    assert set(stated) == {VERSION}
