"""The report: what one side says of the bytes that it has taken from the stream.

Nine bytes: how many bytes it has taken since the first of the hello, and the microseconds of a
clock of its own when it took the last of them, 4 bytes each, big-endian and modulo 2**32; then
flags. No frame and no super-frame is that short, so a record of nine bytes is told from theirs, and
no host can send one through a device.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

REPORT_LENGTH = 9

_MODULUS = 1 << 32
_NEAR = 1
_REPORT = struct.Struct(">IIB")


class Report(NamedTuple):
    """Bytes taken, and microseconds of the clock of whoever took them; both modulo 2**32."""

    taken: int
    clock: int
    near: bool = False
    """Whether its sender needs reports only now and then, as it does not limit what it sends."""


def encode_report(taken: int, seconds: float, *, near: bool = False) -> bytes:
    """Return the payload of a record; of numbers that do not fit, the rest modulo 2**32."""
    return _REPORT.pack(taken % _MODULUS, int(seconds * 1e6) % _MODULUS, _NEAR if near else 0)


def decode_report(payload: bytes | memoryview) -> Report:
    """Return the report that a payload of ``REPORT_LENGTH`` bytes is."""
    taken, clock, flags = _REPORT.unpack(payload)
    return Report(taken, clock, bool(flags & _NEAR))
