"""Send the program to the remote host, and find the point in its output where the stream starts.

What every host needs first is sent at once. A line of the search for a Python tells the system and
the user; then follows what is needed there. By then the first block is still on its way.

Before and behind that line comes whatever the login prints ("noise"). The stream starts behind a
marker, which the remote end prints when its device is up. So everything that fails before the
marker is a failure to start. Nothing can print the marker by accident: it has a nonce that travels
inside of the compressed program, where no shell, motd or echo of the command line shows it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from select import select
from typing import NamedTuple, TypeVar

from ..system.descriptors import has_controlling_terminal
from ..system.stream import Stream
from .diagnosis import NotStartedError

SYSTEMS = ("Linux", "Darwin")

MOST_NOISE = 1 << 16
"""The most bytes that the login may print before the marker."""

ATTENDED_SECONDS = 150.0
"""The time for the start, in seconds, if a user may have to type a password: sshd allows 120 s for
that (LoginGraceTime), and the rest is for the program."""

UNATTENDED_SECONDS = 60.0
"""The time for the start, in seconds, without a terminal."""

_PIPE_SIZE = 1 << 13
"""What the pipe to ssh holds, in bytes. ssh makes one packet of all that it finds there, up to 32
KiB, and the other end sees nothing of a packet before all of it has come.
"""

_PAUSE = 0.3
"""The time in seconds after which what is said no longer is the reason of a failure."""

_SYSTEM = re.compile(rb"fethpipe on (\w*) as (\d*)\n")

_T = TypeVar("_T")


class FarSystem(NamedTuple):
    """What the remote host says of itself: its system, and whether we are root there."""

    system: str
    root: bool


def patience() -> float:
    """Return the time for a start, in seconds. It is longer if there is a terminal."""
    return ATTENDED_SECONDS if has_controlling_terminal() else UNATTENDED_SECONDS


def handshake(
    stream: Stream,
    block: bytes,
    marker: bytes,
    rest: Mapping[FarSystem, bytes],
    *,
    watch: Mapping[int, Callable[[], _T | None]],
    on_noise: Callable[[bytes], None],
    on_pause: Callable[[], None] = lambda: None,
    seconds: float,
) -> _T | None:
    """Send ``block`` and what of ``rest`` is for that system, and read up to the marker, and not a
    byte further.

    ``watch`` maps other descriptors to functions that are called when they are readable. If one
    returns something, this returns that at once. ``on_pause`` is called when nothing was said for a
    moment, ``on_noise`` once, also on failure, with the bytes before the marker. Raises
    NotStartedError if the marker does not come within ``seconds``, or after too much noise.
    """
    deadline = time.monotonic() + seconds
    search = _MarkerSearch(marker)
    incoming, outgoing = stream.read_descriptor, stream.write_descriptor
    stream.narrow_pipe(_PIPE_SIZE)
    stream.write(block)
    with ExitStack() as stack:
        stack.callback(lambda: on_noise(search.noise) if search.noise else None)
        while search.missing:
            left = deadline - time.monotonic()
            if left <= 0:
                raise NotStartedError(f"it did not start within {seconds:.0f} s", search.noise)
            readable, writable, _ = select(
                [*watch, incoming], [outgoing] if stream.pending else [], [], min(left, _PAUSE)
            )
            if not readable and not writable:
                on_pause()
            for descriptor in readable:
                if descriptor != incoming:
                    result = watch[descriptor]()
                    if result is not None:
                        return result
            if writable:
                stream.write(b"")
            if incoming in readable:
                data = stream.read(search.missing)
                if data == b"":
                    raise NotStartedError("", search.noise)
                search.feed(data or b"")
                system = search.pop_system()
                if system:
                    # Another system has no devices for us: any program can say so.
                    stream.write(rest.get(system) or rest[system._replace(system=SYSTEMS[0])])
                if search.noise_size > MOST_NOISE:
                    raise NotStartedError(
                        f"it printed more than {MOST_NOISE >> 10} KiB before its stream",
                        search.noise,
                    )
    return None


class _MarkerSearch:
    """Find the marker, reading no more bytes than can belong to it."""

    def __init__(self, marker: bytes) -> None:
        self._marker = marker
        self._matched = 0
        self._seen = bytearray()
        self._system_told = False

    @property
    def missing(self) -> int:
        """The number of bytes that the marker still lacks, 0 when it is complete."""
        return len(self._marker) - self._matched

    @property
    def noise_size(self) -> int:
        """The length of ``noise``."""
        return len(self._seen) - self._matched

    @property
    def noise(self) -> bytes:
        """The bytes that are not part of the marker."""
        return bytes(self._seen[: self.noise_size])

    def pop_system(self) -> FarSystem | None:
        """Return the system when its line has come, once. The line is no noise then."""
        match = None if self._system_told else _SYSTEM.search(self._seen)
        if not match:
            return None
        self._system_told = True
        system = FarSystem(match[1].decode(), match[2] == b"0")
        del self._seen[slice(*match.span())]
        return system

    def feed(self, data: bytes) -> None:
        """Take at most ``missing`` bytes."""
        self._seen += data
        # The first byte of the marker occurs in it only once, so it can start at one place only.
        start = self._seen.rfind(self._marker[:1], -len(self._marker))
        begun = self._seen[start:] if start >= 0 else b""
        self._matched = len(begun) if begun and self._marker.startswith(bytes(begun)) else 0
