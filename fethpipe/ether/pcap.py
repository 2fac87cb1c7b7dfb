"""Read and write pcap files, which tcpdump and Wireshark read too (draft-ietf-opsawg-pcap)."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple

# The magic number says that times are in nanoseconds and, by its byte order, that of the file. We
# write little-endian files on every system.
_MAGIC = 0xA1B23C4D
_VERSION = (2, 4)
_LINKTYPE_ETHERNET = 1
SNAP_LENGTH = 262144
"""The most bytes of a frame that a record can hold: libpcap's limit, longer than any frame."""

_FILE_HEADER = struct.Struct("<IHHiIII")  # magic, version, zone, accuracy, snap length, link type
_RECORD_HEADER = struct.Struct("<IIII")  # seconds, nanoseconds, bytes here, bytes of the frame

FILE_HEADER = _FILE_HEADER.pack(_MAGIC, *_VERSION, 0, 0, SNAP_LENGTH, _LINKTYPE_ETHERNET)
"""The first bytes of a file that we write."""


_LATEST = (1 << 32) * 1_000_000_000 - 1


def pack_records(frames: Iterable[bytes | memoryview], nanoseconds: int) -> bytes:
    """Return the records of frames that passed at one time: nanoseconds since 1970, UTC.

    A file has room for the years up to 2106; a clock that is wrong gets the nearest of them.
    """
    seconds, fraction = divmod(max(0, min(nanoseconds, _LATEST)), 1_000_000_000)
    pack = _RECORD_HEADER.pack
    parts: list[bytes | memoryview] = []
    for frame in frames:
        length = len(frame)
        parts.append(pack(seconds, fraction, length, length))
        parts.append(frame)
    return b"".join(parts)


class Record(NamedTuple):
    """A frame of a file.

    ``length`` is the length of the whole frame in bytes, more than ``frame`` has if the capture
    stored a part only. Its time is not read.
    """

    frame: bytes
    length: int


# The magic number of a file tells its byte order, and what a fraction of a second counts.
_MICROSECONDS = 0xA1B2C3D4
_ORDERS = {
    struct.pack(f"{order}I", magic): order for magic in (_MAGIC, _MICROSECONDS) for order in "<>"
}
_PCAPNG = bytes.fromhex("0a0d0d0a")


class PcapDecoder:
    """Cut a pcap file, of any byte order and resolution, into its records.

    The records are the same for any way to cut the file into chunks. All methods raise ValueError
    for a file that is not a pcap file of Ethernet frames.
    """

    def __init__(self) -> None:
        self._pending = b""
        self._record: struct.Struct | None = None

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
            here, whole = self._record.unpack_from(data, start)
            if here > SNAP_LENGTH:
                raise ValueError(f"it has a record of {here} bytes, more than any frame has")
            stop = start + size + here
            if stop > len(data):
                break
            records.append(Record(data[start + size : stop], whole))
            start = stop
        self._pending = data[start:]
        return records

    def feed_eof(self) -> None:
        """Tell that the file has ended. Raises ValueError if it ended inside a record."""
        if self._record is None:
            raise ValueError("not a pcap file: too short")
        if self._pending:
            raise ValueError("the file ends inside a record")

    def _read_header(self, data: bytes) -> struct.Struct:
        if data[:4] == _PCAPNG:
            raise ValueError("a pcapng file, not a pcap file (editcap -F pcap converts it)")
        if data[:4] not in _ORDERS:
            raise ValueError("not a pcap file")
        order = _ORDERS[data[:4]]
        # The upper half of the link type may say that frames have a check sequence.
        link_type = struct.unpack_from(f"{order}I", data, 20)[0] & 0xFFFF
        if link_type != _LINKTYPE_ETHERNET:
            raise ValueError(f"its link type is {link_type}, not Ethernet")
        return struct.Struct(f"{order}8xII")
