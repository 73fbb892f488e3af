"""Print rules that find this portal's keys in files, for gitleaks or as a git hook. Built from
`keys.credentials.tokens`."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from keys.credentials import tokens
from keys.formatting.base62 import ALPHABET

GITLEAKS = """# gitleaks cannot compute the checksum: this finds look-alikes too.
[[rules]]
id = "hokusai-registry-api-key"
description = "API key of a Hokusai Registry: report it at its /leaks page, and revoke it"
regex = \'\'\'\\b{pattern}\\b\'\'\'
keywords = ["hk_live_", "hk_test_"]
"""
HOOK = '''#!/usr/bin/env python3
"""Refuses to commit an API key of a Hokusai Registry. Save as .git/hooks/pre-commit and make it executable, or
call it with file names."""

import re
import subprocess
import sys
import zlib

KEY = re.compile(rb"{pattern}")
ALPHABET = "{alphabet}"


def is_key(text):
    """Whether the last {length} characters are the CRC-32 of those before them in base 62."""
    number, digits = zlib.crc32(text[:-{length}]), ""
    for _ in range({length}):
        number, digit = divmod(number, 62)
        digits = ALPHABET[digit] + digits
    return text[-{length}:].decode() == digits


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


matches = [
    (name, content[: match.start()].count(b"\\n") + 1)
    for name, content in files()
    for match in KEY.finditer(content)
    if is_key(match[0])
]
for name, line in matches:
    print(f"{{name}}:{{line}}: an API key of a Hokusai Registry", file=sys.stderr)
sys.exit(bool(matches))
'''


class Command(BaseCommand):
    help = "Print a rule or a hook that finds API keys in files."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("form", choices=["gitleaks", "pre-commit"])

    def handle(self, *args: Any, **options: Any) -> None:
        # gitleaks reports the first group as the secret.
        pattern = tokens.KEY_PATTERN.pattern.replace("(", "(?:")
        if options["form"] == "gitleaks":
            self.stdout.write(GITLEAKS.format(pattern=pattern), ending="")
        else:
            hook = HOOK.format(pattern=pattern, alphabet=ALPHABET, length=tokens.CHECKSUM_LENGTH)
            self.stdout.write(hook, ending="")
