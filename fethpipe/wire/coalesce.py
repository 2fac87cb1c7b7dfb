"""Join datagrams of one flow into one super-frame: receive offload (GRO) in user space.

A device takes one write for each super-frame, and that write is the dearest thing on the way of a
small datagram. Datagrams that came together and differ in nothing but their data can go in one: the
kernel cuts them apart again where they have to be apart.

Only the identification in the IP headers changes: it counts up from that of the first. With "don't
fragment" it means nothing (RFC 6864, 4.1), so a datagram without that is never joined.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from operator import itemgetter

from ..ether.checksum import checksum, ones_sum
from .superframe import NEEDS_CHECKSUM, UDP_SEGMENTS, VNET, VNET_LENGTH

_IP = VNET_LENGTH + 14
_UDP = _IP + 20
_DATA = _UDP + 8
_MOST = 64
"""Datagrams in a super-frame that every kernel takes (linux/udp.h: UDP_MAX_SEGMENTS)."""
_FEWEST = 3
"""Below this, to join is more work than a write."""
_LONGEST = 65535

_U16 = struct.Struct(">H")
_IP_START, _DONT_FRAGMENT, _PROTOCOL = b"\x08\x00\x45", b"\x40\0", 17

flow = itemgetter(slice(_IP + 4), slice(_IP + 6, _IP + 10), slice(_IP + 12, _DATA))
"""What datagrams have in common that can be joined: the headers in front of their data, but for the
identification and the checksum of IP."""
_data = itemgetter(slice(_DATA, None))


def join_datagrams(packets: Sequence[bytes]) -> Sequence[bytes]:
    """Return super-frames that a kernel may see, of one ``flow``, in as few as they fit.

    Those that are not UDP over IPv4 with a missing checksum come back as they are.
    """
    first = packets[0]
    size = len(first) - _DATA
    if len(packets) < _FEWEST or not _is_datagram(first) or set(map(len, packets)) != {len(first)}:
        return packets
    most = min(_MOST, (_LONGEST - (_DATA - _IP)) // size)
    joined: list[bytes] = []
    for start in range(0, len(packets), most):
        part = packets[start : start + most]
        joined += [_join(part, size)] if len(part) >= _FEWEST else part
    return joined


def _is_datagram(packet: bytes) -> bool:
    """Return whether this is a datagram with data, and nothing behind that."""
    return (
        len(packet) > _DATA
        and packet[0] == NEEDS_CHECKSUM
        and packet[22:25] == _IP_START
        and packet[_IP + 6 : _IP + 8] == _DONT_FRAGMENT
        and packet[_IP + 9] == _PROTOCOL
        and _U16.unpack_from(packet, _IP + 2)[0] == len(packet) - _IP
        and _U16.unpack_from(packet, _UDP + 4)[0] == len(packet) - _UDP
    )


def _join(packets: Sequence[bytes], size: int) -> bytes:
    head = bytearray(packets[0][:_DATA])
    length = len(packets) * size + _DATA
    VNET.pack_into(
        head, 0, NEEDS_CHECKSUM, UDP_SEGMENTS, _DATA - VNET_LENGTH, size, _UDP - VNET_LENGTH, 6
    )
    _U16.pack_into(head, _IP + 2, length - _IP)
    _U16.pack_into(head, _UDP + 4, length - _UDP)
    _U16.pack_into(head, _IP + 10, 0)
    _U16.pack_into(head, _IP + 10, checksum(head[_IP:_UDP]))
    # What the kernel completes: the sum of the pseudo-header alone, not inverted.
    pseudo = head[_IP + 12 : _UDP] + bytes((0, _PROTOCOL)) + head[_UDP + 4 : _UDP + 6]
    _U16.pack_into(head, _UDP + 6, ones_sum(pseudo))
    return b"".join((head, *map(_data, packets)))
