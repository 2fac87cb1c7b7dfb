"""Latency control of one direction: a window, and a fair queue for what it does not let out.

Frames go directly from the device to the stream while nothing waits and the window has room for
them. Whoever moves them compares two counts for that: ``lone_limit`` and ``batch_limit`` are the
bytes sent up to which a short frame, or a batch as devices give it, needs no asking. Nothing is
limited before ``start``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .drain import LOOK, Drain
from .queue import FairQueue
from .window import Window

LONE = 1 << 12
"""No frame that is sent without asking for its length is longer."""

BATCH = 1 << 18
"""No batch of frames is longer."""

_UNLIMITED = 1 << 62
# On a slower line the longest super-frame alone takes 5 ms. From twice that rate on, it is fast.
_SLOW = 13e6
_MOST_TAKEN = 1 << 16
# What waits leaves a little faster than the line takes it, a millisecond at a time. ssh makes one
# packet of a burst, and that arrives as a whole, having queued behind itself: half the line would
# look full for ever, or, where the window has few frames, be idle between two bursts. The faster
# the line, the more of it is lost where a processor that is busy wakes up late. Whoever sends more
# slowly beside somebody else's queue gets less of the line. At a start, only the answer to what
# arrived late at once is held back so: it would overflow the queue of the line.
_PACE = 1.2
_PACE_OF_FAST_LINES = 1.4
_PACE_BESIDE_FOREIGN = 2.0
_STEP_SECONDS = 0.001
# So much may be made up for where the process wakes up late.
_LATE_SECONDS = 0.005
# What a stall or a trickle was like may be all that is known of the rate.
_LONGEST_PAUSE = 0.0125


class Control:
    """What one side sends on one stream.

    ``active`` once the peer reports. Before that, and without reports, ``look`` is in how many
    seconds to call ``on_unread``, while something waits for the stream; None for never.

    ``limits`` while the line can be what limits, which that of a pipe or a LAN cannot; ``waiting``
    while frames do. ``slow`` while frames had better be short, as what waits behind them waits
    long; while the window is starting, it stays as it was. ``next_mark`` is the count of bytes sent
    from which on ``on_send`` is to be called.
    ``now`` is in seconds of a monotonic clock.
    """

    def __init__(self, now: float) -> None:
        self.window: Window | Drain = Window(now)
        self.look: float | None = None
        self._next = now
        self._blocked = False
        self.queue = FairQueue()
        self.active = self.limits = self.waiting = self.slow = False
        self.lone_limit = self.batch_limit = self.next_mark = _UNLIMITED

    def start(self, sent: int, now: float) -> None:
        """The peer will report: from now on there are limits. So much was sent before."""
        self.active = self.limits = True
        self.look = None
        window = self.window = Window(now)
        window.start(sent)
        self.next_mark = window.next_mark
        self._set_limits()

    def start_looking(self) -> None:
        """Bound what lies unread, as long as the peer has not said that it will report."""
        self.window, self.look = Drain(), LOOK

    def on_unread(self, sent: int, unread: int, now: float) -> None:
        """Note what the stream has been given since its start, and what of it nobody has read."""
        window = self.window
        if isinstance(window, Drain):
            window.on_send(sent - window.sent, now)
            window.on_unread(unread, now)
            self.look = LOOK if window.rate else 10 * LOOK
            self._adapt_to_rate()

    def on_send(self, sent: int, now: float) -> None:
        """Note how many bytes the stream has been given since its start."""
        if self.look is None and not self.active:
            return  # nobody will report what became of them
        window = self.window
        window.on_send(sent - window.sent, now)
        if sent <= self.lone_limit:
            window.on_starved()
        self.next_mark = window.next_mark

    def on_report(self, taken: int, clock: int, now: float) -> bool:
        """Take the peer's report; return whether it can be true."""
        window = self.window
        if isinstance(window, Drain) or not window.on_report(taken, clock, now):
            return False
        self.next_mark = window.next_mark
        self._adapt_to_rate()
        return True

    def put(self, frames: Iterable[bytes], now: float) -> None:
        """Have frames wait."""
        if not self.queue:
            self._blocked = True  # until now by nothing to send
        for frame in frames:
            self.queue.put(frame, now)
        self._set_limits()

    def take(self, now: float) -> list[bytes]:
        """Return the frames that go next, as many as there is room for, up to some 64 KiB."""
        if self.pause(now) > 0:
            return []
        left = self.window.room
        if self._blocked and left > 0:  # it was not we who were late
            self._next = max(self._next, now - _STEP_SECONDS)
        room = min(left, _MOST_TAKEN)
        pace = self._pace
        if pace:
            room = min(room, max(1, int(pace * _STEP_SECONDS)))
        frames: list[bytes] = []
        while room > 0:
            frame = self.queue.get(now)
            if frame is None:
                self.window.on_starved()
                break
            frames.append(frame)
            room -= len(frame)
        size = sum(map(len, frames))
        self._blocked = size >= left
        if pace:
            end = max(self._next, now - _LATE_SECONDS) + size / pace
            self._next = min(end, now + _LONGEST_PAUSE)
        self._set_limits()
        return frames

    def patience(self, now: float) -> float:
        """Return for how many seconds a report may wait for the next frame.

        ssh makes one packet of both: a report alone costs a slow line, with the acknowledgements of
        TCP, a tenth of what a frame does.
        """
        if not (self._paced and self.waiting) or (self.window.room > 0 and self.pause(now) <= 0):
            return 0.0
        return self.window.frame

    def pause(self, now: float) -> float:
        """Return for how many seconds nothing more may go, 0 or less for none."""
        return self._next - now if self._paced else 0.0

    @property
    def _paced(self) -> bool:
        window = self.window
        return self.active and (window.stalled or (self.slow and not window.starting))

    @property
    def _pace(self) -> float:
        """Bytes a second, 0 for as fast as can be."""
        if not self._paced:
            return 0.0
        window = self.window
        rate = window.rate
        if window.stalled and window.round_trip > 0:  # what arrived late says little of the rate
            rate = max(rate, window.size / window.round_trip)
        if window.foreign:
            return rate * _PACE_BESIDE_FOREIGN
        fast = min(1.0, rate / _SLOW)
        return rate * (_PACE + fast * (_PACE_OF_FAST_LINES - _PACE))

    def add_headers(self, header: bytes) -> None:
        """Have this in front of the frames that wait; those that come now have it already."""
        self.queue.prepend(header)

    def describe(self) -> Sequence[str]:
        """Return the state of the line in a few words, then in fewer and in very few; nothing as
        long as nothing is known of it. The shorter forms leave out what was dropped, which is among
        the drops of the tunnel.
        """
        window, queue = self.window, self.queue
        if window.near:
            return ["line faster than what is sent", "line fast"] if self.active else []
        if not window.rate:
            return []
        rate, least = _round(window.rate * 8e-6), "" if window.settled else "at least "
        trip = _round(max(0.0, window.round_trip) * 1e3) if self.active else ""
        way, room = window.on_the_way >> 10, int(window.size) >> 10
        queued = f"{window.queue * 1e3:.0f} ms" if way else ""
        waiting, waited = queue.size >> 10, f"{queue.delay * 1e3:.0f} ms" if queue else ""
        more = least and ">"
        return [
            f"line {least}{rate} Mbit/s, {trip and f'round trip {trip} ms, '}"
            f"on the way {way} of {room} KiB{queued and f' ({queued} queued)'}, "
            f"waiting {waiting} KiB{waited and f' ({waited})'}, "
            f"{queue.marked} marked, {queue.dropped} dropped",
            f"line {more}{rate} Mbit/s, {trip and f'{trip} ms, '}{way}/{room} KiB, "
            f"waiting {waiting} KiB{waited and f' {waited}'}, {queue.marked} marked",
            f"line {more}{rate}M {trip and f'{trip}ms '}{way}/{room}K "
            f"wait {waiting}K{waited and ' ' + waited.replace(' ', '')} mark {queue.marked}",
        ]

    def _adapt_to_rate(self) -> None:
        window = self.window
        fast = 2 * _SLOW if self.slow else _SLOW
        if window.near or not window.starting:  # the rate may still be only that of some pings
            self.slow = 0 < window.rate < fast and not window.near
        rate = window.rate if window.settled else 0.0
        self.queue.adapt(rate=rate, round_trip=window.round_trip)
        self._set_limits()

    def _set_limits(self) -> None:
        if not self.active and self.look is None:
            return
        self.waiting = bool(self.queue)
        self.limits = self.waiting or not self.window.near
        if self.waiting:
            self.lone_limit = self.batch_limit = -1
        else:
            self.lone_limit = self.window.limit - LONE
            self.batch_limit = -1 if self.window.stalled else self.window.limit - BATCH


def _round(number: float) -> str:
    """Return two digits and more, without an exponent."""
    return f"{number:.0f}" if number >= 10 else f"{number:.2g}"
