"""Send the program, and find the point in the answer where its stream starts.

Whatever the login prints comes first. The stream starts behind a marker that nobody can print by
accident: a hash of a nonce that travels inside of the compressed program, so that no shell, motd or
echo of the command line holds it. The far side prints it when its device is up; what goes wrong
before is therefore a failure to start, and told as one.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from select import select
from typing import TypeVar

from ..system.stream import Stream

MOST_NOISE = 1 << 16
"""Bytes that the login may print before the marker."""

ATTENDED_SECONDS = 150.0
"""How long the start may take where somebody may be typing a password: sshd gives them 120 s
(LoginGraceTime), and the rest is for the program."""

UNATTENDED_SECONDS = 60.0
"""How long it may take without a terminal."""

_T = TypeVar("_T")


class NotStartedError(Exception):
    """The marker did not come; ``noise`` is what came instead. The message says why we gave up,
    and is empty when the remote ended by itself.
    """

    def __init__(self, message: str, noise: bytes) -> None:
        super().__init__(message)
        self.message = message
        self.noise = noise


def make_nonce() -> str:
    """Return what one start is told from all others by."""
    return os.urandom(16).hex()


def make_marker(nonce: str) -> bytes:
    """Return what the far side prints in front of its stream."""
    proof = hashlib.sha256(f"fethpipe {nonce}".encode()).hexdigest()
    return f"\0fethpipe {proof}\n".encode()


def patience() -> float:
    """Return the seconds that a start may take."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return UNATTENDED_SECONDS
    return ATTENDED_SECONDS


def handshake(
    stream: Stream,
    block: bytes,
    marker: bytes,
    *,
    watch: Mapping[int, Callable[[], _T | None]],
    on_noise: Callable[[bytes], None],
    seconds: float,
) -> _T | None:
    """Send ``block`` and read up to the marker, not a byte further.

    ``watch`` maps further descriptors to what is called when they are readable; when that returns
    something, so do we, at once. Raises NotStartedError; ``on_noise`` gets in either case, once,
    what came before the marker.
    """
    deadline = time.monotonic() + seconds
    search = _MarkerSearch(marker)
    incoming, outgoing = stream.read_descriptor, stream.write_descriptor
    with ExitStack() as stack:
        stack.callback(lambda: on_noise(search.noise) if search.noise_size else None)
        while search.missing:
            left = deadline - time.monotonic()
            if left <= 0:
                raise NotStartedError(f"it did not start within {seconds:.0f} s", search.noise)
            readable, writable, _ = select(
                [*watch, incoming], [outgoing] if block else [], [], left
            )
            for descriptor in readable:
                if descriptor != incoming:
                    result = watch[descriptor]()
                    if result is not None:
                        return result
            if writable:
                block = _send(stream, block)
            if incoming in readable:
                data = stream.read(search.missing)
                if data == b"":
                    raise NotStartedError("", search.noise)
                search.feed(data or b"")
                if search.noise_size > MOST_NOISE:
                    raise NotStartedError(
                        f"more than {MOST_NOISE >> 10} KiB came that are not its stream",
                        search.noise,
                    )
    return None


def _send(stream: Stream, block: bytes) -> bytes:
    """Return what is left to send; nothing if the reader has gone, whose words say more."""
    try:
        return stream.write(block)
    except (BrokenPipeError, ConnectionResetError):
        return b""


class _MarkerSearch:
    """Look for the marker in bytes of which no more may be read than can belong to it."""

    def __init__(self, marker: bytes) -> None:
        self._marker = marker
        self._matched = 0
        self._seen = bytearray()

    @property
    def missing(self) -> int:
        """How many bytes of the marker are still to come if it has begun already; at the end 0."""
        return len(self._marker) - self._matched

    @property
    def noise_size(self) -> int:
        """The length of ``noise``."""
        return len(self._seen) - self._matched

    @property
    def noise(self) -> bytes:
        """What came and is not the marker."""
        return bytes(self._seen[: self.noise_size])

    def feed(self, data: bytes) -> None:
        """Take at most ``missing`` bytes."""
        self._seen += data
        # The marker's first byte is nowhere else in it, so at most one place can have begun it.
        start = self._seen.rfind(self._marker[:1], -len(self._marker))
        begun = self._seen[start:] if start >= 0 else b""
        self._matched = len(begun) if begun and self._marker.startswith(bytes(begun)) else 0
