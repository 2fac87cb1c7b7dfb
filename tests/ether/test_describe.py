"""A frame in words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fethpipe.ether.describe import describe_frame

_HEAD = "ffffffffffff 02005e005301 "


def _ipv4(protocol: int, payload: str, *, fragment: str = "0000") -> str:
    total = 20 + len(bytes.fromhex(payload))
    return f"0800 4500{total:04x}0000{fragment}40{protocol:02x}0000 0a000001 0a000002 {payload}"


def _ipv6(protocol: int, payload: str) -> str:
    addresses = "fd000000000000000000000000000001 fd000000000000000000000000000002"
    length = len(bytes.fromhex(payload))
    return f"86dd 60000000{length:04x}{protocol:02x}40 {addresses} {payload}"


_TARGET = "fd000000000000000000000000000002"
_ARP = "0806 00010800060400{:02x} 02005e005301 0a000001 000000000000 0a000002"


@pytest.mark.parametrize(
    ("rest", "text"),
    [
        (_ARP.format(1), "ARP, who has 10.0.0.2, tell 10.0.0.1"),
        (_ARP.format(2), "ARP, 10.0.0.1 is at 02:00:5e:00:53:01"),
        (_ARP.format(3), "ARP, operation 3"),
        (_ipv4(1, "08000000 12340007"), "ICMP echo request id 4660 seq 7"),
        (_ipv4(1, "00000000 12340007"), "ICMP echo reply id 4660 seq 7"),
        (_ipv4(1, "03030000 00000000"), "ICMP destination unreachable"),
        (_ipv4(1, "2a010000 00000000"), "ICMP type 42 code 1"),
        (_ipv4(1, "0800"), "protocol 1, cut short"),
        (_ipv4(6, "0016c000 0000000000000000 5012"), "TCP 22 > 49152 [S.]"),
        (_ipv4(17, "00350035"), "UDP 53 > 53"),
        (_ipv4(47, ""), "protocol 47"),
        (_ipv4(17, "00350035", fragment="0002"), "fragment at 16"),
        (_ipv6(58, f"87000000 00000000 {_TARGET}"), "ICMPv6 neighbour solicitation fd00::2"),
        (_ipv6(58, "80000000 12340007"), "ICMPv6 echo request id 4660 seq 7"),
        (_ipv6(0, "3a00050200000000 8f000000 00000000"), "ICMPv6 multicast listener report"),
        (_ipv6(6, "0016c000 0000000000000000 5010"), "TCP 22 > 49152 [.]"),
        ("8100 0005 88b5", "vlan 5, ethertype 0x88b5"),
        ("88a8 0005 8100 2006 88b5", "s-vlan 5, vlan 6, ethertype 0x88b5"),
        ("8100", "ethertype 0x8100"),
        ("0026 424203", "802.3"),
        ("0800 4500001c", "ethertype 0x0800"),
    ],
)
def test_a_frame_is_told(rest: str, text: str) -> None:
    frame = bytes.fromhex(_HEAD + rest)
    told = describe_frame(frame)
    assert told.startswith("02:00:5e:00:53:01 > ff:ff:ff:ff:ff:ff, ")
    assert told.endswith(f"{text}, length {len(frame)}")


def test_what_is_no_frame_is_told_too() -> None:
    assert describe_frame(bytes(13)) == "13 bytes, too short for an Ethernet frame"


@given(st.sampled_from(["0806", "0800", "86dd", "8100", "0000"]), st.binary(max_size=80))
def test_any_bytes_have_a_description_of_one_line(kind: str, data: bytes) -> None:
    told = describe_frame(bytes.fromhex(_HEAD + kind) + data)
    assert told.isprintable()
