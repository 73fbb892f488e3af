"""Amounts of bytes, as people write and read them."""

import pytest

from keys.formatting.sizes import format_size, parse_size


@pytest.mark.parametrize(
    ("text", "count"),
    [("0", 0), ("500", 500), ("1K", 1024), ("10G", 10 * 2**30), ("10 GiB", 10 * 2**30), ("1.5t", 3 * 2**39)],
)
def test_an_amount_is_read_as_it_is_written(text, count):
    assert parse_size(text) == count


@pytest.mark.parametrize("text", ["", "G", "ten", "-1G", "1,5G", "1e9", "1G2", "10X", "٥"])
def test_what_is_no_amount_says_how_one_is_written(text):
    with pytest.raises(ValueError, match="write 500M, 10G"):
        parse_size(text)


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1536, "1.5 KiB"),
        (10 * 2**30, "10 GiB"),
        (1023 * 2**20, "0.999 GiB"),
    ],
)
def test_an_amount_is_shown_with_its_unit(count, words):
    assert format_size(count) == words
