"""Join datagrams of one flow into one super-frame: receive offload (GRO) in user space.

A device needs one write for each super-frame, and for small datagrams this write is the slowest
step. Datagrams that came together and differ only in their data can be sent by one write. The
kernel cuts them apart where it has to.

Only the identification in the IP headers changes: it counts up from that of the first datagram.
With "don't fragment" it has no meaning (RFC 6864, 4.1); datagrams without that are never joined.
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
"""The most datagrams in a super-frame that every kernel takes (linux/udp.h: UDP_MAX_SEGMENTS)."""
_FEWEST = 3
"""For fewer datagrams, joining costs more than it saves."""
_LONGEST = 65535

_U16 = struct.Struct(">H")
_IP_START, _DONT_FRAGMENT, _PROTOCOL = b"\x08\x00\x45", b"\x40\0", 17

_data = itemgetter(slice(_DATA, None))


def join_datagrams(datagrams: Sequence[bytes]) -> Sequence[bytes]:
    """Return checked super-frames of one flow, joined to as few as possible.

    All their headers are the same, except the identification and the checksum of IP, at which this
    does not look again (offload.check_super_frames). Super-frames that are not UDP over IPv4 with a
    missing checksum are returned as they are.
    """
    first = datagrams[0]
    size = len(first) - _DATA
    if (
        len(datagrams) < _FEWEST
        or not _is_datagram(first)
        or set(map(len, datagrams)) != {len(first)}
    ):
        return datagrams
    most = min(_MOST, (_LONGEST - (_DATA - _IP)) // size)
    joined: list[bytes] = []
    for start in range(0, len(datagrams), most):
        part = datagrams[start : start + most]
        joined += [_join(part, size)] if len(part) >= _FEWEST else part
    return joined


def _is_datagram(datagram: bytes) -> bool:
    """Return whether this is a datagram with data, and with nothing behind the data."""
    return (
        len(datagram) > _DATA
        and datagram[0] == NEEDS_CHECKSUM
        and datagram[22:25] == _IP_START
        and datagram[_IP + 6 : _IP + 8] == _DONT_FRAGMENT
        and datagram[_IP + 9] == _PROTOCOL
        and _U16.unpack_from(datagram, _IP + 2)[0] == len(datagram) - _IP
        and _U16.unpack_from(datagram, _UDP + 4)[0] == len(datagram) - _UDP
    )


def _join(datagrams: Sequence[bytes], size: int) -> bytes:
    head = bytearray(datagrams[0][:_DATA])
    length = len(datagrams) * size + _DATA
    VNET.pack_into(
        head, 0, NEEDS_CHECKSUM, UDP_SEGMENTS, _DATA - VNET_LENGTH, size, _UDP - VNET_LENGTH, 6
    )
    _U16.pack_into(head, _IP + 2, length - _IP)
    _U16.pack_into(head, _UDP + 4, length - _UDP)
    _U16.pack_into(head, _IP + 10, 0)
    _U16.pack_into(head, _IP + 10, checksum(head[_IP:_UDP]))
    # The kernel completes the checksum. Until then it is the sum of the pseudo-header.
    pseudo = head[_IP + 12 : _UDP] + bytes((0, _PROTOCOL)) + head[_UDP + 4 : _UDP + 6]
    _U16.pack_into(head, _UDP + 6, ones_sum(pseudo))
    return b"".join((head, *map(_data, datagrams)))
