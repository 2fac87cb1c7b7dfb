"""Frames are chosen by EtherType, host and port."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fethpipe.ether.match import Match

_HEAD = bytes(12)
_MAC, _HOSTS = "000000000000", "0a000001 0a000002"
_ARP = _HEAD + bytes.fromhex(f"0806 0001 0800 06 04 0001 {_MAC} 0a000001 {_MAC} 0a000002")
_UDP4 = _HEAD + bytes.fromhex(f"0800 45 00 0000 0000 0000 40 11 0000 {_HOSTS} 0035 1000")
_FRAGMENT = _HEAD + bytes.fromhex(f"0800 45 00 0000 0000 0001 40 11 0000 {_HOSTS} 0035 1000")
_TCP6 = (
    _HEAD
    + bytes.fromhex("8100 0007 86dd 60000000 0000 00 40")
    + ip_address("fd00::1").packed
    + ip_address("fd00::2").packed
    + bytes.fromhex("06 00 000000000000 1000 0016")  # hop-by-hop options, then TCP to 22
)


@pytest.mark.parametrize(
    ("match", "frames"),
    [
        (Match(), [_ARP, _UDP4, _FRAGMENT, _TCP6]),
        (Match(kind=0x0806), [_ARP]),
        (Match(kind=0x86DD), [_TCP6]),
        (Match(host=ip_address("10.0.0.2")), [_ARP, _UDP4, _FRAGMENT]),
        (Match(host=ip_address("10.0.0.1")), [_ARP, _UDP4, _FRAGMENT]),
        (Match(host=ip_address("fd00::2")), [_TCP6]),
        (Match(port=0x35), [_UDP4]),
        (Match(port=22), [_TCP6]),
        (Match(port=0x1000), [_UDP4, _TCP6]),
        (Match(kind=0x0800, host=ip_address("10.0.0.2"), port=0x1000), [_UDP4]),
        (Match(host=ip_address("10.0.0.3")), []),
    ],
)
def test_what_fits(match: Match, frames: list[bytes]) -> None:
    assert [frame for frame in (_ARP, _UDP4, _FRAGMENT, _TCP6) if match.fits(frame)] == frames


@given(st.binary(min_size=14, max_size=80))
def test_any_frame_can_be_asked(frame: bytes) -> None:
    Match(0x0800, ip_address("10.0.0.1"), 1).fits(frame)
    Match(port=1).fits(frame)
