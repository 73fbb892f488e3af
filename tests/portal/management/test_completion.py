"""Completion in bash and zsh: commands and options, asked as a shell asks, with no settings and no portal."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
ASK = """
{start}
source deploy/completion.bash
COMP_WORDS=({words})
COMP_CWORD={last}
{ask}
"""
IN_BASH = {"start": "", "ask": '_hokusai_manage; printf "%s\\n" "${COMPREPLY[@]}"'}
IN_ZSH = {
    "start": "autoload -U compinit bashcompinit && compinit -u -D && bashcompinit",
    "ask": "compgen -F _hokusai_manage",
}
OFFERED = [
    ("python manage.py rotate", ["rotate_key"]),
    (
        "python manage.py list_",
        ["list_alerts", "list_calls", "list_events", "list_keys", "list_registrations", "list_users"],
    ),
    ("python manage.py rotate_key --over", ["--overlap="]),
    ("python manage.py doctor --w", ["--write"]),
    ("python elsewhere.py list_", []),
]


def offered(shell: list[str], script: dict[str, str], words: str, data: Path) -> list[str]:
    result = subprocess.run(
        [*shell, "-c", ASK.format(words=words, last=len(words.split()) - 1, **script)],
        cwd=ROOT,
        env={"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "DATA_DIR": str(data)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.stderr == ""
    return result.stdout.split()


@pytest.mark.parametrize(("words", "expected"), OFFERED)
def test_bash_offers_what_fits(words, expected, tmp_path):
    assert offered(["bash"], IN_BASH, words, tmp_path) == expected


@pytest.mark.skipif(not shutil.which("zsh"), reason="no zsh here")
@pytest.mark.parametrize(("words", "expected"), OFFERED)
def test_zsh_offers_what_fits(words, expected, tmp_path):
    assert offered(["zsh", "-f"], IN_ZSH, words, tmp_path) == expected


def test_a_server_that_is_told_to_complete_still_needs_its_settings(tmp_path):
    result = subprocess.run(
        [sys.executable, "-c", "import portal.settings"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "DATA_DIR": str(tmp_path), "DJANGO_AUTO_COMPLETE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "SECRET_KEY: it is not set" in result.stderr
