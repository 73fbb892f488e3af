"""The caller's address, through as many proxies as are ours."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys.credentials import addresses, tokens
from keys.credentials.addresses import client_address, parse_address

PEER = "10.0.0.1"


def seen(forwarded: str | None, *, trusted: int, peer: str = PEER) -> str:
    meta = {"REMOTE_ADDR": peer} | ({} if forwarded is None else {"HTTP_X_FORWARDED_FOR": forwarded})
    return client_address(meta, trusted_proxies=trusted)


@pytest.mark.parametrize("forwarded", [None, "", "203.0.113.9", "203.0.113.9, 198.51.100.7"])
def test_without_proxies_of_ours_nobodys_word_counts(forwarded):
    assert seen(forwarded, trusted=0) == PEER


@pytest.mark.parametrize(
    ("forwarded", "trusted", "address"),
    [
        ("198.51.100.7", 1, "198.51.100.7"),
        ("203.0.113.9, 198.51.100.7", 1, "198.51.100.7"),
        ("203.0.113.9, 198.51.100.7, 10.0.0.2", 2, "198.51.100.7"),
        ("203.0.113.9,198.51.100.7 ,10.0.0.2", 2, "198.51.100.7"),
        ("2001:DB8::1", 1, "2001:db8::1"),
        ("[2001:db8::1]:443", 1, "2001:db8::1"),
        ("198.51.100.7:1234", 1, "198.51.100.7"),
        ("::ffff:198.51.100.7", 1, "198.51.100.7"),
    ],
)
def test_each_proxy_of_ours_counts_from_the_right(forwarded, trusted, address):
    assert seen(forwarded, trusted=trusted) == address


@pytest.mark.parametrize(
    ("forwarded", "trusted"),
    [
        (None, 1),
        ("", 1),
        ("198.51.100.7", 2),
        ("198.51.100.7, unknown", 1),
        ("198.51.100.7,", 1),
        ("999.1.1.1", 1),
    ],
)
def test_a_chain_that_cannot_be_ours_leaves_the_peer(forwarded, trusted):
    assert seen(forwarded, trusted=trusted) == PEER


def test_a_server_without_addresses_gives_none():
    assert client_address({}, trusted_proxies=0) == ""
    assert seen(None, trusted=0, peer="") == ""


@given(st.ip_addresses().filter(lambda address: not getattr(address, "ipv4_mapped", None)))
def test_an_address_is_read_in_every_form_that_proxies_write(address):
    text = str(address)
    forms = [text, f" {text} ", f"[{text}]", f"[{text}]:80"] + (
        [f"{text}:80"] if address.version == 4 else []
    )
    for form in forms:
        assert parse_address(form) == text


@given(st.text(max_size=50))
def test_whatever_is_no_address_is_empty(text):
    assert parse_address(text) == "" or parse_address(parse_address(text)) == parse_address(text)


def test_a_zone_is_left_out():
    assert parse_address("fe80::1%eth0") == "fe80::1"


def test_only_canonical_addresses_are_remembered():
    zone = tokens.generate().secret
    assert parse_address(f"fe80::1%{zone}") == parse_address(f"fe80::1%{zone}") == "fe80::1"
    assert not any(zone in known for known in addresses.known_addresses)
    for number in range(addresses.MOST_KNOWN + 1):
        parse_address(f"10.1.{number // 256}.{number % 256}")
    assert len(addresses.known_addresses) <= addresses.MOST_KNOWN
