"""Time-stamps of the ledger's heads by OpenSSL's authority, and what is not accepted as one."""

import base64
import datetime
import json
import subprocess

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction
from django.utils import timezone

from keys.models import Alert
from proxy.api.registrations import VerifySerializer
from proxy.ledger import authority, stamps
from proxy.ledger.authority import AuthorityError
from proxy.models import LedgerStamp
from tests.proxy.ledger.test_verification import as_superuser, verify
from tests.proxy.ledger_rows import row
from tests.time_stamp_authority import DAY, Authority

MESSAGE = b"ab" * 32


def test_a_time_stamp_is_verified_without_the_authority(tsa):
    stamp = authority.ask(MESSAGE)

    assert abs(stamp.at - timezone.now()) < datetime.timedelta(minutes=1)
    assert stamp.is_trusted
    assert authority.verify(stamp.response, MESSAGE) == stamp
    assert tsa.asked == 1


def foreign(tsa, tmp_path, settings) -> None:
    settings.TIMESTAMP_CERTIFICATES = str(Authority(tmp_path / "foreign").root)


def expired(tsa, tmp_path, settings) -> None:
    old = Authority(tmp_path / "old", valid_until=-DAY)
    settings.TIMESTAMP_CERTIFICATES = str(old.root)
    tsa.folder = old.folder


def rejecting(tsa, tmp_path, settings) -> None:
    other = Authority(tmp_path / "sha512", digests="sha512")
    tsa.folder = other.folder


def replayed(tsa, tmp_path, settings) -> None:
    tsa.answer = (200, authority.ask(MESSAGE).response)


def answering(status: int, body: bytes):
    def answer(tsa, tmp_path, settings) -> None:
        tsa.answer = (status, body)

    return answer


def absent(tsa, tmp_path, settings) -> None:
    settings.TIMESTAMP_URL = "http://127.0.0.1:9/tsr"


@pytest.mark.parametrize(
    ("how", "why"),
    [
        (foreign, "its signature does not follow from TIMESTAMP_CERTIFICATES"),
        (expired, "certificate has expired"),
        (rejecting, r"it refused: rejection \(Message digest algorithm is not supported"),
        (replayed, "it responds to another request: the nonce differs"),
        (answering(200, b"<html>"), "it is not a time-stamp of RFC 3161"),
        (answering(200, b""), "it is not a time-stamp of RFC 3161"),
        (answering(200, b"0" * (authority.MOST_BYTES + 1)), "its response is too long"),
        (answering(503, b""), "it responded with 503"),
        (answering(302, b""), "it responded with 302"),
        (absent, "it did not respond: "),
    ],
)
def test_what_is_not_a_valid_time_stamp_is_refused(tsa, tmp_path, settings, how, why):
    folder = tsa.folder
    how(tsa, tmp_path, settings)
    try:
        with pytest.raises(AuthorityError, match=why):
            authority.ask(MESSAGE)
    finally:
        tsa.folder = folder


def test_a_time_stamp_of_another_hash_is_refused(tsa, settings):
    stamp = authority.ask(b"another head")
    for file in (str(tsa.root), ""):
        settings.TIMESTAMP_CERTIFICATES = file
        with pytest.raises(AuthorityError, match="it is about another hash"):
            authority.verify(stamp.response, MESSAGE)


def test_a_time_stamp_whose_signature_was_changed_is_refused(tsa):
    response = bytearray(authority.ask(MESSAGE).response)
    response[-3] ^= 1

    with pytest.raises(AuthorityError, match="its signature does not follow from TIMESTAMP_CERTIFICATES"):
        authority.verify(bytes(response), MESSAGE)


def test_an_authority_whose_clock_is_wrong_is_refused(tsa, monkeypatch):
    monkeypatch.setattr(authority, "CLOCK", -datetime.timedelta(seconds=1))

    with pytest.raises(AuthorityError, match="its clock says"):
        authority.ask(MESSAGE)


def test_the_head_is_stamped_once_a_day_if_the_ledger_has_grown(tsa, key, capsys):
    assert stamps.stamp_if_due() is None  # an empty ledger
    row(key, "registered-models.create", "one")
    row(key, "registered-models.create", "two")
    assert stamps.stamp_if_due().sequence == 2
    row(key, "registered-models.create", "three")
    assert stamps.stamp_if_due() is None
    as_superuser("update proxy_ledgerstamp set at = at - interval '25 h'")
    assert stamps.stamp_if_due().sequence == 3
    as_superuser("update proxy_ledgerstamp set at = at - interval '25 h'")
    assert stamps.stamp_if_due() is None

    assert tsa.asked == 2
    status, out, _ = verify(capsys)
    assert status == 0
    assert "2 heads are time-stamped: the chain existed up to row 2 since 20" in out
    assert "and up to row 3 since 20" in out


def test_a_failing_authority_is_an_alert_until_it_responds_again(tsa, key):
    row(key, "registered-models.create", "one")
    tsa.answer = (500, b"")
    assert [stamps.stamp_if_due(), stamps.stamp_if_due()] == [None, None]
    [alert] = Alert.objects.open()
    assert (alert.kind, alert.detail["why"]) == ("timestamp_failed", "it responded with 500")

    tsa.answer = None
    assert stamps.stamp_if_due() is not None
    assert not Alert.objects.open().exists()


def test_the_command_prints_a_head_that_openssl_and_verify_ledger_verify(tsa, key, capsys, tmp_path):
    row(key, "registered-models.create", "one")
    call_command("stamp_ledger")
    assert capsys.readouterr().out.startswith(
        f"The chain up to row 1 has had a time-stamp of {tsa.url} since 20"
    )
    call_command("stamp_ledger", "--json")
    line = capsys.readouterr().out
    (tmp_path / "heads.jsonl").write_text(line)
    (tmp_path / "stamp.tsr").write_bytes(base64.b64decode(json.loads(line)["time_stamp"]))
    (tmp_path / "head").write_text(json.loads(line)["hash"])
    files = {"-in": tmp_path / "stamp.tsr", "-data": tmp_path / "head", "-CAfile": tsa.root}
    arguments = [str(word) for option in files.items() for word in option]
    done = subprocess.run(["openssl", "ts", "-verify", *arguments], capture_output=True, text=True)
    assert "Verification: OK" in done.stdout, done.stderr

    assert verify(capsys, "--since-head", str(tmp_path / "heads.jsonl"))[0] == 0
    (tmp_path / "heads.jsonl").write_text(line.replace(json.loads(line)["hash"], "ab" * 32))
    with pytest.raises(CommandError, match=r"a time-stamp in .* is not valid: it is about another hash"):
        call_command("verify_ledger", "--since-head", str(tmp_path / "heads.jsonl"))


def test_the_api_verifies_the_time_stamp_of_a_stored_head(tsa, key):
    row(key, "registered-models.create", "one")
    line = json.loads(stamps.as_json(stamps.stamp_head()))

    def errors(**changes: str) -> str:
        sent = VerifySerializer(data={"heads": [line | changes]})
        return "" if sent.is_valid() else str(sent.errors["heads"])

    assert errors() == ""
    assert "It is not valid: it is about another hash." in errors(hash="ab" * 32)
    assert "It is not base64." in errors(time_stamp="!")


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("delete from proxy_registration where sequence = 2", "it reached row 2 when its head was recorded"),
        ("update proxy_ledgerstamp set hash = repeat('a', 64)", "the chain was rewritten: row 2"),
        (
            "update proxy_ledgerstamp set stamped_at = stamped_at - interval '1 year'",
            "the time of the time-stamp of the head at row 2 was changed",
        ),
        (
            r"update proxy_ledgerstamp set response = '\x3000'",
            "the time-stamp of the head at row 2 is not valid",
        ),
        (
            "alter table proxy_ledgerstamp disable trigger ledger_stamp_keep",
            "ledger_stamp_keep is missing or",
        ),
    ],
)
def test_what_a_superuser_did_to_the_chain_or_its_time_stamps_is_found(tsa, key, capsys, statement, problem):
    row(key, "registered-models.create", "one")
    row(key, "registered-models.create", "two")
    stamps.stamp_head()
    as_superuser(statement)

    status, _, err = verify(capsys)

    assert (status, problem in err) == (1, True), err


def test_time_stamps_without_certificates_are_kept_and_said_to_be_unverified(tsa, key, capsys, settings):
    settings.TIMESTAMP_CERTIFICATES = ""
    row(key, "registered-models.create", "one")
    stamps.stamp_head()

    assert "The signatures of 1 were not verified: set TIMESTAMP_CERTIFICATES." in verify(capsys)[1]
    settings.TIMESTAMP_CERTIFICATES = str(tsa.root)
    assert json.loads(verify(capsys, "--json")[1])["time_stamps"]["untrusted"] == 0


def test_nobody_changes_or_deletes_a_time_stamp(tsa, key):
    row(key, "registered-models.create", "one")
    stamp = stamps.stamp_head()

    for change in (lambda: LedgerStamp.objects.update(sequence=9), stamp.delete):
        with pytest.raises(IntegrityError, match="time-stamps are evidence"), transaction.atomic():
            change()
