"""Completion in bash: commands and options, asked as a shell asks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ASK = """
source deploy/completion.bash
COMP_WORDS=({words})
COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
_hokusai_manage
echo "${{COMPREPLY[@]}}"
"""


def offered(words: str) -> list[str]:
    result = subprocess.run(
        ["bash", "-c", ASK.format(words=words)],
        cwd=ROOT,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.stderr == ""
    return result.stdout.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("python manage.py rotate", ["rotate_key"]),
        (
            "python manage.py list_",
            ["list_calls", "list_events", "list_keys", "list_registrations", "list_users"],
        ),
        ("python manage.py rotate_key --over", ["--overlap="]),
        ("python elsewhere.py list_", []),
    ],
)
def test_it_offers_what_fits(words, expected):
    assert offered(words) == expected
