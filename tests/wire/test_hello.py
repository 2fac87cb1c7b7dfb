"""The hello and the switch, as bytes."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fethpipe.wire.hello import Feature, Hello, decode_hello, encode_hello, encode_switch

NONCE = bytes(range(16))
HELLO = Hello(NONCE, mtu=1500, features=Feature.SUPER_FRAMES, keepalive=15000)
HEADER = bytes.fromhex("0180c200000e 020001020304 88b5") + b"fethpipe" + b"\x01\x01"
NONCE_FIELD = bytes.fromhex("0001 0010") + NONCE
OTHER_FIELDS = bytes.fromhex("0002 0004 00000001  0003 0004 000005dc  0004 0004 00003a98")

numbers = st.integers(0, 2**32 - 1)
hellos = st.builds(
    Hello,
    nonce=st.binary(min_size=16, max_size=16),
    mtu=numbers,
    features=st.sampled_from([Feature(bits) for bits in range(4)]),
    keepalive=numbers,
    addresses=st.lists(st.binary(min_size=16, max_size=16), max_size=16).map(tuple),
)


def field(kind: int, value: bytes) -> bytes:
    return struct.pack(">HH", kind, len(value)) + value


def test_a_hello_to_the_byte() -> None:
    assert encode_hello(HELLO) == HEADER + NONCE_FIELD + OTHER_FIELDS


def test_addresses_come_last() -> None:
    four, six = bytes.fromhex("00" * 10 + "ffff 0a090001"), bytes.fromhex("fd00" + "00" * 13 + "01")
    payload = encode_hello(HELLO._replace(addresses=(four, six)))
    assert payload == HEADER + NONCE_FIELD + OTHER_FIELDS + field(5, four + six)
    with pytest.raises(ValueError, match="addresses has 17 bytes"):
        decode_hello(HEADER + NONCE_FIELD + field(5, bytes(17)))


def test_a_switch_to_the_byte() -> None:
    switch = encode_switch(NONCE)
    assert switch == HEADER[:-1] + b"\x02" + NONCE_FIELD + bytes(16)
    assert len(switch) == 60


@given(hellos)
def test_what_is_said_is_understood(hello: Hello) -> None:
    payload = encode_hello(hello)
    assert decode_hello(payload) == hello
    assert len(payload) >= 60
    assert not payload[6] & 1  # the source is a single station


@given(st.binary(min_size=14))
def test_other_frames_are_no_hello(payload: bytes) -> None:
    assert decode_hello(payload) is None


@pytest.mark.parametrize("position", [0, 6 + 6, 6 + 6 + 2, len(HEADER) - 3])
def test_a_frame_that_differs_in_its_header_is_no_hello(position: int) -> None:
    payload = bytearray(encode_hello(HELLO))
    payload[position] ^= 1
    assert decode_hello(bytes(payload)) is None


def test_a_switch_is_no_hello() -> None:
    assert decode_hello(encode_switch(NONCE)) is None


@given(
    st.lists(st.tuples(st.integers(6, 0xFFFF), st.binary(max_size=40)), max_size=4), st.integers()
)
def test_unknown_types_are_skipped_wherever_they_stand(
    unknown: list[tuple[int, bytes]], seed: int
) -> None:
    fields = [NONCE_FIELD, *(OTHER_FIELDS[i : i + 8] for i in range(0, 24, 8))]
    for kind, value in unknown:
        fields.insert(seed % (len(fields) + 1), field(kind, value))
    assert decode_hello(HEADER + b"".join(fields)) == HELLO


@pytest.mark.parametrize(
    ("fields", "features"),
    [
        (NONCE_FIELD, Feature(0)),
        (NONCE_FIELD + field(2, bytes.fromhex("ffffff01")), Feature.SUPER_FRAMES),
        (field(1, bytes(16)) + NONCE_FIELD, Feature(0)),
    ],
    ids=["only a nonce", "unknown features", "of two nonces the last"],
)
def test_of_what_is_said_this_counts(fields: bytes, features: Feature) -> None:
    assert decode_hello(HEADER + fields) == Hello(NONCE, mtu=0, features=features)


@given(st.binary(max_size=60))
def test_nothing_counts_behind_the_end(rest: bytes) -> None:
    assert decode_hello(HEADER + NONCE_FIELD + OTHER_FIELDS + bytes(4) + rest) == HELLO


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (HEADER[:-1], "it ends inside the header"),
        (HEADER[:-2] + b"\x02\x01" + NONCE_FIELD, "its version is 2"),
        (HEADER[:-2] + b"\x00\x01" + NONCE_FIELD, "its version is 0"),
        (HEADER, "its nonce has 0 bytes"),
        (HEADER + field(1, NONCE[:15]), "its nonce has 15 bytes"),
        (HEADER + NONCE_FIELD[:-1], "its field of type 1 has 16 bytes"),
        (HEADER + NONCE_FIELD + field(3, b"\x05\xdc"), "its field of type 3 has 2 bytes"),
        (HEADER + NONCE_FIELD + b"\x00\x03\x00", "it ends inside a field"),
    ],
)
def test_a_malformed_hello_is_told(payload: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        decode_hello(payload)


@given(st.binary(max_size=120))
def test_anything_behind_the_header_is_a_hello_or_malformed(rest: bytes) -> None:
    try:
        hello = decode_hello(HEADER + rest)
    except ValueError:
        return
    assert hello is not None
    assert len(hello.nonce) == 16


@given(hellos, st.integers(0, 59))
def test_a_hello_that_was_cut_short_is_never_another_one(hello: Hello, length: int) -> None:
    try:
        cut = decode_hello(encode_hello(hello)[:length])
    except ValueError:
        return
    assert cut is None or cut.nonce == hello.nonce
