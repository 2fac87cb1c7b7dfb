"""A line in virtual time, with a sender behind a window at one end and a reporter at the other.

Bytes go through the send queue of a TCP in slow start, a bottleneck with a queue, and a delay. A
competitor, if there is one, keeps so many bytes on the way whatever happens.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fethpipe.flow.reporter import INTERVAL, NEAR_INTERVAL, STEP
from fethpipe.flow.window import Window

FRAME = 1518
WIFI = 300 * 125_000
"""Bytes a second within a bunch."""
_MODULUS = 1 << 32


@dataclass
class Part:
    """What half a second was like: bytes a second that arrived, and seconds they queued."""

    time: float
    rate: float = 0.0
    queued: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Seconds that bytes queued."""
        return sorted(self.queued)[len(self.queued) // 2] if self.queued else 0.0


class Line:
    """The simulation. ``rate`` is bytes a second at a time; ``delay`` there and back in seconds.

    ``bunch`` holds reports back to multiples of so many seconds, and ``wifi`` what arrives.
    ``pause`` is how long the sender waits after each frame of ``small`` bytes at a time, None for
    not at all. ``stall`` stops the receiver for so many seconds at the end of each two.
    ``slow_start`` is that of the TCP. ``buffers`` is how many bytes the stream and the line hold.
    """

    def __init__(
        self,
        rate: Callable[[float], float],
        delay: float,
        *,
        bunch: float = 0.0,
        wifi: float = 0.0,
        competitor: int = 0,
        stall: float = 0.0,
        pause: Callable[[float], float] | None = None,
        small: int = FRAME,
        slow_start: bool = True,
        buffers: int = 1 << 62,
    ) -> None:
        self.window = Window(0.0)
        self.parts: list[Part] = []
        self.most_over = 0
        self.most_queued = 0.0  # seconds, at the bottleneck
        self._rate = rate
        self._delay = delay
        self._bunch = bunch
        self._wifi = wifi
        self._on_air = 0.0
        self._stall = stall
        self._pause = pause
        self._small = small
        self._buffers = buffers
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._number = 0
        self._now = 0.0
        self._busy = 0.0
        self._socket: deque[tuple[float, int]] = deque()
        self._allowed = 10 * FRAME if slow_start else 1 << 62
        self._unacknowledged = 0
        self._taken = self._reported = 0
        self._last_report = -1.0
        self._owed = False
        self._competitor = competitor

    def run(self, seconds: float) -> list[Part]:
        """Run so long, and return what each half second was like."""
        self._at(0.0, self._sum_up)
        self._at(0.0, self._trickle if self._pause else self._fill)
        for _ in range(self._competitor // FRAME):
            self._at(1.0, self._compete)
        while self._events:
            self._now, _, call, arguments = heapq.heappop(self._events)
            if self._now > seconds:
                break
            call(*arguments)
        return self.parts

    @staticmethod
    def clock(time: float) -> int:
        """Return the microseconds of the receiver's clock, which wraps after five seconds."""
        return (int(time * 1e6) + 4_290_000_000) % _MODULUS

    def _at(self, time: float, call: Callable[..., None], *arguments: object) -> None:
        self._number += 1
        heapq.heappush(self._events, (time, self._number, call, arguments))

    def _fill(self) -> None:
        while self.window.room > 0 and self.window.sent - self._taken < self._buffers:
            self._send()
        self._transmit()

    def _trickle(self) -> None:
        pause = self._pause(self._now) if self._pause else 0.0
        if not pause:
            self._pause = None
            self._fill()
            return
        self._send(self._small)
        self.window.on_starved()
        self._transmit()
        self._at(self._now + pause, self._trickle)

    def _send(self, size: int = FRAME) -> None:
        self.window.on_send(size, self._now)
        self._socket.append((self._now, size))
        self.most_over = max(self.most_over, self.window.sent - self.window.limit)

    def _transmit(self) -> None:
        while self._socket and self._unacknowledged < self._allowed:
            sent, size = self._socket.popleft()
            self._unacknowledged += size
            self._at(self._pass_bottleneck(size), self._arrive, sent, size)

    def _pass_bottleneck(self, size: int = FRAME) -> float:
        self._busy = max(self._busy, self._now) + size / self._rate(self._now)
        self.most_queued = max(self.most_queued, self._busy - self._now)
        arrives = self._busy + self._delay / 2
        if self._wifi:
            begin = (arrives // self._wifi + 1) * self._wifi
            arrives = self._on_air = max(self._on_air, begin) + size / WIFI
        return arrives

    def _compete(self) -> None:
        self._at(self._pass_bottleneck() + self._delay / 2, self._compete)

    def _arrive(self, sent: float, size: int) -> None:
        end = (self._now // 2 + 1) * 2
        if self._now > end - self._stall:
            self._at(end, self._arrive, sent, size)
            return
        self._taken += size
        self.parts[-1].queued.append(self._now - sent - self._delay / 2)
        self.parts[-1].rate += size / 0.5
        self._at(self._now + self._delay / 2, self._acknowledge, size)
        if self.window.near and not self._pause:
            self._fill()
        if not self._owed and self._taken - self._reported >= STEP:
            self._owed = True
            interval = NEAR_INTERVAL if self.window.near else INTERVAL
            due = max(self._now, self._last_report + interval)
            if self._bunch:
                due = (due // self._bunch + 1) * self._bunch
            self._at(due, self._report)

    def _report(self) -> None:
        self._owed = False
        self._reported, self._last_report = self._taken, self._now
        self._at(self._now + self._delay / 2, self._hear, self._taken, self.clock(self._now))

    def _hear(self, taken: int, clock: int) -> None:
        assert self.window.on_report(taken % _MODULUS, clock, self._now)
        if not self._pause:
            self._fill()

    def _acknowledge(self, size: int) -> None:
        self._unacknowledged -= size
        if self._socket:
            self._allowed += FRAME
        self._transmit()

    def _sum_up(self) -> None:
        self.parts.append(Part(self._now))
        self._at(self._now + 0.5, self._sum_up)
