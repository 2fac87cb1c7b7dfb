"""Datagrams that are joined: what a kernel would cut them into again is what came."""

from __future__ import annotations

import struct
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fethpipe.ether.checksum import ones_sum
from fethpipe.stats import Counters
from fethpipe.wire.coalesce import join_datagrams
from fethpipe.wire.offload import check_super_frames, find_fault
from fethpipe.wire.superframe import PLAIN, VNET, VNET_LENGTH

MACS = bytes.fromhex("020000000001 020000000002")
MISSING = VNET.pack(1, 0, 0, 0, 34, 6)
SOURCE, DESTINATION = bytes((10, 9, 0, 1)), bytes((10, 9, 0, 2))
DONT_FRAGMENT = 0x4000


def datagram(
    data: bytes,
    number: int = 0,
    *,
    port: int = 7,
    fragment: int = DONT_FRAGMENT,
    protocol: int = 17,
    header: bytes = MISSING,
    behind: bytes = b"",
) -> bytes:
    """Return a super-frame with one datagram whose checksum is missing."""
    length = 8 + len(data)
    ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + length, number, fragment, 64, protocol, 0)
    ip += SOURCE + DESTINATION
    ip = ip[:10] + struct.pack(">H", ~ones_sum(ip) & 0xFFFF) + ip[12:]
    pseudo = ones_sum(SOURCE + DESTINATION + bytes((0, protocol)) + struct.pack(">H", length))
    udp = struct.pack(">HHHH", 1, port, length, pseudo)
    return header + MACS + b"\x08\x00" + ip + udp + data + behind


def cut(packet: bytes) -> list[bytes]:
    """Cut a super-frame of datagrams apart, as a kernel does."""
    flags, kind, head, size, start, offset = VNET.unpack_from(packet)
    if kind == 0:
        return [packet]
    assert (flags, kind, head, start, offset) == (1, 5, 42, 34, 6)
    frame = packet[VNET_LENGTH:]
    ip, udp, data = frame[14:34], frame[34:42], frame[42:]
    assert ones_sum(ip) == 0xFFFF
    total, number, fragment = struct.unpack_from(">HHH", ip, 2)
    assert total == len(frame) - 14
    _, port, length, check = struct.unpack(">HHHH", udp)
    assert length == total - 20
    assert check == ones_sum(ip[12:] + bytes((0, 17)) + udp[4:6])
    assert len(data) % size == 0
    numbers = count(number)
    return [
        datagram(data[at : at + size], next(numbers) & 0xFFFF, port=port, fragment=fragment)
        for at in range(0, len(data), size)
    ]


def anonymous(packets: list[bytes]) -> list[bytes]:
    """Return datagrams without their identification, which need not survive."""
    return [packet[:28] + bytes(2) + packet[30:34] + bytes(2) + packet[36:] for packet in packets]


def received(packets: list[bytes]) -> list[bytes]:
    """Return what comes out at the far side, having asserted that a kernel may see it."""
    counters = Counters()
    joined = check_super_frames(packets, counters, join=join_datagrams)
    assert not counters.drops
    assert [find_fault(packet) for packet in joined] == [""] * len(joined)
    return [datagram for packet in joined for datagram in cut(bytes(packet))]


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(1, 300), st.integers(1, 140)),
        min_size=1,
        max_size=6,
    )
)
def test_what_was_joined_is_cut_into_what_came(runs: list[tuple[int, int, int]]) -> None:
    packets = [
        datagram(bytes((number,)) * size, number, port=port)
        for port, size, length in runs
        for number in range(length)
    ]
    assert anonymous(received(packets)) == anonymous(packets)


@pytest.mark.parametrize(("size", "most"), [(1, 64), (64, 64), (1472, 44), (8192, 7)])
def test_as_few_as_a_kernel_takes(size: int, most: int) -> None:
    packets = [datagram(bytes(size), number) for number in range(2 * most)]
    assert len(join_datagrams(packets)) == 2
    assert received(packets) == packets


def test_few_are_not_worth_it() -> None:
    packets = [datagram(b"data", number) for number in range(2)]
    assert join_datagrams(packets) == packets
    packets = [datagram(b"data", number) for number in range(66)]
    assert [len(cut(bytes(packet))) for packet in join_datagrams(packets)] == [64, 1, 1]


@pytest.mark.parametrize(
    "packets",
    [
        [datagram(b"data", fragment=0)] * 9,
        [datagram(b"data", protocol=6)] * 9,
        [datagram(b"")] * 9,
        [datagram(b"data", header=PLAIN)] * 9,
        [datagram(b"data", behind=b"behind")] * 9,
        [datagram(b"data"), datagram(b"data") + b"behind", datagram(b"data")] * 3,
        [datagram(b"data", port=port) for port in range(9)],
        [datagram(b"data" * (size + 1)) for size in range(9)],
    ],
    ids=[
        "may be fragmented",
        "not UDP",
        "no data",
        "with its checksum",
        "something behind",
        "something behind one",
        "other flows",
        "other sizes",
    ],
)
def test_others_are_left_as_they_are(packets: list[bytes]) -> None:
    counters = Counters()
    checked = check_super_frames(packets, counters, join=join_datagrams)
    assert not any(packet[1] for packet in checked)
    assert len(checked) + sum(counters.drops.values()) == len(packets)


def test_nothing_is_joined_for_a_device_that_cannot_cut() -> None:
    packets = [datagram(b"data", number) for number in range(9)]
    assert check_super_frames(packets, Counters()) == packets


def test_a_faulty_one_among_many_is_dropped() -> None:
    packets = [datagram(bytes((number,)), number) for number in range(9)]
    packets[4] = b"\x07" + packets[4][1:]
    counters = Counters()
    checked = check_super_frames(packets, counters, join=join_datagrams)
    left = [each for packet in checked for each in cut(bytes(packet))]
    assert anonymous(left) == anonymous(packets[:4] + packets[5:])
    assert counters.drops == {"super-frame with unknown flags": 1}
