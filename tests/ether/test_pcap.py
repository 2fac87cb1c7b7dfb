"""The bytes of a capture, held against the format's own description."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fethpipe.ether.pcap import FILE_HEADER, SNAP_LENGTH, PcapDecoder, Record, pack_records


def test_the_file_starts_as_nanosecond_pcap_of_ethernet() -> None:
    assert FILE_HEADER.hex(" ", 4) == "4d3cb2a1 02000400 00000000 00000000 00000400 01000000"


def test_a_record_has_its_time_and_both_lengths() -> None:
    packed = pack_records([bytes(14)], 1_700_000_000_123_456_789)
    assert packed == bytes.fromhex("00f15365 15cd5b07 0e000000 0e000000") + bytes(14)


def test_the_longest_frame_is_not_cut() -> None:
    frame = bytes(65535 + 14)
    assert len(frame) < SNAP_LENGTH
    assert pack_records([frame], 0)[16:] == frame


# ---- reading ----


def _file(order: str, magic: int, fraction: int, frame: bytes, *, whole: int = 0) -> bytes:
    header = struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, 65535, 1)
    length = whole or len(frame)
    return header + struct.pack(f"{order}IIII", 1, fraction, len(frame), length) + frame


def _read(file: bytes) -> list[Record]:
    decoder = PcapDecoder()
    records = decoder.feed(file)
    decoder.feed_eof()
    return records


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("magic", [0xA1B2C3D4, 0xA1B23C4D])
def test_files_of_every_form_are_read(order: str, magic: int) -> None:
    file = _file(order, magic, 5, b"a frame", whole=99)
    assert _read(file) == [Record(b"a frame", 99)]


@given(st.lists(st.binary(max_size=60), max_size=20), st.lists(st.integers(0, 1600), max_size=8))
def test_the_same_records_come_out_however_it_is_cut(frames: list[bytes], cuts: list[int]) -> None:
    file = FILE_HEADER + pack_records(frames, 7)
    decoder = PcapDecoder()
    found = []
    places = sorted({0, *(min(cut, len(file)) for cut in cuts), len(file)})
    for start, stop in zip(places, places[1:]):
        found += decoder.feed(file[start:stop])
    decoder.feed_eof()
    assert found == [Record(frame, len(frame)) for frame in frames]


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (b"", "not a pcap file: too short"),
        (FILE_HEADER[:-1], "not a pcap file: too short"),
        (b"GIF89a" + bytes(30), "not a pcap file"),
        (b"\x0a\x0d\x0d\x0a" + bytes(30), "a pcapng file, not a pcap file"),
        (FILE_HEADER[:20] + b"\x71\0\0\0", "its link type is 113, not Ethernet"),
        (FILE_HEADER + bytes(8) + b"\xff" * 8, "a record of 4294967295 bytes"),
        (FILE_HEADER + bytes(15), "the file ends inside a record"),
        (_file("<", 0xA1B2C3D4, 0, b"frame")[:-1], "the file ends inside a record"),
    ],
)
def test_what_is_no_such_file_is_refused(file: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        _read(file)


@given(st.binary(max_size=200))
def test_any_bytes_give_records_or_valueerror(data: bytes) -> None:
    with suppress(ValueError):
        _read(FILE_HEADER + data)


@pytest.mark.parametrize("nanoseconds", [-(1 << 62), -1, 1 << 62, 1 << 70])
def test_a_clock_that_is_wrong_costs_no_frame(nanoseconds: int) -> None:
    assert _read(FILE_HEADER + pack_records([bytes(60)], nanoseconds)) == [Record(bytes(60), 60)]
