"""The page that verifies the ledger."""

import json
import re
from html import unescape

import pytest

from keys.pages.progress import Progress
from proxy.ledger import verification
from tests.proxy.ledger_rows import row

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]


def test_auditors_verify_the_ledger_with_its_stored_heads(key, auditor, monkeypatch):
    reports: list[tuple[int, int]] = []
    monkeypatch.setattr(Progress, "__call__", lambda progress, done, total: reports.append((done, total)))
    monkeypatch.setattr(verification, "PROGRESS_ROWS", 1)
    for number in range(3):
        row(key, "registered-models.create", f"vision-{number}")

    def said(heads: str = "", **form: str) -> str:
        return unescape(auditor.post("/admin/ledger/", {"heads": heads, **form}).content.decode())

    assert "Verify 3 rows" in auditor.get("/admin/ledger/").content.decode()
    whole = said()
    assert "The ledger is whole: 3 rows in one chain." in whole
    assert reports == [(1, 3), (2, 3), (3, 3)]
    head = re.search(r'aria-label="Head">(.+?)</pre>', whole)[1]
    assert "The ledger is whole" in said(head)
    forged = json.dumps({**json.loads(head), "hash": "0" * 64})
    assert "The ledger is broken after 2 good rows." in said(forged)
    assert "The chain was rewritten: row 3" in said(forged)
    assert "Paste heads as this page" in said("[1]")
