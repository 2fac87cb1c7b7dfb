"""The checksum of the Internet protocols, against a sum of words one by one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fethpipe.ether.checksum import checksum, ones_sum
from tests import strategies as ours  # noqa: F401 - the profile of all property tests


def added_up(data: bytes) -> int:
    """Add words as RFC 1071 describes it, with the carries added back."""
    data += bytes(len(data) % 2)
    total = 0
    for high, low in zip(data[::2], data[1::2]):
        total += high << 8 | low
        total = (total & 0xFFFF) + (total >> 16)
    return total


@given(st.binary(max_size=2000))
def test_the_sum_is_that_of_the_words(data: bytes) -> None:
    assert ones_sum(data) == ones_sum(bytearray(data)) == added_up(data)


def test_what_holds_its_own_checksum_sums_to_nothing() -> None:
    # RFC 1071, 3: 00 01 f2 03 f4 f5 f6 f7 sums to ddf2
    data = bytes.fromhex("0001f203f4f5f6f7")
    assert checksum(data) == 0xFFFF - 0xDDF2
    assert checksum(data + (0xFFFF - 0xDDF2).to_bytes(2, "big")) == 0
    assert checksum(b"") == checksum(bytes(8)) == 0xFFFF
    assert checksum(b"\xff\xff") == 0
