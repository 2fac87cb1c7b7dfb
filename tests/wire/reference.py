"""A second decoder, written to be obvious, and a check of the real one against it.

It knows the framings by their description in docs/PROTOCOL.md and sees the whole stream at once, so
it shares no idea, and no mistake, with the incremental one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import NamedTuple

from fethpipe.errors import ProtocolError, TruncatedError
from fethpipe.wire.framing import FRAMINGS, RecordDecoder


class Shape(NamedTuple):
    """The length of a framing: its size in bytes, its byte order, the most that it may say."""

    size: int
    order: str
    maximum: int


SHAPES = {
    "u16be": Shape(2, "big", 65535),
    "u32be": Shape(4, "big", 65613),
    "u16le": Shape(2, "little", 65535),
    "zerotier": Shape(2, sys.byteorder, 65535),
}


class Split(NamedTuple):
    """A stream as the reference understands it."""

    records: list[tuple[int, bytes]]
    """Where each record ends, and its payload."""
    impossible: int | None
    """Where the length ends that cannot be."""


def encode(name: str, payloads: Iterable[bytes]) -> bytes:
    """Return the stream of these payloads."""
    size, order, _ = SHAPES[name]
    if order == "big":
        return b"".join(len(payload).to_bytes(size, "big") + payload for payload in payloads)
    return b"".join(len(payload).to_bytes(size, "little") + payload for payload in payloads)


def split(name: str, stream: bytes) -> Split:
    """Return the complete records of a stream, up to an impossible length."""
    size, order, maximum = SHAPES[name]
    records: list[tuple[int, bytes]] = []
    position = 0
    while len(stream) >= position + size:
        digits = stream[position : position + size]
        if order == "little":
            digits = digits[::-1]
        position += size
        length = int.from_bytes(digits, "big")
        if length > maximum:
            return Split(records, position)
        if len(stream) < position + length:
            break
        records.append((position + length, stream[position : position + length]))
        position += length
    return Split(records, None)


def check(name: str, chunks: Iterable[bytes]) -> None:
    """Assert that RecordDecoder makes of these chunks what the reference makes of the whole.

    Each payload comes with the chunk that completes it, an impossible length is refused with the
    chunk that completes it, and what is held meanwhile is exactly the incomplete record.
    """
    chunks = list(chunks)
    records, impossible = split(name, b"".join(chunks))
    decoder = RecordDecoder(FRAMINGS[name])
    expected = iter([*records, None])
    following = next(expected)
    fed = complete = 0
    for chunk in chunks:
        before = fed
        fed += len(chunk)
        try:
            payloads = decoder.feed(chunk)
        except TruncatedError:  # not while the stream goes on
            raise
        except ProtocolError:
            assert impossible is not None
            assert before < impossible <= fed
            return
        assert impossible is None or fed < impossible
        for payload in payloads:
            assert following is not None
            complete, wanted = following
            assert payload == wanted
            following = next(expected)
        assert following is None or following[0] > fed
        assert decoder.buffered == fed - complete
    try:
        decoder.feed_eof()
    except TruncatedError:
        assert fed > complete
    else:
        assert fed == complete
