"""Which frame goes next: fair queueing, and CoDel for each flow (RFC 8290, RFC 8289).

Flows take turns, so many bytes each. A flow that has just begun goes before those that have a
queue: a ping, a keystroke or a new connection passes an upload at once. The frames of one flow stay
in order. When they have waited longer than the target for a whole interval, the one in front is
marked, or dropped if its flow does not understand marks; then the next, ever sooner, until the
queue is short again. So TCP learns the line's rate long before much waits.

What waits is bounded in bytes. Each frame counts more than its length, for small ones cost memory
too. When the bound is reached, the longest queue loses frames.
"""

from __future__ import annotations

from collections import deque
from math import sqrt

from .headers import flow_key, mark

FLOWS = 1024
"""Queues at most, as RFC 8290 has them: to find the longest takes time for each. Flows are assigned
by Python's hash, which nobody outside can foresee; two that meet share a turn.
"""

QUANTUM = 1514
"""Bytes that a flow may send in one turn: a full frame."""

OVERHEAD = 128
"""Bytes that each frame counts more than its length: what Python takes for it."""

_MOST_BYTES = 4 << 20
_LEAST_BYTES = 1 << 16
_LIMIT_SECONDS = 0.5
_INTERVAL = 0.1
_TARGET = 0.005
_PATIENT_TARGET = 0.5
# Shares of the round trip: an interval is a round trip and more, so that TCP has had the time to
# answer; and TCP that lets go of 30 % after a mark, as cubic does, must find as much queued.
_INTERVAL_PART = 2.0
_TARGET_PART = 0.4
_TARGET_FRAMES = 8
# RFC 8290, section 4.1.3: many at once, since to find the longest queue is the dear part.
_MOST_DROPPED = 64


class _Flow:
    def __init__(self, key: int) -> None:
        self.key = key
        self.frames: deque[tuple[float, bytes]] = deque()
        self.bytes = 0
        self.deficit = QUANTUM
        # CoDel, RFC 8289, section 5.
        self.above = 0.0
        self.next = 0.0
        self.count = 0
        self.last_count = 0
        self.dropping = False


class FairQueue:
    """Frames that wait for a line; ``skipped`` bytes come before the Ethernet header of each.

    ``delay`` is how long the last frame waited, in seconds. ``now`` is of any monotonic clock.
    """

    def __init__(self, skipped: int = 0) -> None:
        self.skipped = skipped
        self.delay = 0.0
        self.marked = 0
        self.dropped = 0
        self.limit = _MOST_BYTES
        self._target = _TARGET
        self._interval = _INTERVAL
        self._flows: dict[int, _Flow] = {}
        self._new: deque[_Flow] = deque()
        self._old: deque[_Flow] = deque()
        self._charged = 0
        self._frames = 0

    def __len__(self) -> int:
        """Return how many frames wait."""
        return self._frames

    @property
    def size(self) -> int:
        """How many bytes wait."""
        return self._charged - OVERHEAD * self._frames

    def adapt(self, *, rate: float, round_trip: float) -> None:
        """Set bounds for a line of so many bytes a second and this round trip in seconds.

        A rate of 0 is one that is not known yet.
        """
        if not rate:
            self._target, self.limit = _PATIENT_TARGET, _MOST_BYTES
            return
        self._target = max(_TARGET, _TARGET_PART * round_trip, _TARGET_FRAMES * QUANTUM / rate)
        self._interval = max(_INTERVAL, _INTERVAL_PART * (round_trip + self._target))
        seconds = max(_LIMIT_SECONDS, 2 * round_trip)
        # What waits already is not dropped at once: CoDel does it more gently.
        self.limit = int(min(_MOST_BYTES, max(_LEAST_BYTES, rate * seconds, self._charged)))

    def put(self, frame: bytes, now: float) -> None:
        """Have a frame wait."""
        key = hash(flow_key(frame, self.skipped)) % FLOWS
        flow = self._flows.get(key)
        if flow is None:
            flow = self._flows[key] = _Flow(key)
            self._new.append(flow)
        # Many frames were read into buffers of 64 KiB, whose rest would stay with each that waits.
        flow.frames.append((now, bytes(memoryview(frame))))
        charge = len(frame) + OVERHEAD
        flow.bytes += charge
        self._charged += charge
        self._frames += 1
        if self._charged > self.limit:
            self._make_room()

    def get(self, now: float) -> bytes | None:
        """Return the frame that goes next, None if none waits."""
        while self._frames:
            turns = self._new or self._old
            flow = turns[0]
            if flow.deficit <= 0:
                flow.deficit += QUANTUM
                turns.popleft()
                self._old.append(flow)
                continue
            frame = self._next_of(flow, now)
            if frame is None:
                turns.popleft()
                if turns is self._new and self._old:  # lest it come back as new at once
                    self._old.append(flow)
                else:
                    del self._flows[flow.key]
                continue
            flow.deficit -= len(frame)
            return frame
        self._forget()
        return None

    def prepend(self, header: bytes) -> None:
        """Put a virtio header in front of all that waits; what comes from now on has one."""
        self.skipped += len(header)
        for flow in self._flows.values():
            flow.frames = deque((arrived, header + frame) for arrived, frame in flow.frames)
            flow.bytes += len(header) * len(flow.frames)
        self._charged += len(header) * self._frames

    def _forget(self) -> None:
        self._flows.clear()
        self._new.clear()
        self._old.clear()

    def _take(self, flow: _Flow) -> tuple[float, bytes]:
        arrived, frame = flow.frames.popleft()
        charge = len(frame) + OVERHEAD
        flow.bytes -= charge
        self._charged -= charge
        self._frames -= 1
        return arrived, frame

    def _next_of(self, flow: _Flow, now: float) -> bytes | None:
        """Return the next frame of a flow; before it, CoDel may drop some."""
        while flow.frames:
            arrived, frame = self._take(flow)
            if not self._is_due(flow, now - arrived, now):
                self.delay = now - arrived
                return frame
            marked = mark(frame, self.skipped)
            if marked is not None:
                self.marked += 1
                self.delay = now - arrived
                return marked
            self.dropped += 1
        flow.dropping = False
        return None

    def _is_due(self, flow: _Flow, waited: float, now: float) -> bool:
        """Return whether a frame that waited so long is to be dropped or marked."""
        if waited < self._target or flow.bytes <= QUANTUM:
            flow.above = 0.0
            flow.dropping = False
            return False
        if not flow.above:
            flow.above = now + self._interval
            return False
        if flow.dropping:
            if now < flow.next:
                return False
            flow.count += 1
            flow.next += self._interval / sqrt(flow.count)
            return True
        if now < flow.above:
            return False
        flow.dropping = True
        # It was dropping a moment ago: go on where that ended, for that was about right.
        recent = now - flow.next < 16 * self._interval
        gained = flow.count - flow.last_count
        flow.count = gained if recent and gained > 1 else 1
        flow.last_count = flow.count
        flow.next = now + self._interval / sqrt(flow.count)
        return True

    def _make_room(self) -> None:
        longest = max(self._flows.values(), key=lambda flow: flow.bytes)
        half = longest.bytes // 2
        for _ in range(_MOST_DROPPED):
            if not longest.frames or (longest.bytes <= half and self._charged <= self.limit):
                break
            self._take(longest)
            self.dropped += 1
