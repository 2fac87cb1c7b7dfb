"""The cable: the socket between the pump and the process of a vmnet interface.

It is a stream socket that carries records, as between two fethpipes. Three reasons: one call moves
many frames; select tells when the other side is slow; and a read tells when the other side has
closed it, which a datagram socket of macOS does not. Besides frames, the process sends notes: a
note is a record too short for a frame.
"""

from __future__ import annotations

import socket
import struct

from ..wire.framing import FRAMINGS

CABLE = FRAMINGS["u16be"]

NOTE = struct.Struct(">I")
"""A note, big-endian: the number of frames that vmnet refused since the last note."""

# In bytes. The default of macOS is 8 KiB.
_BUFFER = 1 << 19


def make_cable() -> tuple[socket.socket, socket.socket]:
    """Return both ends, non-blocking. Raises OSError."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    for end in ends:
        end.setblocking(False)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            end.setsockopt(socket.SOL_SOCKET, option, _BUFFER)
    return ends
