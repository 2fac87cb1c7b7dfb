"""Framings, and the decoder that cuts a stream into payloads."""

from __future__ import annotations

import struct
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fethpipe.errors import ProtocolError, TruncatedError
from fethpipe.wire.framing import FRAMINGS, Framing, RecordDecoder
from tests.strategies import chunked, corrupted, cut_streams, cuts, framings, payload_lists
from tests.wire.reference import SHAPES, check, encode, split

TRAILING = b"the record behind"

# What a stream looks like, in big-endian 16-bit framing, and its payloads.
CASES = {
    "nothing": ("", []),
    "one empty record": ("0000", [""]),
    "two empty records": ("0000 0000", ["", ""]),
    "one byte of payload": ("0001 61", ["61"]),
    "a payload that looks like a length": ("0002 0002", ["0002"]),
    "records of different lengths": ("0001 61 0003 626364 0002 6566", ["61", "626364", "6566"]),
    "an empty record between two others": ("0001 61 0000 0001 62", ["61", "", "62"]),
    "a length of which the first byte is not zero": ("0100" + "7a" * 256, ["7a" * 256]),
    "the longest record": ("ffff" + "7a" * 65535, ["7a" * 65535]),
}


def decode(framing: Framing, chunks: list[bytes]) -> list[bytes]:
    decoder = RecordDecoder(framing)
    decoded = [payload for chunk in chunks for payload in decoder.feed(chunk)]
    decoder.feed_eof()
    return decoded


def bytewise(stream: bytes) -> list[bytes]:
    return [stream[i : i + 1] for i in range(len(stream))]


# ---- the table ----


def test_the_table_has_the_framings_of_the_protocol() -> None:
    assert set(FRAMINGS) == set(SHAPES)


@pytest.mark.parametrize("name", FRAMINGS)
def test_lengths_have_the_form_of_the_protocol(name: str) -> None:
    framing = FRAMINGS[name]
    size, order, maximum = SHAPES[name]
    assert framing.name == name
    assert framing.maximum == maximum
    digits = maximum.to_bytes(size, "big")
    assert framing.prefix.pack(maximum) == (digits if order == "big" else digits[::-1])


def test_zerotier_has_the_byte_order_of_this_machine() -> None:
    assert FRAMINGS["zerotier"].prefix.pack(1) == struct.pack("@H", 1)
    assert SHAPES["zerotier"].order == sys.byteorder


def test_only_zerotier_has_commands() -> None:
    assert [name for name, framing in FRAMINGS.items() if framing.commands] == ["zerotier"]


# ---- encoding ----


@pytest.mark.parametrize(("stream", "decoded"), CASES.values(), ids=list(CASES))
def test_encoding(stream: str, decoded: list[str]) -> None:
    encoded = FRAMINGS["u16be"].encode(map(bytes.fromhex, decoded))
    assert encoded == bytes.fromhex(stream)


@pytest.mark.parametrize("name", FRAMINGS)
def test_the_longest_payload_fits_and_one_more_byte_does_not(name: str) -> None:
    framing = FRAMINGS[name]
    longest = bytes(framing.maximum)
    assert decode(framing, [framing.encode([longest])]) == [longest]
    with pytest.raises(ValueError, match=f"{framing.maximum + 1} bytes do not fit a {name} record"):
        framing.encode([b"fits", longest + b"\0"])


# ---- decoding, each case three ways ----


@pytest.mark.parametrize(("stream", "decoded"), CASES.values(), ids=list(CASES))
def test_decoding_a_whole_stream(stream: str, decoded: list[str]) -> None:
    assert decode(FRAMINGS["u16be"], [bytes.fromhex(stream)]) == [*map(bytes.fromhex, decoded)]


@pytest.mark.parametrize(("stream", "decoded"), CASES.values(), ids=list(CASES))
def test_decoding_byte_by_byte(stream: str, decoded: list[str]) -> None:
    chunks = bytewise(bytes.fromhex(stream))
    assert decode(FRAMINGS["u16be"], chunks) == [*map(bytes.fromhex, decoded)]


@pytest.mark.parametrize(("stream", "decoded"), CASES.values(), ids=list(CASES))
def test_decoding_with_trailing_data(stream: str, decoded: list[str]) -> None:
    decoder = RecordDecoder(FRAMINGS["u16be"])
    trailing = FRAMINGS["u16be"].encode([TRAILING])
    assert decoder.feed(bytes.fromhex(stream) + trailing[:5]) == [*map(bytes.fromhex, decoded)]
    assert decoder.buffered == 5
    assert decoder.feed(trailing[5:]) == [TRAILING]
    decoder.feed_eof()


def test_an_empty_chunk_changes_nothing() -> None:
    decoder = RecordDecoder(FRAMINGS["u16be"])
    assert decoder.feed(b"") == []
    assert decoder.feed(b"\0") == []
    assert decoder.feed(b"") == []
    assert decoder.feed(b"\x01a") == [b"a"]
    decoder.feed_eof()


def test_a_payload_comes_with_the_byte_that_completes_it() -> None:
    decoder = RecordDecoder(FRAMINGS["u32be"])
    arrivals = [decoder.feed(byte) for byte in bytewise(bytes.fromhex("00000000 00000001 61"))]
    assert arrivals == [[], [], [], [b""], [], [], [], [], [b"a"]]


# ---- impossible lengths ----


@pytest.mark.parametrize("length", [65614, 0x000E_FFFF, 0x4C61_7374, 0x8000_0000, 0xFFFF_FFFF])
@pytest.mark.parametrize("trailing", [b"", b"\0" * 9])
def test_an_impossible_length_is_refused_before_its_payload(length: int, trailing: bytes) -> None:
    decoder = RecordDecoder(FRAMINGS["u32be"])
    assert decoder.feed(b"\0\0\0\1a") == [b"a"]
    prefix = length.to_bytes(4, "big")
    assert decoder.feed(prefix[:3]) == []
    with pytest.raises(
        ProtocolError, match=f"a record of {length} bytes, but the maximum is 65613"
    ):
        decoder.feed(prefix[3:] + trailing)


@pytest.mark.parametrize("name", [name for name, shape in SHAPES.items() if shape.size == 2])
def test_no_length_of_16_bits_is_impossible(name: str) -> None:
    assert RecordDecoder(FRAMINGS[name]).feed(b"\xff\xff") == []


# ---- the end of the stream ----


@pytest.mark.parametrize("name", FRAMINGS)
def test_the_end_is_clean_on_record_boundaries_alone(name: str) -> None:
    framing = FRAMINGS[name]
    stream = framing.encode([b"", b"a", b"bcd"])
    size = framing.prefix.size
    boundaries = {0, size, 2 * size + 1, 3 * size + 4}
    for end in range(len(stream) + 1):
        decoder = RecordDecoder(framing)
        decoder.feed(stream[:end])
        if end in boundaries:
            decoder.feed_eof()
        else:
            with pytest.raises(TruncatedError, match="the stream ended inside a record"):
                decoder.feed_eof()


def test_a_truncated_record_tells_how_much_came() -> None:
    decoder = RecordDecoder(FRAMINGS["u16be"])
    decoder.feed(b"\0\x0eabc")
    with pytest.raises(TruncatedError, match="5 of at least 16 bytes came"):
        decoder.feed_eof()


# ---- runs of records of one length, which are cut at once ----

RUNS = {
    "empty records": [0] * 50,
    "single bytes": [1] * 50,
    "short of a run": [5] * 8 + [6],
    "just a run": [5] * 9 + [6],
    "more than one run": [5] * 300,
    "run after run": [5] * 20 + [6] * 20 + [0] * 20 + [5] * 20,
    "lengths that share their last byte": [0x105] * 12 + [5] * 12 + [0x205] * 12,
    "lengths that share their first byte": [0x105] * 12 + [0x106] * 12 + [0x107] * 12,
    "a run that one record breaks": [7] * 12 + [8] + [7] * 12,
    "no two alike": list(range(60)),
}


@pytest.mark.parametrize("name", FRAMINGS)
@pytest.mark.parametrize("lengths", RUNS.values(), ids=list(RUNS))
def test_runs(name: str, lengths: list[int]) -> None:
    payloads = [bytes((number % 256,)) * length for number, length in enumerate(lengths)]
    stream = encode(name, payloads)
    assert FRAMINGS[name].encode(payloads) == stream
    assert decode(FRAMINGS[name], [stream]) == payloads
    for cut in range(0, len(stream), 1 + len(stream) // 100):
        check(name, [stream[:cut], stream[cut:]])


# ---- any stream ----


@given(st.data(), framings(), cuts())
def test_what_is_encoded_is_decoded(
    data: st.DataObject, framing: Framing, positions: list[int]
) -> None:
    sent = data.draw(payload_lists(framing.maximum))
    assert decode(framing, chunked(framing.encode(sent), positions)) == sent


@given(framings(), st.binary(max_size=200), cuts())
def test_arbitrary_bytes_decode_as_the_reference_says(
    framing: Framing, stream: bytes, positions: list[int]
) -> None:
    check(framing.name, chunked(stream, positions))


@given(cut_streams())
def test_damaged_streams_decode_as_the_reference_says(
    drawn: tuple[Framing, list[bytes]],
) -> None:
    framing, chunks = drawn
    check(framing.name, chunks)


@given(st.data(), framings(), cuts())
def test_damage_leaves_what_came_before_it(
    data: st.DataObject, framing: Framing, positions: list[int]
) -> None:
    sent = data.draw(payload_lists(framing.maximum))
    stream = framing.encode(sent)
    damaged, intact = data.draw(corrupted(stream))
    decoder = RecordDecoder(framing)
    decoded = decoder.feed(damaged[:intact])
    try:
        for chunk in chunked(damaged[intact:], positions):
            decoded += decoder.feed(chunk)
        decoder.feed_eof()
    except ProtocolError:
        pass
    before = [payload for end, payload in split(framing.name, stream).records if end <= intact]
    assert decoded[: len(before)] == before == sent[: len(before)]


@given(cut_streams())
def test_no_more_is_held_than_one_incomplete_record(drawn: tuple[Framing, list[bytes]]) -> None:
    framing, chunks = drawn
    decoder = RecordDecoder(framing)
    for chunk in chunks:
        try:
            decoder.feed(chunk)
        except ProtocolError:
            break
        assert decoder.buffered < framing.prefix.size + framing.maximum


def test_a_long_stream_leaves_nothing_behind() -> None:
    framing = FRAMINGS["u16be"]
    decoder = RecordDecoder(framing)
    stream = framing.encode([bytes(1514)] * 1000)
    for start in range(0, len(stream), 1000):
        decoder.feed(stream[start : start + 1000])
        assert decoder.buffered < 1516
    assert decoder.buffered == 0
