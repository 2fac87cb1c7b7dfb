"""Length-prefixed records: the outermost layer of the stream, in each of its dialects.

A stream is a sequence of records in each direction: a length, then that many bytes of payload.
The dialects differ only in that length, so a framing is a row of a table and one decoder serves
them all. The decoder is incremental: however the stream is cut into chunks, the same payloads come
out. It holds at most one incomplete record besides the chunk that it was given, and it looks at a
length before it waits for what that length promises.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from ..errors import ProtocolError, TruncatedError

HEADER_LENGTH = 14
"""Bytes of an Ethernet header; no frame is shorter."""

MAX_FRAME = 65535
"""The longest frame that 16 bits can announce. Longer ones exist on no device that we know."""


class Command(IntEnum):
    """First payload byte on the way to ZeroTier's agent (MacEthernetTapAgent.c)."""

    FRAME = 0
    CONFIGURE = 1
    EXIT = 2


@dataclass(frozen=True)
class Framing:
    """One dialect: the form of the length, and the longest payload that it may announce."""

    name: str
    prefix: struct.Struct
    maximum: int
    commands: bool = False
    """Whether payloads towards the device start with a byte of :class:`Command`."""

    def encode(self, payloads: Iterable[bytes]) -> bytes:
        """Return the records of these payloads, in order, as one buffer.

        Raises ValueError when a payload is longer than ``maximum``.
        """
        pack = self.prefix.pack
        maximum = self.maximum
        parts: list[bytes] = []
        append = parts.append
        for payload in payloads:
            length = len(payload)
            if length > maximum:
                raise ValueError(f"{length} bytes do not fit a {self.name} record")
            append(pack(length))
            append(payload)
        return b"".join(parts)


# QEMU sends 64 KiB of payload behind an Ethernet header; the slack is for its virtio header.
_QEMU_MAXIMUM = MAX_FRAME + HEADER_LENGTH + 64

FRAMINGS = {
    framing.name: framing
    for framing in (
        Framing("u16be", struct.Struct(">H"), MAX_FRAME),
        Framing("u32be", struct.Struct(">I"), _QEMU_MAXIMUM),
        Framing("u16le", struct.Struct("<H"), MAX_FRAME),
        Framing("zerotier", struct.Struct("=H"), MAX_FRAME, commands=True),
    )
}
"""The framings by name: VDE, QEMU and passt, gvproxy, ZeroTier."""


class RecordDecoder:
    """Cut a stream into the payloads of its records."""

    def __init__(self, framing: Framing) -> None:
        self._framing = framing
        self._pending = bytearray()
        self._needed = 0

    @property
    def buffered(self) -> int:
        """Bytes held of a record that is not complete."""
        return len(self._pending)

    def feed(self, data: bytes) -> list[bytes]:
        """Return the payloads that ``data`` completes, empty ones included.

        Raises ProtocolError at a length above the framing's maximum; nothing can be decoded
        after that, for nobody knows where the next record starts. The payloads in front of it
        in the same chunk are lost with it.
        """
        if self._pending:
            self._pending += data
            if len(self._pending) < self._needed:
                return []
            data = bytes(self._pending)
            self._pending.clear()
        unpack = self._framing.prefix.unpack_from
        size = self._framing.prefix.size
        maximum = self._framing.maximum
        end = len(data)
        start = size
        needed = size
        payloads: list[bytes] = []
        append = payloads.append
        while start <= end:
            (length,) = unpack(data, start - size)
            if length > maximum:
                raise ProtocolError(
                    f"the stream is not in {self._framing.name} framing: "
                    f"it announces a record of {length} bytes, {maximum} is the most"
                )
            stop = start + length
            if stop > end:
                needed = size + length
                break
            append(data[start:stop])
            start = stop + size
        self._pending += data[start - size :]
        self._needed = needed
        return payloads

    def feed_eof(self) -> None:
        """Say that the stream has ended. Raises TruncatedError if it did so inside a record."""
        if self._pending:
            raise TruncatedError(
                f"the stream ended inside a record: "
                f"{len(self._pending)} of at least {self._needed} bytes came"
            )
