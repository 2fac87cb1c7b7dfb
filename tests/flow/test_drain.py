"""What lies unread in a pipe whose reader reports nothing."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fethpipe.flow.drain import FAST, LEAST, LOOK, SECONDS, Drain

MBIT = 125_000
PIPE = 1 << 20


class Pipe:
    """A pipe that is always filled as far as it may be, and a reader of so much at once."""

    def __init__(self, chunk: int) -> None:
        self.drain = Drain()
        self.now = 0.0
        self._chunk = chunk
        self._owed = 0.0
        self._unread = 0

    def run(self, seconds: float, rate: float) -> tuple[float, float]:
        """Return bytes a second that were read, and the median of what lay unread."""
        begin, read, unread = self.now, 0, []
        while self.now < begin + seconds:
            more = min(max(0, self.drain.room), PIPE - self._unread)
            self.drain.on_send(more, self.now)
            self._unread += more
            self.now += LOOK
            self._owed = min(self._owed + rate * LOOK, 2 * self._chunk + rate * LOOK)
            while self._unread and self._owed >= self._chunk:
                took = min(self._chunk, self._unread)
                self._owed -= self._chunk
                self._unread -= took
                read += took
            unread.append(self._unread)
            self.drain.on_unread(self._unread, self.now)
        return read / seconds, sorted(unread)[len(unread) // 2]


@settings(max_examples=20, deadline=None)
@given(st.sampled_from([1, 2, 5, 10, 20]), st.sampled_from([1500, 8192, 16384]))
def test_a_slow_reader_has_little_unread_and_all_that_it_takes(mbits: int, chunk: int) -> None:
    rate, pipe = mbits * MBIT, Pipe(chunk)
    pipe.run(12.0, rate)

    taken, unread = pipe.run(10.0, rate)

    assert taken >= 0.95 * rate
    assert unread <= max(2 * LEAST, 2 * rate * SECONDS)


def test_a_fast_reader_is_never_limited() -> None:
    pipe = Pipe(1 << 16)
    for rate in 2 * FAST, 100 * FAST:
        for _ in range(20):
            pipe.run(0.2, rate)
            assert pipe.drain.near
            assert pipe.drain.room > PIPE


@pytest.mark.parametrize("faster", [4, 100])
def test_it_follows_a_reader_that_becomes_faster(faster: int) -> None:
    pipe = Pipe(16384)
    pipe.run(12.0, 2 * MBIT)

    pipe.run(3.0, faster * 2 * MBIT)
    taken, _ = pipe.run(3.0, faster * 2 * MBIT)

    assert taken >= 0.9 * faster * 2 * MBIT


def test_a_reader_that_stops_leaves_the_pipe_full() -> None:
    pipe = Pipe(16384)
    pipe.run(12.0, 10 * MBIT)
    pipe.run(5.0, 0.0)

    assert pipe.drain.near
    taken, _ = pipe.run(3.0, 10 * MBIT)
    assert taken >= 0.9 * 10 * MBIT
