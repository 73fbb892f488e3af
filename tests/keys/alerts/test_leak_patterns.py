"""What is printed for scanners finds real keys; the hook does not cry at what only looks like one."""

import io
import re
import subprocess
import sys
import tomllib
from typing import Any

import pytest
import yaml
from django.core.management import call_command

from keys.credentials import tokens


def printed(form: str) -> str:
    output = io.StringIO()
    call_command("leak_patterns", form, stdout=output)
    return output.getvalue()


@pytest.fixture
def hook(tmp_path):
    path = tmp_path / "pre-commit"
    path.write_text(printed("pre-commit"))
    path.chmod(0o755)
    return path


def look_alike(secret: str) -> str:
    return secret[:-1] + ("a" if secret[-1] != "a" else "b")


def scan(hook, *files) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, hook, *files], capture_output=True, text=True, timeout=20)


@pytest.mark.parametrize("environment", tokens.ENVIRONMENTS)
def test_the_hook_finds_real_keys_and_names_the_line_not_the_key(hook, tmp_path, environment):
    file = tmp_path / "settings.py"
    secret = tokens.generate(environment).secret
    file.write_text(f"a = 1\nTOKEN = '{secret}'\n")
    result = scan(hook, file)
    file.unlink()  # no run of the tests leaves a key

    assert result.returncode == 1
    assert f"{file}:2:" in result.stderr
    assert secret not in result.stdout + result.stderr


def test_the_hook_passes_what_only_looks_like_a_key(hook, tmp_path):
    file = tmp_path / "README.md"
    file.write_text(f"hk_live_{'0' * 32} {look_alike(tokens.generate().secret)} hk_live_…\n")

    assert (scan(hook, file).returncode, scan(hook, file).stderr) == (0, "")


def test_git_refuses_the_commit(hook, tmp_path):
    project = tmp_path / "project"

    def git(*arguments: str) -> int:
        who = ["-c", "user.name=a", "-c", "user.email=a@b.example", "-c", f"core.hooksPath={tmp_path}"]
        return subprocess.run(["git", "-C", project, *who, *arguments], capture_output=True).returncode

    subprocess.run(["git", "init", "-q", project], check=True)
    file = project / "a b.txt"
    file.write_text(tokens.generate().secret)
    git("add", ".")
    assert git("commit", "-m", "oops") != 0
    file.write_text(look_alike(tokens.generate().secret))
    git("add", ".")
    assert git("commit", "-m", "fine") == 0


def test_gitleaks_rule_is_the_pattern_of_keys():
    [rule] = tomllib.loads(printed("gitleaks"))["rules"]
    secret = tokens.generate().secret

    assert re.search(rule["regex"], f"token={secret};")[0] == secret
    assert re.compile(rule["regex"]).groups == 0
    assert any(word in secret for word in rule["keywords"])
    assert not re.search(rule["regex"], "hk_live_short")


def test_gitleaks_keeps_its_own_rules():
    assert tomllib.loads(printed("gitleaks"))["extend"] == {"useDefault": True}


@pytest.mark.parametrize("content", ['{{"text": "a\\n{}\\nb"}}', "old_{}_backup=1", "https://x:{}@host/"])
def test_every_rule_finds_keys_wherever_they_stand(content):
    secret = tokens.generate().secret
    text = content.format(secret)
    semgrep = yaml.safe_load(printed("semgrep"))["rules"][0]["pattern-regex"]
    kingfisher = yaml.safe_load(printed("kingfisher"))["rules"][0]["pattern"]
    github = dict(line.split(": ", 1) for line in printed("github").splitlines() if line[0] != "#")
    parts = [
        github[name].replace(r"\z", r"\Z") for name in ("Before secret", "Secret format", "After secret")
    ]

    for pattern in (semgrep, kingfisher, "".join(f"(?:{part})" for part in parts)):
        assert secret in re.search(pattern, text)[0]
        assert not re.search(pattern, "hk_live_short " + "a" * 100)


def test_the_plugin_for_detect_secrets_computes_the_checksum():
    found: dict[str, Any] = {}
    secret = tokens.generate().secret
    code = printed("detect-secrets").replace("from detect_secrets.plugins.base import RegexBasedDetector", "")
    exec(code.replace("(RegexBasedDetector)", ""), found)

    assert found["is_key"](secret.encode())
    assert not found["is_key"](look_alike(secret).encode())


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32"])
def test_the_hook_reads_other_encodings(hook, tmp_path, encoding):
    file = tmp_path / "notes.txt"
    file.write_bytes(f"a\r\n{tokens.generate().secret}\r\n".encode(encoding))

    assert f"{file}:2:" in scan(hook, file).stderr
    file.unlink()
