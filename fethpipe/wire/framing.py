"""Length-prefixed records: the outermost layer of the stream, in each of its framings.

In each direction, a stream is a sequence of records: a length, then a payload of that many bytes.
The framings differ only in the format of the length, so each is a row of a table, and one decoder
serves them all. The decoder is incremental: for any way to cut the stream into chunks, it returns
the same payloads. Besides the current chunk it holds at most one incomplete record, and it checks a
length before it waits for the payload.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from enum import IntEnum
from itertools import groupby
from typing import NamedTuple, TypeVar

from ..errors import ProtocolError, TruncatedError
from ..ether.frame import HEADER_LENGTH, MAX_FRAME


class AgentCommand(IntEnum):
    """The first byte of each payload to ZeroTier's agent (MacEthernetTapAgent.c)."""

    FRAME = 0
    CONFIGURE = 1
    EXIT = 2


class Framing(NamedTuple):
    """One framing: the format of the length, and the longest payload in bytes."""

    name: str
    prefix: struct.Struct
    maximum: int
    commands: bool = False
    """Whether payloads that come start with a byte of :class:`AgentCommand`."""

    def encode(self, payloads: Iterable[bytes]) -> bytes:
        """Return the records of these payloads, in order, as one buffer.

        Raises ValueError if a payload is longer than ``maximum``.
        """
        parts: list[bytes] = []
        for length, equals in groupby(payloads, len):
            prefix = self.encode_length(length)
            parts += prefix, prefix.join(equals)
        return b"".join(parts)

    def encode_one(self, payload: bytes) -> bytes:
        """Return the record of one payload, like ``encode`` but in half the time."""
        length = len(payload)
        if length > self.maximum:
            raise self._refusal(length)
        return self.prefix.pack(length) + payload

    def encode_length(self, length: int) -> bytes:
        """Return the prefix of a payload of this length. Raises ValueError if it is too long."""
        if length > self.maximum:
            raise self._refusal(length)
        return self.prefix.pack(length)

    def _refusal(self, length: int) -> ValueError:
        return ValueError(f"{length} bytes do not fit a {self.name} record")


# QEMU sends 64 KiB of payload behind an Ethernet header. The other 64 bytes are for its virtio
# header.
QEMU_MAXIMUM = MAX_FRAME + HEADER_LENGTH + 64

FRAMINGS = {
    framing.name: framing
    for framing in (
        Framing("u16be", struct.Struct(">H"), MAX_FRAME),
        Framing("u32be", struct.Struct(">I"), QEMU_MAXIMUM),
        Framing("u16le", struct.Struct("<H"), MAX_FRAME),
        Framing("zerotier", struct.Struct("=H"), MAX_FRAME, commands=True),
    )
}
"""The framings by name: VDE, QEMU and passt, gvproxy, ZeroTier."""

SUPER_FRAMES = Framing("super-frame", struct.Struct(">I"), QEMU_MAXIMUM)
"""The format of records after the switch. Each payload is a virtio header and a frame."""


# Records of equal length come in runs: full frames, or acknowledgements. A run is found by
# comparing the length bytes column by column, and cut by one call, in multiples of _RUN, as struct
# caches only a few formats.
_RUN = 8
_LONGEST_RUN = 128

_Source = TypeVar("_Source", bytes, memoryview)


class RecordDecoder:
    """Cut a stream into the payloads of its records."""

    def __init__(self, framing: Framing) -> None:
        self._framing = framing
        self._size = framing.prefix.size
        self._unpack = framing.prefix.unpack_from
        self._maximum = framing.maximum
        self._pending = bytearray()
        self._needed = 0

    @property
    def pending(self) -> bytes:
        """The bytes of an incomplete record that have come."""
        return bytes(self._pending)

    @property
    def buffered(self) -> int:
        """The number of bytes of an incomplete record that have come."""
        return len(self._pending)

    def feed(self, data: bytes) -> list[bytes]:
        """Return the payloads that ``data`` completes, including empty ones.

        Raises ProtocolError for a length above the maximum of the framing. Nothing can be decoded
        after that, as nothing says where the next record starts. The payloads in front of it in the
        same chunk are lost too.
        """
        if self._pending:
            data = self._complete(data)
            if not data:
                return []
        # One complete record (a ping, a keystroke) has to be quick.
        size = self._size
        if len(data) >= size and self._unpack(data)[0] == len(data) - size <= self._maximum:
            return [data[size:]]
        return self._cut(data, data)

    def feed_views(self, data: bytes) -> list[memoryview]:
        """Like ``feed``, but copy nothing: faster for long payloads, slower for short ones."""
        if self._pending:
            data = self._complete(data)
        return self._cut(data, memoryview(data)) if data else []

    def _complete(self, data: bytes) -> bytes:
        """Return all bytes so far, b"" if they are not even one complete record."""
        if len(self._pending) + len(data) < self._needed:
            self._pending += data
            return b""
        data = b"".join((self._pending, data))
        self._pending.clear()
        return data

    def _cut(self, data: bytes, source: _Source) -> list[_Source]:
        """Cut the complete records out of ``source``, which has the same bytes; keep the rest."""
        unpack = self._unpack
        size = self._size
        maximum = self._maximum
        end = len(data)
        start = size
        needed = size
        payloads: list[_Source] = []
        previous = -1
        while start <= end:
            (length,) = unpack(data, start - size)
            if length > maximum:
                raise ProtocolError(
                    f"the stream is not in {self._framing.name} framing: "
                    f"it announces a record of {length} bytes, but the maximum is {maximum}"
                )
            stop = start + length
            if stop > end:
                needed = size + length
                break
            if length == previous and end - start > _RUN * (length + size):
                run = self._cut_run(source, start - size, length)
                if run:
                    payloads += run
                    start += len(run) * (length + size)
                    continue
                length = -1
            payloads.append(source[start:stop])
            previous = length
            start = stop + size
        start -= size
        if start < end:
            self._pending += memoryview(data)[start:]
        self._needed = needed
        return payloads

    def _cut_run(self, source: _Source, start: int, length: int) -> list[_Source]:
        """Cut a run of records of this length. Return [] if there is no run."""
        if not isinstance(source, bytes):
            return []
        size = self._size
        stride = size + length
        count = min((len(source) - start) // stride, _LONGEST_RUN)
        for column in range(start, start + size):
            digits = source[column : start + count * stride : stride]
            count -= len(digits.lstrip(digits[:1]))
        count -= count % _RUN
        return list(struct.unpack_from(f"{size}x{length}s" * count, source, start))

    def feed_eof(self) -> None:
        """Tell that the stream has ended. Raises TruncatedError if it ended inside a record."""
        if self._pending:
            raise TruncatedError(
                f"the stream ended inside a record: "
                f"{len(self._pending)} of at least {self._needed} bytes came"
            )
