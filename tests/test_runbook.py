"""The guides for operators: every alert has its section, and their commands, options and metrics exist."""

import re
import shlex
from pathlib import Path

import pytest
import yaml
from django.core.management import get_commands, load_command_class

ROOT = Path(__file__).resolve().parent.parent
GUIDES = {name: (ROOT / "docs" / f"{name}.md").read_text() for name in ("recovery", "runbook")}
BLOCKS = {
    name: "\n".join(re.findall(r"^ *```sh\n(.+?)^ *```", text, re.MULTILINE | re.DOTALL))
    for name, text in GUIDES.items()
}
COMMANDS = [
    (name, line)
    for name, text in GUIDES.items()
    for line in re.findall(r"manage\.py ([a-z_]+[^|>#`\n]*)", BLOCKS[name] + text)
]


def test_every_alert_has_a_section_with_commands_in_the_order_of_the_file():
    groups = yaml.safe_load((ROOT / "deploy" / "alerts.yaml").read_text())["groups"]
    alerts = [rule["alert"] for group in groups for rule in group["rules"]]
    sections = dict(re.findall(r"^## (\w+)\n(.+?)(?=^## |\Z)", GUIDES["runbook"], re.MULTILINE | re.DOTALL))

    assert list(sections) == alerts
    assert [name for name, text in sections.items() if "```sh" not in text] == []


@pytest.mark.parametrize(("guide", "line"), COMMANDS)
def test_every_command_of_a_guide_exists_with_these_options(guide, line):
    name, *arguments = shlex.split(line)
    if name == "procrastinate":  # procrastinate's own
        return
    command = load_command_class(get_commands()[name], name)
    parser = command.create_parser("manage.py", name)
    options = {option for action in parser._actions for option in action.option_strings}
    used = {argument for argument in arguments if argument.startswith("--")}

    assert used <= options
    if used:
        parser.parse_args(arguments)  # SystemExit for a value that is none of the choices


def test_every_metric_of_the_runbook_is_one_that_the_code_has():
    code = "".join(
        path.read_text() for package in ("keys", "proxy", "portal") for path in (ROOT / package).rglob("*.py")
    )
    for named in re.findall(r"\bhokusai_[a-z_]+?(?=_total\b|\b)", BLOCKS["runbook"]):
        assert f'"{named}"' in code
    for family in (
        "hokusai_call_seconds",
        "hokusai_upstream_seconds",
    ):  # what the pattern of HokusaiSlow matches
        assert f'"{family}"' in code
