"""The search after the whole run (`tests/environment.py`) finds a key wherever it was left."""

import base64

import pytest

from keys.credentials import tokens
from tests.leftovers import PIECE, keys_left_in


def test_a_key_in_a_file_is_found_plain_and_as_a_basic_credential(tmp_path):
    plain, basic = tokens.generate(), tokens.generate("test")
    (tmp_path / "portal.log").write_bytes(
        b"\x00\xff" * 5000 + b"GET /?api_key=" + plain.secret.encode() + b"\n"
    )
    credential = base64.b64encode(f"alice:{basic.secret}".encode()).decode()
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "16384").write_text(f"authorization: basic {credential}\n")

    found = keys_left_in(tmp_path)
    (tmp_path / "portal.log").unlink()  # these two are on purpose
    (tmp_path / "base" / "16384").unlink()

    assert found == [f"base/16384: {basic.prefix}…", f"portal.log: {plain.prefix}…"]


def test_what_only_looks_like_a_key_is_not_reported(tmp_path):
    secret = tokens.generate().secret
    (tmp_path / "portal.log").write_text(f"{secret[:-1]}{'x' if secret[-1] != 'x' else 'y'} hk_(hidden)")
    (tmp_path / "empty").touch()

    assert keys_left_in(tmp_path) == []


@pytest.mark.parametrize("before", [0, PIECE - 6, PIECE - 3, PIECE - 1, PIECE])
def test_a_basic_credential_is_found_wherever_it_begins(tmp_path, before):
    token = tokens.generate()
    credential = base64.b64encode(f"alice:{token.secret}".encode())
    (tmp_path / "base").write_bytes(b"\xff" * before + b"BaSiC   " + credential)

    found = keys_left_in(tmp_path)
    (tmp_path / "base").unlink()  # on purpose

    assert found == [f"base: {token.prefix}…"]
