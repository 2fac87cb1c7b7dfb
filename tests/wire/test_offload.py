"""Super-frames: which virtio headers a kernel may see."""

from __future__ import annotations

import struct
from typing import NamedTuple

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from fethpipe.stats import Counters
from fethpipe.wire.coalesce import join_datagrams
from fethpipe.wire.offload import (
    SegmentLimit,
    add_headers,
    check_super_frames,
    find_fault,
    needs_no_offload,
    strip_headers,
)
from fethpipe.wire.superframe import DATA_VALID, NEEDS_CHECKSUM, PLAIN

TCP, UDP = 6, 17
_TOO_LONG = "super-frame with segments too long for the device"
MACS = bytes.fromhex("020000000001 020000000002")
CHECKSUMS = {TCP: 16, UDP: 6}


class Frame(NamedTuple):
    """A frame of TCP or UDP, and what a virtio header may say of it."""

    version: int
    protocol: int
    frame: bytes
    transport: int
    data: int

    @property
    def size(self) -> int:
        """Bytes of data."""
        return len(self.frame) - self.data


def header(flags: int = 1, *rest: int, start: int = 0, offset: int = 0) -> bytes:
    """Return a virtio header; ``rest`` are the fields behind the flags, or nothing is in them but
    the place of the checksum.
    """
    return struct.pack("<BBHHHH", flags, *(rest or (0, 0, 0, start, offset)))


def build(
    version: int,
    protocol: int,
    data: bytes = b"data",
    *,
    tags: bytes = b"",
    options: bytes = b"",
    tcp_options: bytes = b"",
) -> Frame:
    """Return a frame; ``options`` are those of IPv4, or the extension headers of IPv6."""
    if protocol == TCP:
        words = 5 + len(tcp_options) // 4
        transport = struct.pack("!HHIIBBHHH", 1, 2, 3, 4, words << 4, 16, 5, 6, 0) + tcp_options
    else:
        transport = struct.pack("!HHHH", 1, 2, 8 + len(data), 0)
    payload = transport + data
    if version == 4:
        length = 20 + len(options)
        network = struct.pack(
            "!BBHHHBBHII", 0x40 | length // 4, 0, length + len(payload), 1, 0x4000, 64, protocol,
            0, 0x0A090001, 0x0A090002,
        )  # fmt: skip
    else:
        following = 60 if options else protocol
        network = struct.pack("!IHBB", 6 << 28, len(options) + len(payload), following, 64)
        network += bytes(32)
        if options:
            options = bytes((protocol, len(options) // 8 - 1)) + options[2:]
    kind = b"\x08\x00" if version == 4 else b"\x86\xdd"
    start = MACS + tags + kind + network + options
    return Frame(
        version, protocol, start + payload, len(start), len(start) + len(payload) - len(data)
    )


@st.composite
def frames(draw: st.DrawFn) -> Frame:
    version = draw(st.sampled_from([4, 6]))
    tag = st.sampled_from([bytes.fromhex("81000005"), bytes.fromhex("88a80064")])
    return build(
        version,
        draw(st.sampled_from([TCP, UDP])),
        bytes(draw(st.integers(0, 3000))),
        tags=b"".join(draw(st.lists(tag, max_size=2))),
        options=bytes(draw(st.integers(0, 4)) * (4 if version == 4 else 8)),
        tcp_options=bytes(4 * draw(st.integers(0, 10))),
    )


def may_pass(frame: Frame, flags: int, kind: int, head: int, size: int, *checksum: int) -> bool:
    """Return what the check has to say, from how the frame was built."""
    if flags in (0, 2):
        return not any((kind, head, size, *checksum))
    if flags != 1 or checksum != (frame.transport, CHECKSUMS[frame.protocol]):
        return False
    if kind == 0:
        return head == size == 0
    if not frame.size or not frame.data <= head <= len(frame.frame):
        return False
    if frame.protocol == UDP:
        return kind == 5 and size > 0 and (frame.size + size - 1) // size <= 128
    return kind & 0x7F == {4: 1, 6: 4}[frame.version] and size >= 8


@given(frames())
def test_a_missing_checksum_in_its_place_passes(frame: Frame) -> None:
    right = header(start=frame.transport, offset=CHECKSUMS[frame.protocol])
    assert find_fault(right + frame.frame) == ""


@given(frames(), st.data())
def test_every_field_has_to_be_right(frame: Frame, data: st.DataObject) -> None:
    """Draw each field right more often than not, and anything else."""
    fields = [
        data.draw(st.one_of(st.sampled_from(usual), st.integers(0, most)))
        for usual, most in (
            ([1, 1, 1, 0, 2], 255),
            ([0, 1, 4, 5, 0x81, 0x84], 255),
            ([0, frame.data, frame.data - 1, len(frame.frame), len(frame.frame) + 1], 0xFFFF),
            ([0, 1, 7, 8, 1448], 0xFFFF),
            ([0, frame.transport], 0xFFFF),
            ([0, CHECKSUMS[frame.protocol]], 0xFFFF),
        )
    ]
    packet = struct.pack("<BBHHHH", *fields) + frame.frame
    assert (find_fault(packet) == "") == may_pass(frame, *fields)
    assert find_fault(memoryview(packet)) == find_fault(packet)


@given(frames(), st.integers(1, 0xFF), st.data())
def test_a_damaged_frame_is_judged_and_never_a_crash(
    frame: Frame, difference: int, data: st.DataObject
) -> None:
    packet = bytearray(header(1, 1, frame.data, 1448, frame.transport, 16) + frame.frame)
    packet[data.draw(st.integers(0, len(packet) - 1))] ^= difference
    cut = data.draw(st.integers(0, len(packet)))
    assert isinstance(find_fault(bytes(packet[:cut])), str)


@given(st.binary(max_size=100))
@example(header(0) + MACS)
@example(header(1, start=34, offset=16) + MACS + b"\x08\x00\x45" + bytes(60))
@example(header(1) + MACS + b"\x81\x00" * 30)
@example(header(1) + MACS + b"\x86\xdd\x60" + bytes(5) + bytes(60))
def test_no_bytes_are_a_crash(packet: bytes) -> None:
    assert find_fault(memoryview(packet)) == find_fault(packet)


@given(frames(), st.data())
def test_a_header_that_was_cut_short_does_not_pass(frame: Frame, data: st.DataObject) -> None:
    right = header(start=frame.transport, offset=CHECKSUMS[frame.protocol])
    needed = frame.transport + {TCP: 20, UDP: 8}[frame.protocol]
    cut = data.draw(st.integers(0, needed - 1))
    assert find_fault(right + frame.frame[:cut]) != ""


SEGMENTS = build(4, TCP, bytes(3000))
FULL = header(1, 1, SEGMENTS.data, 1448, SEGMENTS.transport, 16)


@pytest.mark.parametrize(
    ("packet", "fault"),
    [
        (b"", "shorter than an Ethernet header"),
        (PLAIN + MACS + b"\x08", "shorter than an Ethernet header"),
        (header(4) + SEGMENTS.frame, "unknown flags"),
        (header(3, 0, 0, 0, 34, 16) + SEGMENTS.frame, "unknown flags"),
        (header(0, 1, 54, 1448, 0, 0) + SEGMENTS.frame, "without a missing checksum"),
        (header(0, start=34, offset=16) + SEGMENTS.frame, "without a missing checksum"),
        (FULL + MACS + b"\x08\x06" + bytes(60), "without TCP or UDP"),
        (FULL + SEGMENTS.frame[:40], "without TCP or UDP"),
        (header(1, 1, 54, 1448, 34, 6) + SEGMENTS.frame, "misplaced checksum"),
        (header(1, 1, 54, 1448, 14, 16) + SEGMENTS.frame, "misplaced checksum"),
        (header(1, 4, 54, 1448, 34, 16) + SEGMENTS.frame, "unknown segments"),
        (header(1, 3, 54, 1448, 34, 16) + SEGMENTS.frame, "unknown segments"),
        (header(1, 1, 53, 1448, 34, 16) + SEGMENTS.frame, "another length"),
        (header(1, 1, 54, 1448, 34, 16) + SEGMENTS.frame + b"\0", "another length"),
        (header(1, 1, 54, 7, 34, 16) + SEGMENTS.frame, "senseless segments"),
        (header(1, 0, 54, 0, 34, 16) + SEGMENTS.frame, "without segments"),
    ],
)
def test_what_is_wrong_is_told(packet: bytes, fault: str) -> None:
    assert fault in find_fault(packet)


def test_segments_are_no_longer_than_what_the_device_takes() -> None:
    frame = build(4, TCP, bytes(40000)).frame
    asked = []

    def ask() -> int:
        asked.append(1)
        return 1518 if len(asked) < 3 else 9018

    limit = SegmentLimit(ask)
    for size, fault in ((1464, ""), (1465, _TOO_LONG), (8964, ""), (9964, _TOO_LONG)):
        packet = header(1, 1, 54, size, 34, 16) + frame
        assert find_fault(packet, limit) == fault, size
        assert find_fault(packet) == ""
    assert len(asked) == 4


def test_datagrams_that_are_too_long_are_not_joined() -> None:
    packet = header(1, start=34, offset=6) + build(4, UDP, bytes(2000)).frame
    packets = [packet] * 3
    for longest, joined in ((2042, 1), (2041, 3)):
        limit = SegmentLimit(lambda: longest)  # noqa: B023 - asked at once
        assert (
            len(check_super_frames(packets, Counters(), join=join_datagrams, limit=limit)) == joined
        )


@pytest.mark.parametrize("byte", [6, 7], ids=["more fragments", "a later fragment"])
def test_a_fragment_lacks_no_checksum(byte: int) -> None:
    frame = bytearray(build(4, UDP).frame)
    frame[14 + byte] |= 0x20 if byte == 6 else 1
    assert find_fault(header(start=34, offset=6) + bytes(frame)) == "super-frame without TCP or UDP"


def test_the_wrong_ones_are_dropped_and_counted() -> None:
    counters = Counters()
    good, bad = FULL + SEGMENTS.frame, header(4) + SEGMENTS.frame
    assert check_super_frames([good, bad, good, b"", bad], counters) == [good, good]
    assert counters.drops == {
        "super-frame with unknown flags": 2,
        "shorter than an Ethernet header": 1,
    }


@pytest.mark.parametrize(("count", "fault"), [(8, ""), (9, "super-frame without TCP or UDP")])
def test_tags_without_end_are_not_skipped_for_ever(count: int, fault: str) -> None:
    frame = build(4, TCP, tags=bytes.fromhex("8100 0001") * count)
    assert find_fault(header(start=frame.transport, offset=16) + frame.frame) == fault


@given(st.lists(st.binary(min_size=14, max_size=100)))
def test_plain_frames_are_super_frames_and_back(plain: list[bytes]) -> None:
    counters = Counters()
    packets = add_headers(plain)
    assert check_super_frames(packets, counters) == packets
    assert strip_headers(packets, counters) == plain
    assert not counters.drops


@given(st.lists(st.tuples(st.binary(min_size=10, max_size=10), st.binary(max_size=30))))
def test_what_is_not_whole_never_becomes_a_plain_frame(packets: list[tuple[bytes, bytes]]) -> None:
    assume(packets)
    counters = Counters()
    plain = strip_headers([head + frame for head, frame in packets], counters)
    whole = [frame for head, frame in packets if not head[0] & 1 and not head[1]]
    assert plain == whole
    assert sum(counters.drops.values()) == len(packets) - len(whole)
    if needs_no_offload(b"".join(head for head, _ in packets)):
        assert not counters.drops


@pytest.mark.parametrize("count", [1, 2, 20])
def test_headers_that_leave_nothing_to_do(count: int) -> None:
    good, known = PLAIN, header(DATA_VALID)
    for each in (good, known):
        assert needs_no_offload(each * count)
        for bad in (
            header(NEEDS_CHECKSUM),
            header(DATA_VALID | NEEDS_CHECKSUM),
            b"\0\1" + bytes(8),
        ):
            assert not needs_no_offload(bad + each * (count - 1))
            assert not needs_no_offload(each * (count - 1) + bad)
            assert not needs_no_offload(each * count + bad + each * count)
