"""Make an IPv4 UDP datagram and check its checksum, as the self-test needs it."""

from __future__ import annotations

import ipaddress
import struct

from .checksum import checksum

_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_UDP = struct.Struct("!HHHH")
_UDP_PROTOCOL = 17
_TTL = 64
_ETHERNET = 14


def make_datagram(
    payload: bytes, *, macs: tuple[bytes, bytes], addresses: tuple[str, str], ports: tuple[int, int]
) -> bytes:
    """Return a frame with a UDP datagram. Each pair is (source, destination).

    It has no UDP checksum, which IPv4 allows (RFC 768).
    """
    source, destination = (ipaddress.IPv4Address(address).packed for address in addresses)
    udp = _UDP.pack(*ports, _UDP.size + len(payload), 0) + payload
    fields = (0x45, 0, _IPV4.size + len(udp), 0, 0, _TTL, _UDP_PROTOCOL)
    head = _IPV4.pack(*fields, 0, source, destination)
    head = _IPV4.pack(*fields, checksum(head), source, destination)
    return macs[1] + macs[0] + b"\x08\x00" + head + udp


def has_whole_checksum(frame: bytes) -> bool:
    """Return whether an unfragmented IPv4 frame has a UDP checksum, and the correct one."""
    start = _ETHERNET + 4 * (frame[_ETHERNET] & 15)
    length = struct.unpack_from("!H", frame, _ETHERNET + 2)[0] - (start - _ETHERNET)
    udp = frame[start : start + length]
    pseudo = frame[_ETHERNET + 12 : _ETHERNET + 20] + struct.pack("!HH", _UDP_PROTOCOL, length)
    return udp[6:8] != b"\0\0" and checksum(pseudo + udp) == 0
