"""The socket between the pump and the process that a vmnet interface lives in.

A stream socket with records on it, as between two fethpipes: one call moves many frames, a side
that is slow holds the other up where select can see it, and its end is an end, which on macOS a
datagram socket would not tell. What the process has to tell besides frames is a note: a record too
short for a frame.
"""

from __future__ import annotations

import socket
import struct

from ..wire.framing import FRAMINGS

CABLE = FRAMINGS["u16be"]

NOTE = struct.Struct(">I")
"""How many frames vmnet did not take since the last note."""

# macOS gives 8 KiB otherwise.
_BUFFER = 1 << 19


def make_cable() -> tuple[socket.socket, socket.socket]:
    """Return both ends, which do not block."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    for end in ends:
        end.setblocking(False)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            end.setsockopt(socket.SOL_SOCKET, option, _BUFFER)
    return ends
