"""The bytes of a capture, held against the format's own description."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from fethpipe.wire.pcap import FILE_HEADER, SNAP_LENGTH, pack_records


def test_the_file_starts_as_nanosecond_pcap_of_ethernet() -> None:
    assert FILE_HEADER.hex(" ", 4) == "4d3cb2a1 02000400 00000000 00000000 00000400 01000000"


def test_a_record_has_its_time_and_both_lengths() -> None:
    packed = pack_records([bytes(14)], 1_700_000_000_123_456_789)
    assert packed == bytes.fromhex("00f15365 15cd5b07 0e000000 0e000000") + bytes(14)


@given(st.lists(st.binary(min_size=14, max_size=200)), st.integers(0, 2**32 * 10**9 - 1))
def test_what_is_packed_can_be_read_back(frames: list[bytes], time: int) -> None:
    packed = pack_records(frames, time)
    found = []
    while packed:
        seconds, fraction, here, whole = struct.unpack_from("<IIII", packed)
        assert (seconds * 10**9 + fraction, here) == (time, whole)
        found.append(packed[16 : 16 + here])
        packed = packed[16 + here :]
    assert found == frames


def test_the_longest_frame_is_not_cut() -> None:
    frame = bytes(65535 + 14)
    assert len(frame) < SNAP_LENGTH
    assert pack_records([frame], 0)[16:] == frame
