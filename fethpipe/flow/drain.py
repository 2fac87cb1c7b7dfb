"""How much may lie unread in a pipe or socket, towards a peer that reports nothing.

What is seen here is only how fast the reader takes bytes, and how many it has left. Where those
would take long, less may lie there, and the rest waits in fair queues. What the reader itself has
taken and holds back, as ssh does with some megabytes, nobody here can shorten.

Nothing limits a reader that is fast, or that often finds nothing to read.
"""

from __future__ import annotations

SECONDS = 0.05
"""What lies unread is read in so many seconds, at the rate of the reader."""

LEAST = 1 << 14
"""Bytes that always may: programs read so many at once."""

FAST = 4e6
"""Bytes a second from which on nothing is limited: there the processor may be what is slow, and
what the kernel holds, a mebibyte at most, lasts a quarter of a second."""

LOOK = 0.005
"""Seconds between two looks, while something waits."""

_UNLIMITED = 1 << 62
_PERIOD = 0.2
_GAP = 0.5


class Drain:
    """The place of a :class:`.window.Window` where there are no reports. ``now`` is in seconds of
    any monotonic clock, ``rate`` in bytes a second, 0 where it does not limit.
    """

    starting = False
    stalled = False
    settled = True
    foreign = False
    round_trip = 0.0
    next_mark = _UNLIMITED
    frame = 0.0

    def __init__(self) -> None:
        self.sent = self.taken = 0
        self.rate = self.queue = 0.0
        self.size = self.limit = _UNLIMITED
        self.near = True
        self._last = self._begin = float("-inf")
        self._taken_before = self._looks = self._empty = 0

    @property
    def room(self) -> int:
        """Bytes that may be sent now, 0 or less while there is enough to read."""
        return self.limit - self.sent

    @property
    def on_the_way(self) -> int:
        """Bytes sent that were not read."""
        return self.sent - self.taken

    def on_send(self, count: int, _now: float) -> None:
        """Note that so many bytes were given to the stream."""
        self.sent += count

    def on_starved(self) -> None:
        """Note that nothing waits to be sent."""

    def on_unread(self, unread: int, now: float) -> None:
        """Note how many bytes lie unread, while there is more to send."""
        self.taken = max(self.taken, self.sent - unread)
        if now - self._last > _GAP:
            self._measure_from(now)
        self._last = now
        self._looks += 1
        self._empty += unread == 0
        if now - self._begin >= _PERIOD:
            self._learn(now)
            self._measure_from(now)
        self.queue = unread / self.rate if self.rate else 0.0
        self.limit = _UNLIMITED if self.near else self.taken + self.size

    def _measure_from(self, now: float) -> None:
        self._begin, self._taken_before = now, self.taken
        self._looks = self._empty = 0

    def _learn(self, now: float) -> None:
        rate = (self.taken - self._taken_before) / (now - self._begin)
        if not rate:  # a reader that has stopped says nothing about how fast it will be
            self.size = _UNLIMITED
        elif 2 * self._empty > self._looks:
            self.size = min(_UNLIMITED, 2 * self.size)
        else:
            self.size = max(LEAST, int(rate * SECONDS))
        self.near = rate > FAST or self.size > FAST * SECONDS
        self.rate = 0.0 if self.near else rate
