"""Framings, and the decoder that cuts a stream into payloads."""

from __future__ import annotations

import pytest

from fethpipe.errors import ProtocolError, TruncatedError
from fethpipe.wire.framing import FRAMINGS, Framing, RecordDecoder
from tests.wire.reference import check, encode

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


# ---- the table ----


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


# ---- decoding ----


@pytest.mark.parametrize(("stream", "decoded"), CASES.values(), ids=list(CASES))
def test_decoding(stream: str, decoded: list[str]) -> None:
    data, payloads = bytes.fromhex(stream), [*map(bytes.fromhex, decoded)]
    trailing = FRAMINGS["u16be"].encode([TRAILING])
    assert decode(FRAMINGS["u16be"], [data]) == payloads
    assert (
        decode(FRAMINGS["u16be"], [b"", *(data[i : i + 1] for i in range(len(data)))]) == payloads
    )
    assert decode(FRAMINGS["u16be"], [data + trailing[:5], trailing[5:]]) == [*payloads, TRAILING]


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


# ---- the end of the stream ----


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
