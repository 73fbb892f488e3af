"""Text of others in a terminal: nothing hides in it, and nothing moves the cursor."""

import ast
import json
from pathlib import Path

import pytest

from keys.formatting import tables
from keys.formatting.invisible import escape, escape_json

ROOT = Path(__file__).resolve().parents[3]
COMMANDS = sorted(ROOT.glob("*/management/commands/*.py"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("model", "model"),
        ("Modèle 模型 🙂", "Modèle 模型 🙂"),
        ("red\x1b[31m", "red\\u001b[31m"),
        ("line\nline\r\t", "line\\u000aline\\u000d\\u0009"),
        ("a\u202eb\u200bc\u3164", "a\\u202eb\\u200bc\\u3164"),
        ("del\x7f\x9b", "del\\u007f\\u009b"),
        ("tag\U000e0041", "tag\\U000e0041"),
    ],
)
def test_invisible_and_control_characters_are_shown_as_escapes(text, shown):
    assert escape(text) == tables.cell(text) == shown


def test_json_keeps_its_content_and_shows_escapes():
    content = {"name": "a\u202eb\x7f\x9bc\U000e0041é"}

    printed = escape_json(json.dumps(content, ensure_ascii=False))

    assert printed == '{"name": "a\\u202eb\\u007f\\u009bc\\udb40\\udc41é"}'
    assert json.loads(printed) == content


def is_safe(node: ast.expr) -> bool:
    """Whether an expression that a command prints can hold no invisible character of others."""
    match node:
        case ast.Constant():
            return True
        case ast.Call(func=ast.Name(id="escape" | "escape_json")):
            return True
        case ast.Call(func=ast.Attribute(value=ast.Name(id="json"), attr="dumps"), keywords=[]):
            return True  # ASCII
        case ast.BinOp(left=left, right=right):
            return is_safe(left) and is_safe(right)
        case ast.IfExp(body=body, orelse=orelse):
            return is_safe(body) and is_safe(orelse)
    return False


# What a command prints of its own: secrets and links that it made, numbers, files, text that went through `wrapped`.
OWN = {
    "alerts.py": 1,
    "doctor.py": 3,
    "hash_artifacts.py": 1,
    "invite_user.py": 1,
    "issue_key.py": 1,
    "leak_patterns.py": 1,
    "mlflow_table.py": 3,
    "partitions.py": 1,
    "quarantine.py": 1,
    "reencrypt_second_factors.py": 1,
    "rotate_key.py": 1,
    "stamp_ledger.py": 2,
    "up.py": 1,
    "verify_ledger.py": 2,
}


def test_every_command_escapes_what_it_prints_of_others():
    found: dict[str, int] = {}
    for file in COMMANDS:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Attribute(attr="stdout" | "stderr"), attr="write"),
                    args=[printed],
                ) if not is_safe(printed):
                    found[file.name] = found.get(file.name, 0) + 1

    assert found == OWN
