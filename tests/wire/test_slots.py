"""Records that are filled in place are the records that encoding would make."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fethpipe.wire.framing import FRAMINGS, SUPER_FRAMES, Framing
from fethpipe.wire.slots import RecordSlots
from tests.fakes import scatter

framings = st.sampled_from([*FRAMINGS.values(), SUPER_FRAMES])


@given(framings, st.integers(1, 9000), st.sampled_from([0, 10]), st.data())
def test_they_are_what_encode_makes(
    framing: Framing, length: int, skipped: int, data: st.DataObject
) -> None:
    slots = RecordSlots(framing.encode_length(length), length, skipped=skipped)
    most = len(slots.buffers)
    for _ in range(2):  # the second time over what the first one left
        count = data.draw(st.integers(0, most))
        seeds = data.draw(
            st.lists(st.binary(min_size=1, max_size=9), min_size=count, max_size=count)
        )
        packets = [(seed * (skipped + length))[: skipped + length] for seed in seeds]
        for packet, buffers in zip(packets, slots.buffers):
            scatter(packet, buffers)
        payloads = [packet[skipped:] for packet in packets]
        assert bytes(slots.records(count)) == framing.encode(payloads)
        assert slots.skipped_bytes(count) == b"".join(packet[:skipped] for packet in packets)
        for index, packet in enumerate(packets):
            assert slots.packet(index, len(packet)) == packet


@given(st.integers(256, 2000), st.sampled_from([0, 10]), st.integers(0, 20), st.integers(1, 65590))
def test_one_of_another_length_is_returned_whole(
    length: int, skipped: int, index: int, size: int
) -> None:
    slots = RecordSlots(SUPER_FRAMES.encode_length(length), length, skipped=skipped)
    index %= len(slots.buffers)
    before = [bytes(part) for buffers in slots.buffers[:index] for part in buffers[:-1]]
    packet = bytes(range(251)) * 262
    scatter(packet[:size], slots.buffers[index])
    assert slots.packet(index, size) == packet[:size]
    assert [bytes(part) for buffers in slots.buffers[:index] for part in buffers[:-1]] == before


@pytest.mark.parametrize("length", [1, 256])
def test_there_is_room_for_the_longest_packet_of_a_tap(length: int) -> None:
    for buffers in RecordSlots(FRAMINGS["u16be"].encode_length(length), length).buffers:
        assert sum(map(len, buffers)) >= 10 + 14 + 8 + 65535


@pytest.mark.parametrize("length", [1, 64, 1514, 9014, 65535])
def test_a_row_is_short(length: int) -> None:
    slots = RecordSlots(FRAMINGS["u16be"].encode_length(length), length)
    assert 2 <= len(slots.buffers) <= 128
    assert len(slots.records(len(slots.buffers))) <= max(1 << 15, 2 * (2 + 65535)) + 2 * 128
