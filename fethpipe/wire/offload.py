"""Super-frames: a frame as a kernel hands it on before it is cut and summed, behind a header that
says what is left to do.

The header is that of virtio (:mod:`.virtio`). It says where a checksum is missing, and into what
segments the payload of TCP or UDP is to be cut. Both are instructions to the receiver's kernel, so
each of its fields is held against the frame, and what Linux would not have written itself is not
passed on.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple, cast

from ..ether.frame import HEADER_LENGTH
from ..stats import Counters
from .coalesce import flow, join_datagrams
from .superframe import (
    DATA_VALID,
    ECN,
    NEEDS_CHECKSUM,
    PLAIN,
    TCP_IPV4,
    TCP_IPV6,
    UDP_SEGMENTS,
    VNET,
    VNET_LENGTH,
    SuperFrame,
)

SHORTEST = VNET_LENGTH + HEADER_LENGTH
"""Bytes of the shortest super-frame."""

_VLAN_TYPES = (0x8100, 0x88A8)
_IPV4, _IPV6 = 0x0800, 0x86DD
_U16 = struct.Struct(">H")
_TCP, _UDP = 6, 17
_CHECKSUM_OFFSETS = {_TCP: 16, _UDP: 6}
_HEADER_LENGTHS = {_TCP: 20, _UDP: 8}
_IPV6_LENGTH = 40
# Hop-by-hop options, routing, destination options: all say their length alike (RFC 8200, 4.2).
_IPV6_EXTENSIONS = (0, 43, 60)
# VLAN tags, and extension headers: more than frames have, and no more than take no time to skip.
_MOST_HEADERS = 8

# The least segment that Linux cuts TCP into (net/tcp.h: TCP_MIN_GSO_SIZE): without a bound, a peer
# could have the kernel make 65535 packets of one. Of UDP it makes no more than 128 (linux/udp.h:
# UDP_MAX_SEGMENTS).
_LEAST_SEGMENT = 8
_MOST_DATAGRAMS = 128

# Most small frames of plain IPv4 lack the checksum of TCP or UDP and nothing else. One look tells:
# virtio header; EtherType, version and header length; fragment; protocol.
_usual = itemgetter(slice(VNET_LENGTH), slice(22, 25), slice(30, 32), 33)
_USUAL = {
    (
        VNET.pack(NEEDS_CHECKSUM, 0, 0, 0, HEADER_LENGTH + 20, offset),
        b"\x08\x00\x45",
        fragment,
        protocol,
    )
    for protocol, offset in _CHECKSUM_OFFSETS.items()
    for fragment in (b"\0\0", b"\x40\0")
}
_USUAL_LENGTH = SHORTEST + 20 + _HEADER_LENGTHS[_TCP]

_LONGER_THAN_ANY = 1 << 32
_NOTHING_TO_DO = bytes((0, DATA_VALID))  # flags

_strip = itemgetter(slice(VNET_LENGTH, None))


class SegmentLimit:
    """How long a segment may be that a super-frame is cut into, as a frame: no longer than a plain
    frame that the device takes, for kernels do not look at segments.

    ``ask`` returns what the device takes now; it is asked again when a segment seems too long.
    """

    def __init__(self, ask: Callable[[], int] | None = None) -> None:
        self._ask = ask
        self._longest = ask() if ask else _LONGER_THAN_ANY

    def allows(self, length: int) -> bool:
        """Return whether a segment of so many bytes, Ethernet header included, may be."""
        if length > self._longest and self._ask:
            self._longest = self._ask()
        return length <= self._longest


_NO_LIMIT = SegmentLimit()


def add_headers(frames: Sequence[bytes]) -> list[bytes]:
    """Return plain frames as super-frames."""
    return list(map(PLAIN.__add__, frames))


def strip_headers(packets: Sequence[bytes], counters: Counters) -> list[bytes]:
    """Return super-frames as plain frames; those that are not are dropped and counted."""
    # Flags and segmentation come first, so nothing above this has anything left to do.
    if packets and max(packets) >= b"\0\1":
        whole = [packet for packet in packets if not packet[0] & NEEDS_CHECKSUM and not packet[1]]
        counters.drop("super-frame for a peer that takes none", len(packets) - len(whole))
        packets = whole
    return list(map(_strip, packets))


def needs_no_offload(headers: bytes) -> bool:
    """Return whether none of these virtio headers, in a row, leaves anything to be done."""
    flags, segmentation = headers[::VNET_LENGTH], headers[1::VNET_LENGTH]
    return not flags.strip(_NOTHING_TO_DO) and not segmentation.strip(b"\0")


def check_super_frames(
    packets: Sequence[SuperFrame],
    counters: Counters,
    *,
    join: bool = False,
    limit: SegmentLimit = _NO_LIMIT,
) -> Sequence[SuperFrame]:
    """Return those super-frames that a kernel may see; the others are dropped and counted.

    They are all bytes or all views, as a decoder returns them. With ``join``, datagrams of one flow
    become one super-frame.
    """
    if len(packets) == 1 and not find_fault(packets[0], limit):
        return packets
    if len(packets) <= 1 or not isinstance(packets[0], bytes):
        return _drop_faulty(packets, counters, limit)
    checked: list[SuperFrame] = []
    for _, group in groupby(cast("Sequence[bytes]", packets), flow):
        run = list(group)
        # What find_fault looks at in a usual packet is the same in the whole flow.
        if len(min(run, key=len)) < _USUAL_LENGTH or _usual(run[0]) not in _USUAL:
            checked += _drop_faulty(run, counters, limit)
        elif join and limit.allows(len(max(run, key=len)) - VNET_LENGTH):
            checked += join_datagrams(run)
        else:
            checked += run
    return checked


def _drop_faulty(
    packets: Sequence[SuperFrame], counters: Counters, limit: SegmentLimit
) -> Sequence[SuperFrame]:
    faults = [find_fault(packet, limit) for packet in packets]
    if not any(faults):
        return packets
    for fault in filter(None, faults):
        counters.drop(fault)
    return [packet for packet, fault in zip(packets, faults) if not fault]


def find_fault(packet: SuperFrame, limit: SegmentLimit = _NO_LIMIT) -> str:
    """Return what is wrong with a super-frame, "" if nothing is."""
    if len(packet) < SHORTEST:
        return "shorter than an Ethernet header"
    if packet[:VNET_LENGTH] == PLAIN:
        return ""
    # A view is of a long packet, and to hash one is to hash all that it is a view of.
    if isinstance(packet, bytes) and len(packet) >= _USUAL_LENGTH and _usual(packet) in _USUAL:
        return ""
    flags = packet[0]
    if flags not in (0, NEEDS_CHECKSUM, DATA_VALID):
        return "super-frame with unknown flags"
    if flags & NEEDS_CHECKSUM:
        return _find_checksum_fault(packet, limit)
    return "super-frame without a missing checksum" if any(packet[1:VNET_LENGTH]) else ""


def _find_checksum_fault(packet: SuperFrame, limit: SegmentLimit) -> str:
    _, segmentation, head, size, start, offset = VNET.unpack_from(packet)
    transport = _find_transport(packet)
    if transport is None:
        return "super-frame without TCP or UDP"
    if (start + VNET_LENGTH, offset) != (transport.start, _CHECKSUM_OFFSETS[transport.protocol]):
        return "super-frame with a misplaced checksum"
    if segmentation:
        return _find_segment_fault(packet, transport, limit)
    return "super-frame without segments" if head or size else ""


class _Transport(NamedTuple):
    """Where TCP or UDP starts in a super-frame, virtio header included, and where it ends by what
    IP says.
    """

    version: int
    protocol: int
    start: int
    end: int


def _find_segment_fault(packet: SuperFrame, transport: _Transport, limit: SegmentLimit) -> str:
    _, segmentation, head, size, _, _ = VNET.unpack_from(packet)
    if segmentation not in _SEGMENTATIONS[transport.version, transport.protocol]:
        return "super-frame with unknown segments"
    own = _HEADER_LENGTHS[transport.protocol]
    if transport.protocol == _TCP:
        own = (packet[transport.start + 12] >> 4) * 4
    data = transport.start + own
    if own < _HEADER_LENGTHS[transport.protocol]:
        return "super-frame without TCP or UDP"
    if transport.end != len(packet) or not data <= head + VNET_LENGTH <= len(packet):
        return "super-frame of another length"
    left = len(packet) - data
    if transport.protocol == _TCP:
        fits = left and size >= _LEAST_SEGMENT
    else:
        fits = left and size and -(-left // size) <= _MOST_DATAGRAMS
    if not fits:
        return "super-frame with senseless segments"
    allowed = limit.allows(data - VNET_LENGTH + min(size, left))
    return "" if allowed else "super-frame with segments too long for the device"


_SEGMENTATIONS = {
    (4, _TCP): (TCP_IPV4, TCP_IPV4 | ECN),
    (6, _TCP): (TCP_IPV6, TCP_IPV6 | ECN),
    (4, _UDP): (UDP_SEGMENTS,),
    (6, _UDP): (UDP_SEGMENTS,),
}


def _find_transport(packet: SuperFrame) -> _Transport | None:
    """Find the header of TCP or UDP behind Ethernet, VLAN tags and IP, if it is there."""
    offset = VNET_LENGTH + 12
    kind = _read_u16(packet, offset)
    for _ in range(_MOST_HEADERS):
        if kind not in _VLAN_TYPES:
            break
        offset += 4
        kind = _read_u16(packet, offset)
    offset += 2
    if kind == _IPV4:
        found = _find_in_ipv4(packet, offset)
    elif kind == _IPV6:
        found = _find_in_ipv6(packet, offset)
    else:
        return None
    if found is None or found.protocol not in _HEADER_LENGTHS:
        return None
    return found if found.start + _HEADER_LENGTHS[found.protocol] <= len(packet) else None


def _find_in_ipv4(packet: SuperFrame, start: int) -> _Transport | None:
    if len(packet) < start + 20 or packet[start] >> 4 != 4:
        return None
    length = (packet[start] & 15) * 4
    fragment = _read_u16(packet, start + 6) & 0x3FFF
    if length < 20 or fragment:
        return None
    end = start + _read_u16(packet, start + 2)
    return _Transport(4, packet[start + 9], start + length, end)


def _find_in_ipv6(packet: SuperFrame, start: int) -> _Transport | None:
    if len(packet) < start + _IPV6_LENGTH or packet[start] >> 4 != 6:
        return None
    protocol = packet[start + 6]
    offset = start + _IPV6_LENGTH
    end = offset + _read_u16(packet, start + 4)
    for _ in range(_MOST_HEADERS):
        if protocol not in _IPV6_EXTENSIONS:
            break
        if offset + 8 > len(packet):
            return None
        protocol = packet[offset]
        offset += (packet[offset + 1] + 1) * 8
    return _Transport(6, protocol, offset, end)


def _read_u16(packet: SuperFrame, offset: int) -> int:
    """Return the number at an offset, 0 beyond the end: that is no type and no length."""
    if offset + 2 > len(packet):
        return 0
    number: int = _U16.unpack_from(packet, offset)[0]
    return number
