"""What users are told of the line."""

from __future__ import annotations

import heapq
import math

import pytest

from fethpipe.flow.control import Control
from tests.flow.packets import tcp

MBIT = 125_000


def after(seconds: float, *, rate: float, one_way: float) -> Control:
    """Return the control of a line that was full for so long."""
    control = Control(0.0)
    control.start(0, 0.0)
    sent, now, busy = 0, 0.0, 0.0
    while now < seconds:
        while control.window.room > 0:
            sent += 1518
            control.on_send(sent, now)
        now = busy = max(busy, now) + 1518 / rate
        taken = control.window.taken + 1518
        assert control.on_report(taken, int((now + one_way) * 1e6), now + 2 * one_way)
    return control


def test_a_slow_line_in_words() -> None:
    control = after(4.0, rate=20 * MBIT, one_way=0.02)
    control.put([tcp(1, 1514)] * 10, 4.0)

    told, shorter, shortest = control.describe()

    assert told.startswith("line 20 Mbit/s, round trip 4")
    assert " ms queued), waiting 14 KiB (" in told
    assert told.endswith(" ms), 0 marked, 0 dropped")
    assert shorter.startswith("line 20 Mbit/s, 4")
    assert shorter.endswith(" KiB, waiting 14 KiB 0 ms, 0 marked")
    assert shortest.startswith("line 20M 4")
    assert shortest.endswith("K wait 14K 0ms mark 0")
    assert len(shortest) < 50


def test_nothing_queues_while_nothing_is_on_the_way() -> None:
    control = after(4.0, rate=20 * MBIT, one_way=0.02)
    sent = control.window.sent
    assert control.on_report(sent, 5_000_000, 5.0)

    told, shorter, shortest = control.describe()

    assert "on the way 0 of " in told
    assert "queued" not in told
    assert "waiting 0 KiB, " in told
    assert " ms, 0/" in shorter
    assert "ms 0/" in shortest


def test_the_rate_of_a_trickle_is_not_the_lines() -> None:
    control = Control(0.0)
    control.start(0, 0.0)
    for step in range(1, 20):
        control.on_send(2000 * step, float(step))
        assert control.on_report(2000 * step, step * 1_000_000, step + 0.05)

    told, shorter, shortest = control.describe()
    assert told.startswith("line at least 0.016 Mbit/s, round trip 50 ms, ")
    assert shorter.startswith("line >0.016 Mbit/s, 50 ms, ")
    assert shortest.startswith("line >0.016M 50ms ")


def test_pings_do_not_make_a_line_slow() -> None:
    """Short frames from the beginning would end the slow start of a TCP inside early."""
    control = Control(0.0)
    control.start(0, 0.0)
    for step in range(1, 40):
        control.on_send(2000 * step, step * 0.2)
        assert control.on_report(2000 * step, step * 200_000, step * 0.2 + 0.05)

    assert control.window.rate > 0
    assert not control.slow


def test_no_rate_makes_frames_wait_long() -> None:
    """That of a stall or of a few frames can be far below the line's."""
    control = after(4.0, rate=2 * MBIT, one_way=0.02)
    control.window.rate = 100.0
    control.put([tcp(1, 1514)] * 3, 4.0)

    assert control.take(4.1)
    assert control.pause(4.1) < 0.02


def test_a_pipe_is_no_line() -> None:
    control = Control(0.0)
    assert not control.describe()
    control.start(0, 0.0)
    for step in range(1, 100):
        control.on_send(100_000 * step, step * 1e-3)
        assert control.on_report(100_000 * step, step * 1000, step * 1e-3 + 1e-4)

    assert control.describe()[0] == "line faster than what is sent"


def test_what_waits_for_a_slow_line_leaves_in_small_pieces() -> None:
    control = after(4.0, rate=20 * MBIT, one_way=0.02)
    assert control.slow
    control.put([tcp(1, 1514)] * 30, 4.1)
    assert control.on_report(control.window.sent, 4_080_000, 4.1)  # all the window is free at once

    now, went = 4.1, 0
    while control.waiting:
        frames = control.take(now)
        assert len(frames) <= 4
        went += len(frames)
        pause = control.pause(now)
        assert 0 < pause <= 0.002
        assert not control.take(now + pause / 2)
        now += pause

    assert went == 30
    assert 30 * 1514 / (now - 5.0) <= 2.3 * 20 * MBIT


def test_what_waits_after_a_stall_at_the_start_leaves_in_small_pieces() -> None:
    control = Control(0.0)
    control.start(0, 0.0)
    control.put([tcp(1, 1514)] * 3, 0.0)
    control.window.stalled = True
    control.window.round_trip, control.window.size = 0.2, 1e5

    assert len(control.take(0.0)) == 1
    assert 0.002 < control.pause(0.0) < 0.003
    assert len(control.take(0.1)) == 1
    assert len(control.take(0.2)) == 1
    assert not control.waiting
    assert control.batch_limit < control.window.sent, "a batch would go all at once"


def test_a_report_waits_for_a_frame_while_the_window_of_a_slow_line_is_full() -> None:
    control = after(4.0, rate=MBIT, one_way=0.02)
    now = 4.1
    assert not control.patience(now), "no frame waits"

    control.put([tcp(1, 1514)] * 20, now)
    while control.window.room > 0:
        sent = control.window.sent + sum(map(len, control.take(now)))
        control.on_send(sent, now)
        assert (control.patience(now) > 0) == (control.window.room <= 0 or control.pause(now) > 0)
        now += max(0.0, control.pause(now))

    assert 0.01 < control.patience(now) < 0.02, "what a frame takes"
    assert control.on_report(control.window.sent, int(now * 1e6), now)
    assert not control.patience(now + 1), "frames go at once"


def test_a_report_never_waits_on_a_fast_line() -> None:
    control = after(4.0, rate=200 * MBIT, one_way=0.02)
    control.put([tcp(1, 1514)] * 20, 4.0)
    control.on_send(control.window.limit, 4.0)
    assert control.window.room <= 0
    assert not control.patience(4.0)


class PacketsOfSsh:
    """A full line in virtual time, of so many bytes a second and seconds one way, below ssh: that
    makes one packet of all that is given to it at once, and the packet arrives as a whole.
    """

    def __init__(self, control: Control, rate: float, one_way: float, *, tick: float = 0.0) -> None:
        self._control = control
        self._tick = tick  # seconds between two times at which the process may wake up
        self._taken_at: dict[int, float] = {}
        self._rate, self._one_way = rate, one_way
        self._busy = 0.0
        self._sent = self._taken = 0
        self._events: list[
            tuple[float, int, int]
        ] = []  # when, bytes that arrive then, taken so far

    def run(self, seconds: float) -> float:
        """Return how many bytes arrived each second, after the first half."""
        control = self._control
        control.start(0, 0.0)
        now, before = 0.0, 0
        awake = True
        while now < seconds:
            if awake:
                self._send(now)
            if now < seconds / 2:
                before = self._taken
            now, arrived, taken = heapq.heappop(self._events)
            awake = not arrived
            if arrived:
                self._taken += arrived
                self._taken_at[self._taken] = now
                heapq.heappush(self._events, (self._wake(now + self._one_way), 0, self._taken))
            elif taken:
                clock = int(self._taken_at.pop(taken) * 1e6)
                assert control.on_report(taken, clock, now)
        return (self._taken - before) / (seconds / 2)

    def _wake(self, at: float) -> float:
        return math.ceil(at / self._tick) * self._tick if self._tick else at

    def _send(self, now: float) -> None:
        control = self._control
        control.put([tcp(1, 1514)] * (64 - len(control.queue)), now)
        while True:
            packet = sum(map(len, control.take(now)))
            if not packet:
                break
            self._sent += packet
            control.on_send(self._sent, now)
            self._busy = max(self._busy, now) + packet / self._rate
            heapq.heappush(self._events, (self._busy + self._one_way, packet, 0))
        pause = control.pause(now)
        if pause > 0 and control.window.room > 0:
            heapq.heappush(self._events, (self._wake(now + pause), 0, 0))


@pytest.mark.parametrize("mbits", [2, 10, 20])
@pytest.mark.parametrize("one_way", [0.02, 0.075])
def test_what_waits_is_given_to_ssh_little_by_little(mbits: int, one_way: float) -> None:
    """A window's worth at once would queue behind itself, and that line never looks empty."""
    rate = mbits * MBIT

    assert PacketsOfSsh(Control(0.0), rate, one_way).run(8.0) >= 0.9 * rate


@pytest.mark.parametrize("tick", [0.001, 0.0015, 0.003])
def test_a_process_that_wakes_up_late_makes_up_for_it(tick: float) -> None:
    rate = 20 * MBIT

    assert PacketsOfSsh(Control(0.0), rate, 0.02, tick=tick).run(8.0) >= 0.9 * rate


def test_nothing_is_dropped_before_the_rate_has_settled() -> None:
    """Below, ssh's TCP may still grow; the TCP inside would remember a drop for many seconds."""
    control = Control(0.0)
    PacketsOfSsh(control, 20 * MBIT, 0.02).run(0.55)
    assert not control.window.settled
    assert control.queue.dropped == 0

    control = Control(0.0)
    PacketsOfSsh(control, 20 * MBIT, 0.02).run(2.0)
    assert control.queue.dropped > 0
