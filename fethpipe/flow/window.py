"""How much may be on the way: a window over the bytes of a stream, from the reports of the peer.

A report says how many bytes the peer has taken from the stream, and when, by the peer's clock. From
that follow, for each round trip:

- the rate at which bytes arrive, exact even where reports come late or in bunches;
- how long bytes queue on the way there: the one-way time over the least one seen. The clocks differ
  by something constant, which cancels out. What queues on the way back does not disturb it;
- the rest of the round trip, without that queue.

The window is the rate times (the rest of the round trip and a little). The little is a queue that
is meant to stand, so that the line is never idle; it is also what is looked at:

1. Where it does not stand although the window was full, the line can do more: add the little. If
   more arrives after that, and there is still no queue, start again.
2. Where more stands for a whole round, the rate of that round is what the line does, whatever it
   did before: set the window by it.
3. Where that does not help, and the rate fell with the window instead of the queue, the queue is
   somebody else's: count it as part of the line, let more stand beside it, and leave the
   competition to the TCP below. As long as more is on the way than the window, or the queue grows
   quickly, nobody can tell whose it is.

At the start the window grows by what is taken, as in the slow start of TCP, for as long as the rate
grows, too; once it jumps ahead. It becomes little larger than the line, which bytes that arrive one
behind the other show: twice as large would overflow the queue of a long line. As long as much less
is on the way than fills the line, what queues waits for the slow start of the TCP below, and does
not count. Where it starts again, it grows by half of what is taken: what it has too much before the
queue is seen is then half a round trip's worth, which the queue of most lines has room for. What
was sent while nothing more waited says nothing about the rate.

The least one-way time may change with the route, and a queue that always stands would hide it: when
it has not been seen for some seconds, one round with less on the way lets the queue run empty.

The model is that of BBR (draft-ietf-ccwg-bbr), with little pacing; one-way times are from LEDBAT
(RFC 6817).
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

FIRST = 6 * 1518
"""Bytes that may be on the way before the first report. A TCP inside sends ten segments at once
(RFC 6928); more than six overflow the queue of a line of 1 Mbit/s. If the last is lost, nothing
follows that would show it, and ssh's TCP waits for a timeout.
"""

LEAST = 3 * 1518
"""Bytes that always may: with less than a few frames, the TCP below would wait for itself. At 1
Mbit/s they take 40 ms.
"""

MARK_BYTES = 64
"""The time of sending is remembered once for so many bytes: for each ping, whose report would else
seem to tell of one before.
"""

NEAR_MARK_BYTES = 1 << 22
"""So many bytes where the window does not limit."""

_MOST = 1 << 26
# Where the slow start of the TCP inside finds a queue, it ends early, and cubic needs ten seconds
# for the rest of a long line. So the window becomes _SECOND, which is ahead of that TCP, once half
# of FIRST has been reported and no queue is seen; and until the first start is over, a queue may
# hold it, but at no less than _LEAST_AT_START.
_SECOND = 24 * 1518
_LEAST_AT_START = 12 * 1518
# Bytes that arrive one behind the other, this part of the window or more, show how fast the line is
# before the window is as large as the line. At the first start, it becomes no more than so much
# larger: to double it once more would overflow the queue of a line that is long.
_TRAIN = 0.125
_LEAST_TRAIN = 1 << 14
_TRAIN_SECONDS = 0.025  # longer than a bunch of Wi-Fi
_MOST_REPORTS = 1 << 10  # in a train
_AHEAD = 1.15
# A burst shows it sooner, though not as well. As long as less is on the way than this part of what
# fills the line, or than fills one of so many bytes a second, what queues waits for the TCP below:
# its own slow start is as long as that of the TCP inside.
_BURST = 8 * 1518
_PART = 0.6
_SLOW_LINE = 400e3
# Of ssh. More in one report may have waited for something that was lost.
_LONGEST_PACKET = 1 << 15

# The queue that is meant to stand, in seconds, without the frame that is being sent. If both
# directions are busy, a ping meets one such queue each way.
_LITTLE = 0.009
# A shorter round trip is that of a pipe or a LAN, where the processor limits and not the line: the
# kernel's buffers there are full long before the window is.
_NEAR = 0.004
# A slow line may be as short. But on it bytes are on the way for longer than this, less than the
# interval of reports, in so many reports in a row.
_NEAR_QUEUE = 0.08
_NEAR_LATE = 2
# Once that was seen, only this rate is that of a LAN, in bytes a second.
_NEAR_RATE = 12.5e6
_NEAR_MARKS = 64
# Beside somebody else's queue, the window is at most so much larger than it.
_FOREIGN_MOST = 0.1
_FOREIGN_SECONDS = 60.0
_FRAME = 1518
_LONGEST_FRAME = 0.016  # at 1 Mbit/s both ways, as acknowledgements take a part
_EXCESS = 0.015  # of the queue, more than noise

_LEAST_ROUND = 0.02
_LONG_ROUND = 0.3
_GROWING = 1.2
_MORE = 1.1
_FLAT_ROUNDS = 2
_STANDING_ROUNDS = 2
# The TCP below may go on growing for so long, where its own slow start ended early.
_SETTLING_ROUNDS = 4
_REMEMBERED_ROUNDS = 3
_STUBBORN_ROUNDS = 3
_STILL_THERE = 1.1
_GROWN = 1.25
_YIELDED = 0.75
_DRAIN_SECONDS = 8.0
_DRAIN_GAIN = 0.8
# More than what the peer leaves unreported (reporter.STEP), or both would wait for each other.
_DRAIN_LEAST = 2 * 1518
_TOUCH = 0.001
_WRAP = 1 << 32


class _Mark(NamedTuple):
    end: int
    time: float


class _Round(NamedTuple):
    """What one round trip was like."""

    rate: float
    queue: float
    """The least that bytes queued, in seconds."""
    one_way: float
    """The least time that bytes took, by two clocks that differ."""
    rest: float
    full: bool
    """Whether there was always more to send."""


class _Rounds:
    """Cut time into round trips and measure each."""

    def __init__(self) -> None:
        self.end = 0
        self.starved = -1
        self._begin = 0.0
        self._taken = 0
        self._clock = self._sent_at = 0.0
        self._started = False
        self.reset()

    def reset(self) -> None:
        self._queue = self._one_way = self._rest = float("inf")

    def open(self, sent: int, mark: _Mark, taken: int, clock: float, now: float) -> None:
        self.end, self._taken, self._clock, self._begin = sent, taken, clock, now
        self._sent_at = mark.time
        self._started = True
        self.reset()

    def add(self, *, queue: float, one_way: float, rest: float) -> None:
        self._queue = min(self._queue, queue)
        self._one_way = min(self._one_way, one_way)
        self._rest = min(self._rest, rest)

    def close(
        self, mark: _Mark, taken: int, clock: float, now: float, *, known: float, longest: float
    ) -> _Round | None:
        """Return this round if it is over. A rate up to ``known`` is nothing new."""
        passed = clock - self._clock
        over = mark.end >= self.end or passed > longest
        if not self._started or not over or passed < _LEAST_ROUND or now <= self._begin:
            return None
        # After a stall, much is taken at once: more than was sent in that time says nothing.
        rate = (taken - self._taken) / passed
        sent = (taken - self._taken) / max(passed, mark.time - self._sent_at)
        rate = min(rate, max(sent, known))
        full = self.starved < self._taken
        return _Round(rate, self._queue, self._one_way, self._rest, full)


class _Trains:
    """The highest rate at which many bytes arrived one behind the other, for so many seconds at
    least: the line's, also while less is sent. It is too high where they come in bunches that last
    longer, and 0 where all trains are short.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self.rate = 0.0
        self._seconds = seconds
        self._reports: deque[tuple[int, float]] = deque(maxlen=_MOST_REPORTS)

    def add(self, taken: int, time: float, length: int, longest: float) -> None:
        """Take a report. So many bytes are a train, at least, and a longer gap ends it."""
        reports = self._reports
        if reports and time - reports[-1][1] > longest:
            reports.clear()
        reports.append((taken, time))

        def is_train(before: int, then: float) -> bool:
            return taken - before >= length and time - then >= self._seconds

        while len(reports) > 1 and is_train(*reports[1]):
            reports.popleft()
        before, then = reports[0]
        if is_train(before, then) and time > then:
            self.rate = max(self.rate, (taken - before) / (time - then))


class Window:
    """The bytes of one direction of one stream: ``sent`` so far, and ``limit``, the count up to
    which they may be sent. ``now`` is in seconds of any monotonic clock.

    ``rate`` is in bytes a second, 0 before it is known; ``round_trip`` in seconds, without what
    queues on the way there, which is ``queue``. ``starting`` while the rate still grows, and then
    ``stalled`` until the end of a round in which much arrived late at once; ``foreign`` beside
    somebody else's queue, ``near`` where the window does not limit.
    """

    def __init__(self, now: float) -> None:
        self.sent = 0
        self.taken = 0
        self.limit = FIRST
        self.size = float(FIRST)
        self.rate = 0.0
        self.round_trip = 0.0
        self.queue = 0.0
        self.starting = True
        self.foreign = False
        self.stalled = False
        self.near = False
        self._was_near = False
        self._late = 0
        self._before_late = (0, 0.0)
        self._marks: deque[_Mark] = deque()
        self.next_mark = MARK_BYTES
        self._clock: int | None = None
        self._time = 0.0
        self._rounds = _Rounds()
        self._trains = _Trains(_TRAIN_SECONDS)
        self._bursts = _Trains()
        self._rates: deque[float] = deque(maxlen=_REMEMBERED_ROUNDS)
        self._rests: deque[float] = deque(maxlen=_REMEMBERED_ROUNDS)
        self._least = self._lowest = float("inf")
        self._least_at = self._lowest_at = now
        self._draining = 0
        self._refilling = False
        self._flat = 0
        self._held = False
        self._standing = self._since_start = 0
        self._first_start = True
        self._grown = 0
        self._best = 0.0
        self._growth = 0
        self._in_vain = False
        self._slower = 0.0
        self._stubborn = 0
        self._last_queue = 0.0
        self._fixed = 0.0

    @property
    def room(self) -> int:
        """Bytes that may be sent now, 0 or less while the window is full."""
        return self.limit - self.sent

    @property
    def settled(self) -> bool:
        """Whether some rounds have passed since the first start, and there is no other."""
        return not self.starting and self._since_start > _SETTLING_ROUNDS

    @property
    def on_the_way(self) -> int:
        """Bytes sent that were not reported as taken."""
        return self.sent - self.taken

    def start(self, sent: int) -> None:
        """Note what was sent before anybody measured."""
        self.sent = sent
        self.next_mark = sent + MARK_BYTES

    def on_send(self, count: int, now: float) -> None:
        """Note that so many bytes were given to the stream."""
        self.sent += count
        if self.sent >= self.next_mark:
            self._marks.append(_Mark(self.sent, now))
            step = NEAR_MARK_BYTES if self.near else max(MARK_BYTES, int(self.size) >> 12)
            self.next_mark = self.sent + step

    def on_starved(self) -> None:
        """Note that nothing waits to be sent although there is room."""
        self._rounds.starved = self.sent

    def on_report(self, taken: int, clock: int, now: float) -> bool:
        """Take a report: bytes taken, and microseconds of the peer's clock, both modulo 2**32.

        Returns whether it can be true. One that cannot changes nothing.
        """
        more = (taken - self.taken) % _WRAP
        passed = (clock - self._clock) % _WRAP if self._clock is not None else 0
        if more > self.on_the_way or passed >= _WRAP // 2:
            return False
        self._clock = clock
        self._time += passed * 1e-6
        growing = self.starting and 2 * self.on_the_way > self.size
        self.taken += more
        mark = None
        oldest = self._marks[0] if self._marks else None
        while self._marks and self._marks[0].end <= self.taken:
            mark = self._marks.popleft()
        if self.near:
            self._doubt()
        if mark:
            self._sample(mark, now)
        if self.starting and oldest and more > max(_LONGEST_PACKET, self.size / 4):
            self._notice_stall(oldest, more)
        if self.starting and self._first_start and more and not self.stalled:
            length = max(_LEAST_TRAIN, int(self.size * _TRAIN))
            gap = self.round_trip / 4
            self._trains.add(self.taken, self._time, length, gap)
            self._bursts.add(self.taken, self._time, _BURST, gap)
        if growing and self.starting and not (self._held or self.stalled):
            self._grow_at_start(more)
        self.limit = self.taken + int(self.size)
        return True

    def _sample(self, mark: _Mark, now: float) -> None:
        one_way, round_trip = self._time - mark.time, now - mark.time
        self._keep_least(one_way, round_trip, now)
        self.queue = one_way - self._least
        rest = round_trip - self.queue
        fast = not self._was_near or self.rate > _NEAR_RATE
        if round_trip < _NEAR and fast and not self.near:
            self.near = True
            self._set(_MOST)
        if self.starting and not self._held and self._queues_at_start():
            self._held = True
            least = _LEAST_AT_START if self._first_start else LEAST
            self._set(min(self.size, max(least, self.on_the_way, self.rate * self.round_trip)))
        self._rounds.add(queue=self.queue, one_way=one_way, rest=rest)
        # Where the rate has fallen, what is on the way takes many round trips.
        longest = max(_LONG_ROUND, 2 * (self.round_trip + self._little))
        done = self._rounds.close(
            mark, self.taken, self._time, now, known=self.rate, longest=longest
        )
        if done:
            self._learn(done, now)
        if done or (not self._rates and self._rounds.end == 0):
            self._rounds.open(self.sent, mark, self.taken, self._time, now)

    def _doubt(self) -> None:
        """Limit what is sent after all if too much of it is late."""
        marks = self._marks
        late = bool(marks) and self._time - marks[0].time - self._least > _NEAR_QUEUE
        self._late = self._late + 1 if late else 0
        if not late:
            self._before_late = (self.taken, self._time)
        if len(marks) < _NEAR_MARKS:
            self.next_mark = self.sent + 1
        if self._late >= _NEAR_LATE:
            self._leave_near()

    def _leave_near(self) -> None:
        taken, time = self._before_late
        if self._time <= time:
            return
        self.near, self._was_near = False, True
        self.starting = self._first_start = self._held = self._refilling = self.stalled = False
        self._late = self._draining = self._growth = self._stubborn = 0
        self.rate = (self.taken - taken) / (self._time - time)
        self._rates.clear()
        self._rounds = _Rounds()
        self._marks.clear()
        self.next_mark = self.sent + MARK_BYTES
        self._set(self.rate * (self.round_trip + self._little))

    def _keep_least(self, one_way: float, round_trip: float, now: float) -> None:
        if one_way < self._lowest or now - self._lowest_at > _FOREIGN_SECONDS:
            self._lowest, self._lowest_at = one_way, now
            self.foreign = False
        if self.near and round_trip < _NEAR and now - self._least_at > _DRAIN_SECONDS:
            # Nobody drains it, and clocks drift. A report that is late says nothing.
            self._least = self._lowest = one_way
            self._least_at = self._lowest_at = now
        if one_way < self._least + _TOUCH and not self.foreign:
            self._least_at = now
        self._least = min(self._least, one_way)
        if self._least < self._lowest + _EXCESS:
            self.foreign = False

    def _learn(self, done: _Round, now: float) -> None:
        self._rests.append(done.rest)
        self.round_trip = min(self._rests)
        if self._draining:
            self._drain(done, now)
            return
        if self._refilling:
            self._refilling = False
            return
        if done.full or done.rate > self.rate or done.queue > 2 * self._little:
            self._rates.append(done.rate)
        self._adapt(done, now)
        if (
            self._draining == 0
            and done.full
            and not self.near
            and now - self._least_at > _DRAIN_SECONDS
        ):
            self._start_drain()

    @property
    def _little(self) -> float:
        """Seconds of queue that are meant to stand."""
        if self.foreign:
            return min(self.round_trip, _FOREIGN_MOST)
        return _LITTLE + self.frame

    @property
    def frame(self) -> float:
        """Seconds that a full frame takes, at most those at 1 Mbit/s; 0 before a rate is known."""
        return min(_LONGEST_FRAME, _FRAME / self.rate) if self.rate else 0.0

    @property
    def _some(self) -> float:
        """Seconds of queue that are as much as is meant to stand."""
        return self._little + self.frame

    @property
    def _much(self) -> float:
        """Seconds of queue that are more than is meant to stand."""
        return self._some + _EXCESS

    def _grow_at_start(self, more: int) -> None:
        if not self._first_start:
            self._set(self.size + more / 2)
            return
        self._grown += more
        size = self.size + more
        if self._grown > FIRST // 2 and self.queue < _LITTLE:
            size = max(size, _SECOND)
        if self._trains.rate:
            most = _AHEAD * self._trains.rate * self.round_trip
            size = max(self.size, min(size, most))
        self._set(size)

    def _notice_stall(self, oldest: _Mark, more: int) -> None:
        """Note whether the oldest of what was taken at once had waited for longer than bytes do.

        Then the TCP below sent something again. The TCP inside answers to all of it at once, which
        would overflow the queue of the line again.
        """
        if self._waits_for_tcp(self.on_the_way + more):
            return
        waited = self._time - oldest.time - self._least
        self.stalled |= 0 < self.round_trip / 2 < waited and not self.near

    def _waits_for_tcp(self, on_the_way: int) -> bool:
        """Return whether, with so little on the way, what queues waits for the TCP below."""
        least = max(_SLOW_LINE, _PART * self._bursts.rate)
        return self._first_start and on_the_way < least * self.round_trip

    def _queues_at_start(self) -> bool:
        """Return whether the window had better not grow for now.

        The first bytes fit into the first window of the TCP below, so they queue on the line only;
        what queues later may wait for that TCP.
        """
        if self._first_start:
            if self.size < 2 * FIRST:
                return self.queue > _LITTLE
            if self._waits_for_tcp(self.on_the_way):
                return False
        return self.queue > self._some and self.rate > 0

    def _adapt(self, done: _Round, now: float) -> None:
        little = self._little
        if self.starting and self._start(done):
            return
        self._since_start += 1
        self.rate = max(self._rates, default=0.0)
        if self._is_foreign(done):
            self._count_as_line(done, now)
        elif done.queue > self._much:
            self._shrink(done)
        elif done.queue >= little / 2:
            self._growth = 0
            self._set(self.rate * (self.round_trip + little))
        elif done.full and self.queue < self._much:
            self._grow()

    def _grow(self) -> None:
        """Have a little more on the way; if that makes more arrive and no queue, start again.

        What this round sends arrives in the next one, so only the one after can tell. If that was
        in vain, the next round without a queue may be chance.
        """
        if self._in_vain:
            self._in_vain = False
            return
        if self._growth == 0:
            self._slower = self.rate
            more = max(self._little, self.round_trip * (_MORE - 1))
            self._set(self.size + self.rate * more)
        elif self._growth == 2 and self.rate < _MORE * self._slower:
            self._in_vain = True
            self._set(self.rate * (self.round_trip + self._little))
        elif self._growth == 2:
            self.starting, self._held, self._first_start = True, False, False
            self._best, self._flat, self._standing = self.rate, 0, 0
        self._growth = (self._growth + 1) % 3

    def _start(self, done: _Round) -> bool:
        """Go on growing while the rate grows; return whether it does.

        The first of a queue only holds the window: it may be a stall, or the slow start of the TCP
        below, as well. One that stands for two rounds ends the start.
        """
        held = self._held or self.stalled
        self.stalled = False
        self._standing = self._standing + 1 if done.queue >= self._some else 0
        self.rate = max(self._rates, default=done.rate)
        if done.rate > _GROWING * self._best:
            self._best, self._flat = done.rate, 0
        elif done.full or held:
            self._flat += 1
        self.starting = self._flat < _FLAT_ROUNDS and self._standing < _STANDING_ROUNDS
        self._held = self.starting and self._standing > 0
        return self.starting

    def _shrink(self, done: _Round) -> None:
        """Have less on the way: the rate of this round is the line's."""
        self._growth = 0
        self._rates.clear()
        self._rates.append(done.rate)
        self.rate = done.rate
        self._set(self.rate * (self.round_trip + self._little))

    def _is_foreign(self, done: _Round) -> bool:
        """Return whether a queue stands that does not become shorter although we send less."""
        least = self.size <= LEAST
        if not least and self.on_the_way > _STILL_THERE * self.size:
            return False  # what stands may be what was sent before the window became smaller
        before, self._last_queue = self._last_queue, done.queue
        if done.queue < self._some or not done.full:
            self._stubborn, self._last_queue = 0, 0.0
            return False
        if not least and done.queue > _GROWN * before + _EXCESS:
            self._stubborn = 0  # the line itself may be becoming slower
        self._stubborn += 1
        if self._stubborn <= 2 and self.size > 2 * LEAST:
            # That of the line, even if it has just changed. Some frames get only what others leave.
            self._fixed = done.rate
        if self._stubborn <= _STUBBORN_ROUNDS:
            return False
        return least or done.rate < _YIELDED * self._fixed

    def _count_as_line(self, done: _Round, now: float) -> None:
        """Take somebody else's queue for a part of the line, until it is looked at again."""
        self._stubborn = self._growth = 0
        self.foreign = True
        self._least, self._least_at = done.one_way, now - _DRAIN_SECONDS / 2
        self.round_trip += done.queue
        self._rests.clear()
        self._rests.append(self.round_trip)
        self._set(self._fixed * (self.round_trip + self._little))

    def _start_drain(self) -> None:
        self._draining = 2
        self._kept = self.size
        # Without what was taken for somebody else's queue: it may have been ours.
        empty = max(0.0, self.round_trip - (self._least - self._lowest))
        self.size = max(_DRAIN_LEAST, min(self.size, _DRAIN_GAIN * self.rate * empty))
        self._drained = float("inf")

    def _drain(self, done: _Round, now: float) -> None:
        if done.queue > self._much:
            self._draining = 0
            self._least_at = now - _DRAIN_SECONDS / 2
            self._shrink(done)
            return
        self._drained = min(self._drained, done.one_way)
        self._draining -= 1
        if self._draining:
            return
        self._least, self._least_at = self._drained, now
        self.foreign = self._drained > self._lowest + _EXCESS
        self._set(self._kept)
        self._refilling = True

    def _set(self, size: float) -> None:
        self.size = _MOST if self.near else min(_MOST, max(LEAST, size))
