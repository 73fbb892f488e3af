"""The commands of docs/recovery.md, as the proof runs them: what the document says and what is tried cannot differ."""

import re

from tests.field.servers import ROOT

GUIDE = ROOT / "docs" / "recovery.md"


def commands(section: str, *, replace: dict[str, str] | None = None) -> list[str]:
    """The blocks of shell commands below this heading, with the document's example values replaced. Each value must be
    there, so that a changed document is noticed."""
    text = GUIDE.read_text()
    found = re.search(rf"^##+ {re.escape(section)}\n(.+?)(?=^##+ |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"recovery.md has no section {section}"
    body = found[1]
    for example, value in (replace or {}).items():
        assert example in body, f"recovery.md: {section} does not contain {example}"
        body = body.replace(example, value)
    blocks = re.findall(r"^( *)```sh\n(.+?)^ *```", body, re.MULTILINE | re.DOTALL)
    assert blocks, f"recovery.md: {section} has no commands"
    return [re.sub(rf"^{indent}", "", block, flags=re.MULTILINE) for indent, block in blocks]
