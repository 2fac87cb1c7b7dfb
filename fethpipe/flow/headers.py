"""What a queue wants to know of a frame: which flow it belongs to, and whether it may be marked.

A flow is what has to stay in order and shares one congestion control: addresses, protocol and ports
of IP, also behind VLAN tags and inside of IP or GRE tunnels that are not encrypted. Fragments have
no ports but the first, so addresses, protocol and identification stand for all of a datagram.
Whatever is not IP goes by its addresses and type.

Everything here is bounded: so many VLAN tags, extension headers and tunnels are looked into, and
what is cut off or beyond belongs to the flow of what was found before.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

_ETHERNET = 14
_VLAN_TYPES = (b"\x81\0", b"\x88\xa8")
_IPV4, _IPV6, _BRIDGED = b"\x08\0", b"\x86\xdd", b"\x65\x58"
_MOST_TAGS = 4
_MOST_EXTENSIONS = 8
_MOST_TUNNELS = 2
_IPV4_LENGTH, _IPV6_LENGTH = 20, 40

_TCP, _UDP, _SCTP, _DCCP, _UDPLITE, _ESP = 6, 17, 132, 33, 136, 50
# What starts with four bytes that tell flows apart: two ports, or the index of an association.
_WITH_PORTS = (_TCP, _UDP, _SCTP, _DCCP, _UDPLITE, _ESP)
_IP_IN_IP, _IPV6_IN_IP, _GRE = 4, 41, 47
_EXTENSIONS = (0, 43, 60)  # hop-by-hop options, routing, destination options (RFC 8200)
_FRAGMENT = 44
# GRE (RFC 2784, 2890): flags say which fields of four bytes follow; routing (0x4000) is obsolete.
_GRE_FIELDS = (0x80, 0x20, 0x10)
_GRE_PLAIN = 0xB0

_U16 = struct.Struct(">H")
_FRAGMENTED = 0x3FFF  # more fragments, and the offset

_CE = 3
_ECN_V6 = 0x30  # in the second byte of the header


class Place(NamedTuple):
    """Where a header of IP starts, and which version it is."""

    start: int
    version: int


def flow_key(frame: bytes, skipped: int = 0) -> bytes:
    """Return what all frames of this one's flow have in common, and no others.

    ``skipped`` bytes, of a virtio header, come before the Ethernet header.
    """
    # Most frames: TCP or UDP over plain IPv4. Type, version; fragment; protocol; addresses, ports.
    if frame[skipped + 12 : skipped + 15] == b"\x08\0E" and len(frame) >= skipped + 38:
        fragment = frame[skipped + 20] & 0x3F or frame[skipped + 21]
        if not fragment and frame[skipped + 23] in (_TCP, _UDP):
            return frame[skipped + 23 : skipped + 24] + frame[skipped + 26 : skipped + 38]
    place = find_ip(frame, skipped)
    if place is None:
        return frame[skipped : skipped + _ETHERNET]
    return _ip_key(frame, place, _MOST_TUNNELS)


def find_ip(frame: bytes, skipped: int = 0) -> Place | None:
    """Return where the outermost header of IP is, None if the frame carries none, or only a part
    of one.
    """
    offset = skipped + 12
    kind = frame[offset : offset + 2]
    for _ in range(_MOST_TAGS):
        if kind not in _VLAN_TYPES:
            break
        offset += 4
        kind = frame[offset : offset + 2]
    return _ip_at(frame, offset + 2, kind)


def _ip_at(frame: bytes, start: int, kind: bytes) -> Place | None:
    if kind == _IPV4 and len(frame) >= start + _IPV4_LENGTH and frame[start] >> 4 == 4:
        return Place(start, 4)
    if kind == _IPV6 and len(frame) >= start + _IPV6_LENGTH and frame[start] >> 4 == 6:
        return Place(start, 6)
    return None


def _ip_key(frame: bytes, place: Place, tunnels: int) -> bytes:
    start = place.start
    if place.version == 4:
        protocol = frame[start + 9]
        addresses = frame[start + 12 : start + 20]
        if _U16.unpack_from(frame, start + 6)[0] & _FRAGMENTED:
            return bytes((protocol,)) + addresses + frame[start + 4 : start + 6]
        data = start + (frame[start] & 15) * 4
    else:
        addresses = frame[start + 8 : start + 40]
        protocol, data = _skip_extensions(frame, start)
        if protocol == _FRAGMENT:
            return bytes((frame[data],)) + addresses + frame[data + 4 : data + 8]
    if protocol in _WITH_PORTS:
        return bytes((protocol,)) + addresses + frame[data : data + 4]
    if tunnels:
        inner = _find_inner(frame, data, protocol)
        if inner:
            return _ip_key(frame, inner, tunnels - 1)
    return bytes((protocol,)) + addresses


def _skip_extensions(frame: bytes, start: int) -> tuple[int, int]:
    """Return the protocol behind the extension headers of IPv6, and where its header starts."""
    protocol, data = frame[start + 6], start + _IPV6_LENGTH
    for _ in range(_MOST_EXTENSIONS):
        if protocol not in _EXTENSIONS or data + 8 > len(frame):
            break
        protocol, data = frame[data], data + (frame[data + 1] + 1) * 8
    # A fragment header that is cut off tells nothing.
    return (protocol, data) if protocol != _FRAGMENT or data + 8 <= len(frame) else (59, data)


def _find_inner(frame: bytes, start: int, protocol: int) -> Place | None:
    """Return the header of IP inside of a tunnel."""
    if protocol == _IP_IN_IP:
        return _ip_at(frame, start, _IPV4)
    if protocol == _IPV6_IN_IP:
        return _ip_at(frame, start, _IPV6)
    if protocol != _GRE or len(frame) < start + 4 or frame[start] & ~_GRE_PLAIN or frame[start + 1]:
        return None
    inside = start + 4 + sum(4 for field in _GRE_FIELDS if frame[start] & field)
    kind = frame[start + 2 : start + 4]
    return find_ip(frame, inside) if kind == _BRIDGED else _ip_at(frame, inside, kind)


def mark(frame: bytes, skipped: int = 0) -> bytes | None:
    """Return the frame with "congestion experienced" in it, None if its flow does not understand
    that (RFC 3168).

    The checksum of IPv4 follows, by what has changed (RFC 1624); those of TCP and UDP leave these
    bits out. Segments that a kernel cuts from a super-frame inherit the mark.
    """
    place = find_ip(frame, skipped)
    if place is None:
        return None
    start = place.start
    if place.version == 6:
        if not frame[start + 1] & _ECN_V6:
            return None
        return _replace(frame, start + 1, bytes((frame[start + 1] | _ECN_V6,)))
    service = frame[start + 1]
    if not service & _CE:
        return None
    marked = service | _CE
    (checksum,) = _U16.unpack_from(frame, start + 10)
    # ~(~checksum + ~old + new), in ones' complement.
    total = (~checksum & 0xFFFF) + (~service & 0xFFFF) + marked
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    frame = _replace(frame, start + 1, bytes((marked,)))
    return _replace(frame, start + 10, _U16.pack(~total & 0xFFFF))


def _replace(frame: bytes, start: int, new: bytes) -> bytes:
    return frame[:start] + new + frame[start + len(new) :]
