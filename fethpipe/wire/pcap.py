"""pcap with nanoseconds (draft-ietf-opsawg-pcap), the file that tcpdump and Wireshark read."""

from __future__ import annotations

import struct
from collections.abc import Iterable

# The magic says nanoseconds and, by how it reads, the byte order: here little-endian everywhere.
_MAGIC = 0xA1B23C4D
_VERSION = (2, 4)
_LINKTYPE_ETHERNET = 1
SNAP_LENGTH = 262144
"""The most bytes of a frame that a record may hold: what libpcap takes, and longer than any."""

_FILE_HEADER = struct.Struct("<IHHiIII")  # magic, version, zone, accuracy, snap length, link type
_RECORD_HEADER = struct.Struct("<IIII")  # seconds, nanoseconds, bytes here, bytes of the frame

FILE_HEADER = _FILE_HEADER.pack(_MAGIC, *_VERSION, 0, 0, SNAP_LENGTH, _LINKTYPE_ETHERNET)
"""What a file starts with."""


def pack_records(frames: Iterable[bytes | memoryview], nanoseconds: int) -> bytes:
    """Return the records of frames that passed at one time, in nanoseconds since 1970, UTC."""
    seconds, fraction = divmod(nanoseconds, 1_000_000_000)
    pack = _RECORD_HEADER.pack
    parts: list[bytes | memoryview] = []
    for frame in frames:
        length = len(frame)
        parts.append(pack(seconds, fraction, length, length))
        parts.append(frame)
    return b"".join(parts)
