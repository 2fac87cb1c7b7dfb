"""Frames of many kinds, as queues meet them."""

from __future__ import annotations

import struct

from fethpipe.ether.checksum import ones_sum

MACS = b"\2\0\0\0\0\1\2\0\0\0\0\2"


def ipv4(
    payload: bytes = b"", *, protocol: int = 6, service: int = 0, fragment: int = 0, number: int = 1
) -> bytes:
    """Return an IPv4 packet with a right checksum."""
    addresses = bytes((10, 0, 0, 1, 10, 0, 0, 2))
    fields = (0x45, service, 20 + len(payload), number, fragment, 64, protocol)
    head = struct.pack(">BBHHHBBH", *fields, 0) + addresses
    return struct.pack(">BBHHHBBH", *fields, 0xFFFF - ones_sum(head)) + addresses + payload


def ipv6(payload: bytes = b"", *, protocol: int = 6, service: int = 0) -> bytes:
    """Return an IPv6 packet."""
    head = struct.pack(">IHBB", 6 << 28 | service << 20, len(payload), protocol, 64)
    return head + bytes(15) + b"\1" + bytes(15) + b"\2" + payload


def ports(source: int, destination: int = 80, size: int = 20) -> bytes:
    """Return what TCP and UDP start with."""
    return struct.pack(">HH", source, destination).ljust(size, b"\0")


def frame(packet: bytes, *, kind: int = 0x0800, tags: bytes = b"") -> bytes:
    """Return the frame that carries a packet."""
    return MACS + tags + struct.pack(">H", kind) + packet


def tcp(source: int, size: int = 100, service: int = 0) -> bytes:
    """Return a frame of one flow of TCP."""
    return frame(ipv4(ports(source, size=size - 34), service=service))
