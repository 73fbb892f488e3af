"""The form of a key."""

import hashlib
import hmac
import math
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys.credentials import tokens
from keys.credentials.tokens import InvalidToken, Token
from keys.formatting.base62 import ALPHABET

RANDOM = st.text(ALPHABET, min_size=26, max_size=26)
KEY = st.builds(
    lambda environment, random: (body := f"hk_{environment}_{random}") + tokens.checksum(body),
    st.sampled_from(tokens.ENVIRONMENTS),
    RANDOM,
)


@pytest.mark.parametrize("environment", tokens.ENVIRONMENTS)
def test_a_generated_key_has_the_form_of_the_contract(environment):
    token = tokens.generate(environment)
    prefix, random, checksum = token.secret[:8], token.secret[8:34], token.secret[34:]

    assert prefix == f"hk_{environment}_"
    assert (len(random), len(checksum)) == (26, 6)
    assert set(random + checksum) <= set(ALPHABET)
    assert 26 * math.log2(len(ALPHABET)) >= 150
    assert tokens.parse(token.secret) == token


def test_no_two_keys_are_alike():
    assert len({tokens.generate().secret[8:34] for _ in range(1000)}) == 1000


def test_there_is_no_third_environment():
    with pytest.raises(InvalidToken):
        tokens.generate("prod")


@given(KEY)
def test_a_key_is_read_back_as_it_was_made(secret):
    token = tokens.parse(secret)

    assert (token.secret, token.environment) == (secret, secret[3:7])
    assert (token.prefix, token.last4) == (secret[:12], secret[-4:])


@given(KEY)
def test_the_checksum_is_the_crc32_of_everything_before_it(secret):
    value = 0
    for character in secret[-6:]:
        value = value * 62 + ALPHABET.index(character)

    assert value == zlib.crc32(secret[:-6].encode())


@given(KEY, st.integers(8, 39), st.sampled_from(ALPHABET))
def test_a_typo_is_told_as_such(secret, place, character):
    typo = secret[:place] + character + secret[place + 1 :]
    if typo == secret:
        return
    with pytest.raises(InvalidToken, match="mistyped"):
        tokens.parse(typo)


@given(KEY, st.integers(8, 38))
def test_two_characters_that_changed_places_are_a_typo_too(secret, place):
    typo = secret[:place] + secret[place + 1] + secret[place] + secret[place + 2 :]
    if typo != secret:
        with pytest.raises(InvalidToken):
            tokens.parse(typo)


@given(st.text())
def test_what_is_no_key_is_refused_without_being_repeated(text):
    with pytest.raises(InvalidToken) as caught:
        tokens.parse(text)

    assert len(text) < 5 or text not in str(caught.value)


@pytest.mark.parametrize(
    "change", [str.upper, str.strip, lambda key: f"{key}\n", lambda key: f" {key}", lambda key: key[:-1]]
)
def test_a_key_is_taken_whole_and_as_it_is(change):
    secret = tokens.generate().secret
    if change(secret) != secret:
        with pytest.raises(InvalidToken):
            tokens.parse(change(secret))


@pytest.mark.parametrize("gap", [" ", "%20", "\0", "%00", "%2500", "\n", "\u200b", "\xc2\xa0", "+", '" "'])
@given(secret=KEY, place=st.integers(1, 39))
def test_a_broken_key_is_hidden_with_all_that_stands_around_it(gap, secret, place):
    for text in (
        f"/mlflow/{secret[:place]}{gap}{secret[place:]}/runs",
        f"{secret[:place]}{gap}{secret[place:]} {secret}",
        f"not hk_live_ and thirty words of text, {secret[:place]}{gap}{secret[place:]}",
    ):
        assert tokens.hide(text) == "hk_(hidden)"


@pytest.mark.parametrize(
    "text",
    ["a key is hk_live_ or hk_test_, followed by 32 letters and digits", "/mlflow/hk live", ""],
)
def test_words_about_keys_stay(text):
    assert tokens.hide(text) == text


@given(KEY)
def test_beside_a_whole_key_words_stay(secret):
    assert tokens.hide(f"Bearer {secret}, see /a b") == "Bearer hk_(hidden), see /a b"


@given(KEY)
def test_no_way_to_print_a_token_shows_the_secret(secret):
    token = tokens.parse(secret)

    for shown in (repr(token), str(token), f"{token}", "%s" % token, repr([token]), repr({"key": token})):  # noqa: UP031
        assert secret[12:34] not in shown
        assert secret[:12] in shown
    assert secret[8:34] not in repr(token)


@given(KEY, st.text(min_size=32))
def test_what_is_stored_is_an_hmac_under_the_pepper(secret, pepper):
    token = tokens.parse(secret)
    stored = tokens.digest(token, pepper)

    assert stored == hmac.new(pepper.encode(), secret.encode(), hashlib.sha256).hexdigest()
    assert tokens.digest(token, pepper + "x") != stored


def test_a_key_is_looked_up_under_each_pepper_the_newest_first():
    token = tokens.generate()

    assert tokens.digests(token, ["new" * 11, "old" * 11]) == [
        tokens.digest(token, "new" * 11),
        tokens.digest(token, "old" * 11),
    ]


def test_a_token_is_a_value():
    token = tokens.generate()

    assert token == Token(secret=token.secret, environment="live")
    with pytest.raises(AttributeError):
        token.secret = "other"
