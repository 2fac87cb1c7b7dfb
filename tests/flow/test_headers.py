"""Which flow a frame belongs to, and how it is marked."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fethpipe.ether.checksum import ones_sum
from fethpipe.flow.headers import find_ip, flow_key, mark
from tests.flow.packets import frame, ipv4, ipv6, ports

VLAN = bytes.fromhex("81000005")
QINQ = bytes.fromhex("88a80007") + VLAN
VXLAN_PORT, GRE, IP_IN_IP, ESP = 4789, 47, 4, 50


def fragment_header(protocol: int, number: int) -> bytes:
    return struct.pack(">BBHI", protocol, 0, 1, number)


A, B = ports(1000), ports(1001)
DIFFERENT = {
    "TCP over IPv4": (frame(ipv4(A)), frame(ipv4(B))),
    "TCP and UDP": (frame(ipv4(A)), frame(ipv4(A, protocol=17))),
    "behind a VLAN tag": (frame(ipv4(A), tags=VLAN), frame(ipv4(B), tags=VLAN)),
    "behind two tags": (frame(ipv4(A), tags=QINQ), frame(ipv4(B), tags=QINQ)),
    "IPv6": (frame(ipv6(A), kind=0x86DD), frame(ipv6(B), kind=0x86DD)),
    "IPv6 with options": (
        frame(ipv6(b"\6\0" + bytes(6) + A, protocol=0), kind=0x86DD),
        frame(ipv6(b"\6\0" + bytes(6) + B, protocol=0), kind=0x86DD),
    ),
    "IP in IP": (
        frame(ipv4(ipv4(A), protocol=IP_IN_IP)),
        frame(ipv4(ipv4(B), protocol=IP_IN_IP)),
    ),
    "Ethernet in GRE with a key": (
        frame(ipv4(b"\x20\0\x65\x58\0\0\0\1" + frame(ipv4(A)), protocol=GRE)),
        frame(ipv4(b"\x20\0\x65\x58\0\0\0\1" + frame(ipv4(B)), protocol=GRE)),
    ),
    "ESP": (frame(ipv4(A, protocol=ESP)), frame(ipv4(B, protocol=ESP))),
    "two datagrams in fragments": (
        frame(ipv4(A, fragment=1, number=1)),
        frame(ipv4(A, fragment=1, number=2)),
    ),
    "ARP and LLDP": (frame(bytes(28), kind=0x0806), frame(bytes(28), kind=0x88CC)),
}
SAME = {
    "options of IPv4 are no part of it": (
        frame(ipv4(A, service=0)),
        frame(ipv4(A + b"more", service=2)),
    ),
    "all fragments of a datagram": (
        frame(ipv4(A, protocol=17, fragment=0x2000)),
        frame(ipv4(B, protocol=17, fragment=185)),
    ),
    "all fragments of IPv6": (
        frame(ipv6(fragment_header(17, 9) + A, protocol=44), kind=0x86DD),
        frame(ipv6(fragment_header(17, 9) + B, protocol=44), kind=0x86DD),
    ),
    "ARP": (frame(b"a" * 28, kind=0x0806), frame(b"b" * 28, kind=0x0806)),
}


@pytest.mark.parametrize("case", DIFFERENT)
def test_two_flows(case: str) -> None:
    one, other = DIFFERENT[case]

    assert flow_key(one) != flow_key(other)
    assert flow_key(bytes(10) + one, 10) == flow_key(one)


@pytest.mark.parametrize("case", SAME)
def test_one_flow(case: str) -> None:
    one, other = SAME[case]

    assert flow_key(one) == flow_key(other)


@given(st.binary(max_size=120), st.sampled_from([0, 10]))
def test_whatever_is_cut_off_has_a_flow(data: bytes, skipped: int) -> None:
    kinds = b"\x08\0\x45", b"\x86\xdd\x60", b"\x81\0\0\1\x08\0\x46"
    for kind in kinds:
        for length in range(0, 60, 7):
            cut = (bytes(skipped + 12) + kind + data)[: skipped + 12 + length]
            assert isinstance(flow_key(cut, skipped), bytes)
            mark(cut, skipped)


@pytest.mark.parametrize("tags", [b"", VLAN])
@pytest.mark.parametrize("skipped", [0, 10])
@given(st.integers(0, 63), st.sampled_from([1, 2, 3]), st.integers(0, 0xFFFF))
def test_a_mark_keeps_the_checksum(
    skipped: int, tags: bytes, service: int, ecn: int, number: int
) -> None:
    packet = ipv4(A, service=service << 2 | ecn, number=number)

    marked = mark(bytes(skipped) + frame(packet, tags=tags), skipped)

    assert marked is not None
    header = marked[skipped + 14 + len(tags) :][:20]
    assert header[1] == service << 2 | 3
    assert ones_sum(header) == 0xFFFF
    assert marked[-20:] == A


def test_a_mark_in_ipv6() -> None:
    marked = mark(frame(ipv6(A, service=0xB9), kind=0x86DD))

    assert marked == frame(ipv6(A, service=0xBB), kind=0x86DD)


@pytest.mark.parametrize(
    "plain",
    [frame(ipv4(A)), frame(ipv6(A), kind=0x86DD), frame(bytes(28), kind=0x0806), b"short"],
)
def test_what_knows_no_marks_gets_none(plain: bytes) -> None:
    assert mark(plain) is None


def test_the_example_of_rfc_1624() -> None:
    """Its section 4: with the other form of the equation, this sum would come out as zero."""
    # A header whose checksum becomes 0x0000 after the mark: the sum of the rest is 0xFFFF.
    head = bytearray(ipv4(A, service=1))
    for number in range(0x10000):
        struct.pack_into(">H", head, 4, number)
        struct.pack_into(">H", head, 10, 0)
        if ones_sum(bytes(head[:20])) == 0xFFFD:
            break
    struct.pack_into(">H", head, 10, 0xFFFF - ones_sum(bytes(head[:20])))

    marked = mark(frame(bytes(head)))

    assert marked is not None
    assert ones_sum(marked[14:34]) == 0xFFFF
    assert find_ip(marked) is not None
