"""pcap with nanoseconds (draft-ietf-opsawg-pcap), the file that tcpdump and Wireshark read."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple

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


class Record(NamedTuple):
    """A frame of a file: when it passed, in nanoseconds since 1970, UTC, and its whole length,
    which is more than its bytes where the capture cut it short.
    """

    nanoseconds: int
    frame: bytes
    length: int


# What a file starts with tells the byte order and how much of a second the fraction counts.
_FORMS = {
    struct.pack(f"{order}I", magic): (order, scale)
    for magic, scale in ((_MAGIC, 1), (0xA1B2C3D4, 1000))
    for order in "<>"
}
_PCAPNG = bytes.fromhex("0a0d0d0a")


class PcapDecoder:
    """Cut a pcap file, of either byte order and resolution, into its records.

    However the file is cut into chunks, the same records come out. Raises ValueError for what is
    no such file of Ethernet frames.
    """

    def __init__(self) -> None:
        self._pending = b""
        self._record: struct.Struct | None = None
        self._scale = 1

    def feed(self, data: bytes) -> list[Record]:
        """Return the records that these bytes complete."""
        data = self._pending + data
        start = 0
        if self._record is None:
            if len(data) < _FILE_HEADER.size:
                self._pending = data
                return []
            self._record = self._read_header(data)
            start = _FILE_HEADER.size
        size = self._record.size
        records: list[Record] = []
        while len(data) - start >= size:
            seconds, fraction, here, whole = self._record.unpack_from(data, start)
            if here > SNAP_LENGTH:
                raise ValueError(f"a record of {here} bytes, more than any frame has")
            stop = start + size + here
            if stop > len(data):
                break
            nanoseconds = seconds * 1_000_000_000 + fraction * self._scale
            records.append(Record(nanoseconds, data[start + size : stop], whole))
            start = stop
        self._pending = data[start:]
        return records

    def feed_eof(self) -> None:
        """Say that the file has ended; ValueError if that is inside a record."""
        if self._record is None:
            raise ValueError("not a pcap file: too short")
        if self._pending:
            raise ValueError("the file ends inside a record")

    def _read_header(self, data: bytes) -> struct.Struct:
        if data[:4] == _PCAPNG:
            raise ValueError("a pcapng file, not a pcap file (editcap -F pcap makes it one)")
        if data[:4] not in _FORMS:
            raise ValueError("not a pcap file")
        order, self._scale = _FORMS[data[:4]]
        # The upper half of the link type may tell of frame check sequences.
        link_type = struct.unpack_from(f"{order}I", data, 20)[0] & 0xFFFF
        if link_type != _LINKTYPE_ETHERNET:
            raise ValueError(f"frames of link type {link_type}, not of Ethernet")
        return struct.Struct(f"{order}IIII")
