"""Check super-frames: frames that a kernel has not yet cut into segments, and without checksums.

A super-frame has a virtio header (:mod:`.superframe`), which says where a checksum is missing, and
into which segments the payload of TCP or UDP has to be cut. Both are instructions to the kernel of
the receiver. So each field of the header is compared with the frame, and a super-frame that Linux
itself would not have made is dropped.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple, cast

from ..ether.frame import HEADER_LENGTH
from ..stats import Counters
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
"""The length of the shortest super-frame, in bytes."""

_VLAN_TYPES = (0x8100, 0x88A8)
_IPV4, _IPV6 = 0x0800, 0x86DD
_U16 = struct.Struct(">H")
_TCP, _UDP = 6, 17
_CHECKSUM_OFFSETS = {_TCP: 16, _UDP: 6}
_HEADER_LENGTHS = {_TCP: 20, _UDP: 8}
_IPV6_LENGTH = 40
# Hop-by-hop, routing and destination options have their length in the same place (RFC 8200, 4.2).
_IPV6_EXTENSIONS = (0, 43, 60)
# VLAN tags, or extension headers: more than frames have, but few enough to be skipped quickly.
_MOST_HEADERS = 8

# In bytes: the smallest TCP segments that Linux makes (net/tcp.h: TCP_MIN_GSO_SIZE). Without a
# limit, a peer could make the kernel cut one super-frame into 65535 segments. Of UDP it makes at
# most 128 (linux/udp.h: UDP_MAX_SEGMENTS).
_LEAST_SEGMENT = 8
_MOST_DATAGRAMS = 128

# Most small IPv4 frames lack only the checksum of TCP or UDP. One comparison finds these: virtio
# header; EtherType, version and header length; fragment; protocol.
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

# The bytes that are the same in datagrams of one flow: all headers in front of their data, except
# the identification and the checksum of IP.
_IP, _DATA = SHORTEST, SHORTEST + 20 + _HEADER_LENGTHS[_UDP]
_flow = itemgetter(slice(_IP + 4), slice(_IP + 6, _IP + 10), slice(_IP + 12, _DATA))

_LONGER_THAN_ANY = 1 << 32
_NOTHING_TO_DO = bytes((0, DATA_VALID))  # flags

_strip = itemgetter(slice(VNET_LENGTH, None))


class SegmentLimit:
    """The longest segment, as a frame, into which a super-frame may be cut: no longer than a frame
    that the device takes, because kernels do not check the segments.

    ``ask`` returns the longest frame that the device takes now, in bytes. It is called again when a
    segment seems too long.
    """

    def __init__(self, ask: Callable[[], int] | None = None) -> None:
        self._ask = ask
        self._longest = ask() if ask else _LONGER_THAN_ANY

    def allows(self, length: int) -> bool:
        """Return whether a segment may have this many bytes, including its Ethernet header."""
        if length > self._longest and self._ask:
            self._longest = self._ask()
        return length <= self._longest


_NO_LIMIT = SegmentLimit()


def add_headers(frames: Sequence[bytes]) -> list[bytes]:
    """Return plain frames as super-frames."""
    return list(map(PLAIN.__add__, frames))


def strip_headers(super_frames: Sequence[bytes], counters: Counters) -> list[bytes]:
    """Return super-frames as frames. Those with work left to do are dropped and counted."""
    # Flags and segmentation come first. If none is above this, no super-frame has work left to do.
    if super_frames and max(super_frames) >= b"\0\1":
        whole = [
            super_frame
            for super_frame in super_frames
            if not super_frame[0] & NEEDS_CHECKSUM and not super_frame[1]
        ]
        counters.drop("super-frame for a peer that takes none", len(super_frames) - len(whole))
        super_frames = whole
    return list(map(_strip, super_frames))


def needs_no_offload(headers: bytes) -> bool:
    """Return whether all of these virtio headers, one behind the other, leave no work to do."""
    flags, segmentation = headers[::VNET_LENGTH], headers[1::VNET_LENGTH]
    return not flags.strip(_NOTHING_TO_DO) and not segmentation.strip(b"\0")


def check_super_frames(
    super_frames: Sequence[SuperFrame],
    counters: Counters,
    *,
    join: Callable[[Sequence[bytes]], Sequence[bytes]] | None = None,
    limit: SegmentLimit = _NO_LIMIT,
    short: list[SuperFrame] | None = None,
) -> Sequence[SuperFrame]:
    """Return the super-frames that may go to the kernel. The others are dropped and counted.

    They are all bytes or all views, as a decoder returns them. ``join`` gets those of one flow, and
    returns fewer if it can. ``short`` gets those that are too short, uncounted.
    """
    if len(super_frames) == 1 and not find_fault(super_frames[0], limit):
        return super_frames
    if len(super_frames) <= 1 or not isinstance(super_frames[0], bytes):
        return _drop_faulty(super_frames, counters, limit, short)
    checked: list[SuperFrame] = []
    for _, group in groupby(cast("Sequence[bytes]", super_frames), _flow):
        run = list(group)
        # All that find_fault checks in a usual super-frame is the same in the whole flow.
        if len(min(run, key=len)) < _USUAL_LENGTH or _usual(run[0]) not in _USUAL:
            checked += _drop_faulty(run, counters, limit, short)
        elif join and limit.allows(len(max(run, key=len)) - VNET_LENGTH):
            checked += join(run)
        else:
            checked += run
    return checked


def _drop_faulty(
    super_frames: Sequence[SuperFrame],
    counters: Counters,
    limit: SegmentLimit,
    short: list[SuperFrame] | None,
) -> Sequence[SuperFrame]:
    faults = [find_fault(super_frame, limit) for super_frame in super_frames]
    if not any(faults):
        return super_frames
    for super_frame, fault in zip(super_frames, faults):
        if fault and short is not None and len(super_frame) < SHORTEST:
            short.append(super_frame)
        elif fault:
            counters.drop(fault)
    return [super_frame for super_frame, fault in zip(super_frames, faults) if not fault]


def find_fault(super_frame: SuperFrame, limit: SegmentLimit = _NO_LIMIT) -> str:
    """Return what is wrong with a super-frame, "" if it is valid."""
    if len(super_frame) < SHORTEST:
        return "shorter than an Ethernet header"
    if super_frame[:VNET_LENGTH] == PLAIN:
        return ""
    # Views are of long super-frames, and hashing a view hashes all bytes of it.
    if (
        isinstance(super_frame, bytes)
        and len(super_frame) >= _USUAL_LENGTH
        and _usual(super_frame) in _USUAL
    ):
        return ""
    flags = super_frame[0]
    if flags not in (0, NEEDS_CHECKSUM, DATA_VALID):
        return "super-frame with unknown flags"
    if flags & NEEDS_CHECKSUM:
        return _find_checksum_fault(super_frame, limit)
    return "super-frame without a missing checksum" if any(super_frame[1:VNET_LENGTH]) else ""


def _find_checksum_fault(super_frame: SuperFrame, limit: SegmentLimit) -> str:
    _, segmentation, head, size, start, offset = VNET.unpack_from(super_frame)
    transport = _find_transport(super_frame)
    if transport is None:
        return "super-frame without TCP or UDP"
    if (start + VNET_LENGTH, offset) != (transport.start, _CHECKSUM_OFFSETS[transport.protocol]):
        return "super-frame with a misplaced checksum"
    if segmentation:
        return _find_segment_fault(super_frame, transport, limit)
    return "super-frame without segments" if head or size else ""


class _Transport(NamedTuple):
    """Where TCP or UDP starts in a super-frame, and where it ends according to IP.

    Both count from the start of the virtio header, in bytes.
    """

    version: int
    protocol: int
    start: int
    end: int


def _find_segment_fault(super_frame: SuperFrame, transport: _Transport, limit: SegmentLimit) -> str:
    _, segmentation, head, size, _, _ = VNET.unpack_from(super_frame)
    if segmentation not in _SEGMENTATIONS[transport.version, transport.protocol]:
        return "super-frame with unknown segments"
    own = _HEADER_LENGTHS[transport.protocol]
    if transport.protocol == _TCP:
        own = (super_frame[transport.start + 12] >> 4) * 4
    data = transport.start + own
    if own < _HEADER_LENGTHS[transport.protocol]:
        return "super-frame without TCP or UDP"
    if transport.end != len(super_frame) or not data <= head + VNET_LENGTH <= len(super_frame):
        return "super-frame of another length"
    left = len(super_frame) - data
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


def _find_transport(super_frame: SuperFrame) -> _Transport | None:
    """Find the header of TCP or UDP behind Ethernet, VLAN tags and IP. None if there is none."""
    offset = VNET_LENGTH + 12
    kind = _read_u16(super_frame, offset)
    for _ in range(_MOST_HEADERS):
        if kind not in _VLAN_TYPES:
            break
        offset += 4
        kind = _read_u16(super_frame, offset)
    offset += 2
    if kind == _IPV4:
        found = _find_in_ipv4(super_frame, offset)
    elif kind == _IPV6:
        found = _find_in_ipv6(super_frame, offset)
    else:
        return None
    if found is None or found.protocol not in _HEADER_LENGTHS:
        return None
    return found if found.start + _HEADER_LENGTHS[found.protocol] <= len(super_frame) else None


def _find_in_ipv4(super_frame: SuperFrame, start: int) -> _Transport | None:
    if len(super_frame) < start + 20 or super_frame[start] >> 4 != 4:
        return None
    length = (super_frame[start] & 15) * 4
    fragment = _read_u16(super_frame, start + 6) & 0x3FFF
    if length < 20 or fragment:
        return None
    end = start + _read_u16(super_frame, start + 2)
    return _Transport(4, super_frame[start + 9], start + length, end)


def _find_in_ipv6(super_frame: SuperFrame, start: int) -> _Transport | None:
    if len(super_frame) < start + _IPV6_LENGTH or super_frame[start] >> 4 != 6:
        return None
    protocol = super_frame[start + 6]
    offset = start + _IPV6_LENGTH
    end = offset + _read_u16(super_frame, start + 4)
    for _ in range(_MOST_HEADERS):
        if protocol not in _IPV6_EXTENSIONS:
            break
        if offset + 8 > len(super_frame):
            return None
        protocol = super_frame[offset]
        offset += (super_frame[offset + 1] + 1) * 8
    return _Transport(6, protocol, offset, end)


def _read_u16(super_frame: SuperFrame, offset: int) -> int:
    """Return the big-endian number at an offset, 0 beyond the end: no valid type or length."""
    if offset + 2 > len(super_frame):
        return 0
    number: int = _U16.unpack_from(super_frame, offset)[0]
    return number
