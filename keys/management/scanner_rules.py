"""Rules for secret scanners that find this portal's keys, built from `keys.credentials.tokens`. Pure.

No rule asks for a word boundary: in a JSON text a key can follow the two characters backslash and n, and in a name it
can stand between underscores. docs/integrations.md says what each scanner finds with them.
"""

from keys.credentials import tokens
from keys.formatting.base62 import ALPHABET

DESCRIPTION = "API key of a Hokusai Registry: report it at its /leaks page, and revoke it"

GITLEAKS = """# gitleaks cannot compute the checksum: this finds look-alikes too.
# Save as .gitleaks.toml. Without [extend], this file would replace gitleaks' own rules.
[extend]
useDefault = true

[[rules]]
id = "hokusai-registry-api-key"
description = "@DESCRIPTION@"
regex = '''@PATTERN@'''
keywords = ["hk_live_", "hk_test_"]
"""

KINGFISHER = """# Save as hokusai.yaml: kingfisher scan --rules-path hokusai.yaml PATH
# Kingfisher computes the checksum: this finds real keys only.
rules:
  - name: Hokusai Registry API key
    id: custom.hokusai.1
    pattern: |
      (?x)
      (
        (?P<body>hk_(?:live|test)_[0-9A-Za-z]{@RANDOM@})
        (?P<checksum>[0-9A-Za-z]{@LENGTH@})
      )
    pattern_requirements:
      checksum:
        actual:
          template: "{{ checksum }}"
          requires_capture: checksum
        expected: "{{ body | crc32 | base62: @LENGTH@ }}"
        skip_if_missing: false
    min_entropy: 2.0
    confidence: high
"""

DETECT_SECRETS = '''"""A plugin for detect-secrets. Save as hokusai.py: detect-secrets scan --plugin hokusai.py PATH

It computes the checksum: it finds real keys only.
"""

import re
import zlib

from detect_secrets.plugins.base import RegexBasedDetector

@IS_KEY@

class HokusaiRegistryKeyDetector(RegexBasedDetector):
    secret_type = "Hokusai Registry API key"
    denylist = [re.compile(r"@PATTERN@")]

    def analyze_string(self, string):
        for secret in super().analyze_string(string):
            if is_key(secret.encode()):
                yield secret
'''

SEMGREP = """# Save as hokusai.yaml: semgrep scan --metrics=off --config hokusai.yaml PATH
# Semgrep cannot compute the checksum: this finds look-alikes too.
rules:
  - id: hokusai-registry-api-key
    languages: [regex]
    severity: ERROR
    message: "@DESCRIPTION@"
    pattern-regex: '@PATTERN@(?![0-9A-Za-z])'
"""

GITHUB = """# GitHub, Settings, Code security, Custom patterns, New pattern. GitHub cannot compute the checksum: this
# finds look-alikes too. "Before secret" replaces GitHub's own, which misses a key that follows a letter or a digit.
Pattern name: Hokusai Registry API key
Secret format: @PATTERN@
Before secret: \\A|[\\s\\S]
After secret: \\z|[^0-9A-Za-z]
Test string: token = "@EXAMPLE@"
"""

IS_KEY = '''ALPHABET = "@ALPHABET@"


def is_key(text):
    """Whether the last @LENGTH@ characters are the CRC-32 of those before them in base 62."""
    number, digits = zlib.crc32(text[:-@LENGTH@]), ""
    for _ in range(@LENGTH@):
        number, digit = divmod(number, 62)
        digits = ALPHABET[digit] + digits
    return text[-@LENGTH@:].decode() == digits
'''

HOOK = '''#!/usr/bin/env python3
"""Refuses to commit an API key of a Hokusai Registry. Save as .git/hooks/pre-commit and make it executable, or
call it with file names."""

import re
import subprocess
import sys
import zlib

KEY = re.compile(rb"@PATTERN@")
@IS_KEY@

def files():
    """Name and content of the files to check: the named ones, otherwise the ones about to be committed."""
    if sys.argv[1:]:
        for name in sys.argv[1:]:
            with open(name, "rb") as file:
                yield name, file.read()
        return
    git = ["git", "diff", "--cached", "--name-only", "--diff-filter=ACMR", "-z"]
    for name in subprocess.check_output(git).decode(errors="surrogateescape").split("\\0"):
        if name:
            yield name, subprocess.run(["git", "show", ":" + name], capture_output=True).stdout


def lines_with_keys(content):
    """The numbers of the lines that hold a key. Without its NULs, UTF-16 and UTF-32 read like ASCII."""
    content = content.replace(b"\\0", b"")
    return [content[: match.start()].count(b"\\n") + 1 for match in KEY.finditer(content) if is_key(match[0])]


matches = [(name, line) for name, content in files() for line in lines_with_keys(content)]
for name, line in matches:
    print(f"{name}:{line}: an API key of a Hokusai Registry", file=sys.stderr)
sys.exit(bool(matches))
'''

TEMPLATES = {
    "gitleaks": GITLEAKS,
    "kingfisher": KINGFISHER,
    "detect-secrets": DETECT_SECRETS,
    "semgrep": SEMGREP,
    "github": GITHUB,
    "pre-commit": HOOK,
}


def rule_for(scanner: str) -> str:
    """The rule or program for a scanner, which is a key of TEMPLATES."""
    text = TEMPLATES[scanner].replace("@IS_KEY@", IS_KEY)
    values = {
        "PATTERN": tokens.KEY_PATTERN.pattern.replace(
            "(", "(?:"
        ),  # gitleaks reports the first group as the secret
        "DESCRIPTION": DESCRIPTION,
        "ALPHABET": ALPHABET,
        "LENGTH": str(tokens.CHECKSUM_LENGTH),
        "RANDOM": str(tokens.RANDOM_LENGTH),
        "EXAMPLE": "hk_test_"
        + "0" * (tokens.RANDOM_LENGTH + tokens.CHECKSUM_LENGTH),  # its checksum is wrong
    }
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    return text
