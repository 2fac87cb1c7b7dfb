"""The window on a simulated line: how much gets through, and how long it queues."""

from __future__ import annotations

import tracemalloc
from collections import deque
from statistics import fmean, median

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fethpipe.flow.window import FIRST, LEAST, Window
from tests.flow.line import FRAME, Line, Part

MBIT = 125_000


def allowed_queue(rate: float) -> float:
    """Return what one direction may add to a ping: half of the 30 ms that users are promised, or
    of the 60 ms where frames take long. The time of two frames comes on top: the one that is
    measured, and one that the window lets begin when there is room for a part of it.
    """
    return (0.015 if rate >= 5 * MBIT else 0.03) + 2 * FRAME / rate


def share(parts: list[Part], rate: float) -> float:
    return fmean(part.rate for part in parts) / rate


def queued(parts: list[Part]) -> float:
    return median(part.median for part in parts)


@settings(max_examples=12, deadline=None)
@given(
    st.sampled_from([1, 2, 5, 10, 20]),
    st.sampled_from([5, 10, 40, 100, 200]),
    st.sampled_from([0.0, 0.005, 0.02]),
)
def test_a_line_is_full_and_its_queue_short(mbits: int, delay: int, bunch: float) -> None:
    rate = mbits * MBIT
    line = Line(lambda _: rate, delay / 1000, bunch=bunch)

    parts = line.run(12.0)[6:-1]

    assert share(parts, rate) >= 0.9
    # Reports that come in bunches hide a part of the queue, and blur the rate.
    assert queued(parts) <= allowed_queue(rate) + 3 * bunch
    assert line.most_over <= FRAME


@settings(max_examples=6, deadline=None)
@given(st.sampled_from([2, 10, 50]), st.sampled_from([5, 40, 150]))
def test_full_rate_is_reached_within_some_round_trips(mbits: int, delay: int) -> None:
    parts = Line(lambda _: mbits * MBIT, delay / 1000).run(1.0 + 12 * delay / 1000)

    assert parts[-2].rate >= 0.8 * mbits * MBIT


@settings(max_examples=6, deadline=None)
@given(st.sampled_from([20, 50]), st.sampled_from([5, 40, 80, 200]), st.booleans())
@example(20, 60, True)  # what is meant to stand was taken for somebody else's queue
def test_three_seconds_after_a_change_all_is_well(mbits: int, delay: int, falls: bool) -> None:
    high = mbits * MBIT
    first, then = (high, high / 10) if falls else (high / 10, high)

    parts = Line(lambda now: first if now < 5 else then, delay / 1000).run(12.0)
    settled = [part for part in parts[:-1] if part.time >= 8.0]

    assert share(settled, then) >= 0.9
    assert queued(settled) <= allowed_queue(then)


@pytest.mark.parametrize(("mbits", "delay"), [(20, 0.15), (50, 0.2)])
@pytest.mark.parametrize(("between", "seconds"), [(0.3, 0.5), (0.3, 0.8), (0.5, 0.8)])
def test_a_fall_in_two_steps_leaves_no_queue_of_somebody_else(
    mbits: int, delay: float, between: float, seconds: float
) -> None:
    """What was sent at the old rate arrives for seconds, at a rate that falls once more."""
    high = mbits * MBIT

    def rate(now: float) -> float:
        return high * (1 if now < 8 else between if now < 8 + seconds else 0.1)

    line = Line(rate, delay)
    settled = [part for part in line.run(16.0)[:-1] if part.time >= 11 + seconds]

    assert not line.window.foreign
    assert share(settled, high / 10) >= 0.9
    assert queued(settled) <= allowed_queue(high / 10)


@settings(max_examples=6, deadline=None)
@given(st.sampled_from([5, 50]), st.sampled_from([10, 40, 200]), st.sampled_from([0.05, 0.3]))
def test_stalls_are_no_slow_line(mbits: int, delay: int, stall: float) -> None:
    """A receiver that is busy, or Wi-Fi that repeats what was lost."""
    rate = mbits * MBIT
    line = Line(lambda _: rate, delay / 1000, stall=stall)

    assert share(line.run(16.0)[8:-1], rate) >= 0.9 * (1 - stall / 2)


@settings(max_examples=6, deadline=None)
@given(st.sampled_from([2, 10, 20]), st.sampled_from([10, 40, 100]), st.sampled_from([20, 60]))
@example(10, 20, 20)
def test_beside_a_competitor_it_keeps_its_share(mbits: int, delay: int, queue: int) -> None:
    """A TCP that fills a queue of 100 ms has 60 ms of it, on average."""
    rate = mbits * MBIT
    line = Line(lambda _: rate, delay / 1000, competitor=int(rate * (delay + queue) / 1000))

    parts = line.run(14.0)

    assert share(parts[4:20], rate) >= 0.3, "before the queue is looked at again"
    assert share(parts[4:-1], rate) >= 0.3


def test_a_trickle_says_nothing_about_the_rate() -> None:
    rate = 20 * MBIT
    line = Line(lambda _: rate, 0.04, pause=lambda now: 0.03 if now < 4 else 0.0)

    assert line.run(5.5)[-2].rate >= 0.8 * rate


def first_burst(*, rate: float) -> Window:
    """Return the window after the first bytes came over a line of so many bytes a second."""
    window = Window(0.0)
    for _ in range(FIRST // FRAME):
        window.on_send(FRAME, 0.0)
    for number in range(1, FIRST // FRAME + 1):
        arrived = number * FRAME / rate + 0.02
        assert window.on_report(number * FRAME, int(arrived * 1e6), arrived + 0.02)
        window.on_send(max(0, window.room), arrived + 0.02)
    return window


def test_the_first_bytes_fit_into_the_queue_of_a_slow_line() -> None:
    """A tenth of a second, as modems have it. Whatever is lost at the end, ssh misses late."""
    assert FIRST <= 0.1 * MBIT
    assert first_burst(rate=MBIT).size <= FIRST + 2 * FRAME


def test_on_a_fast_line_the_window_is_ahead_of_the_slow_start_inside() -> None:
    """The TCP inside sent ten segments, and sends twenty when it sees them acknowledged."""
    assert first_burst(rate=20 * MBIT).size >= 20 * FRAME


def queue_of_a_paced_start(rate: float, delay: float, seconds: float = 4.0) -> float:
    """Return the seconds that bytes queue at most if they are paced, each round trip at twice the
    rate at which they arrived. So there is no queue before the window is as large as the line.
    """
    window = Window(0.0)
    window.start(0)
    busy = worst = now = begun = allowed = reported = 0.0
    taken = before = 0
    pace = 10 * FRAME / delay
    arrivals: deque[float] = deque()
    reports: deque[tuple[float, int]] = deque()
    while now < seconds:
        now += 0.001
        if now - begun >= delay:
            pace = max(pace, 2 * (taken - before) / (now - begun))
            before, begun = taken, now
        allowed = min(allowed + pace * 0.001, 20 * FRAME)
        while allowed >= FRAME and window.room > 0:
            allowed -= FRAME
            window.on_send(FRAME, now)
            busy = max(busy, now) + FRAME / rate
            worst = max(worst, busy - now)
            arrivals.append(busy + delay / 2)
        while arrivals and arrivals[0] <= now:
            arrivals.popleft()
            taken += FRAME
        if taken and now - reported >= 0.001:
            reports.append((now, taken))
            reported = now
        while reports and reports[0][0] + delay / 2 <= now:
            then, count = reports.popleft()
            assert window.on_report(count, int(then * 1e6), now)
    assert window.size >= 0.9 * rate * delay
    return worst


@pytest.mark.parametrize(
    ("mbits", "delay", "most"),
    [(5, 200, 0.13), (10, 150, 0.08), (20, 200, 0.08), (50, 200, 0.08)],
)
def test_the_first_start_does_not_overflow_the_queue_of_a_long_line(
    mbits: int, delay: int, most: float
) -> None:
    assert queue_of_a_paced_start(mbits * MBIT, delay / 1000) < most


@pytest.mark.parametrize(
    ("mbits", "delay", "wifi", "most"),
    [(1, 100, 0.0, 0.1), (20, 40, 0.01, 0.06), (50, 100, 0.01, 0.08), (10, 100, 0.02, 0.08)],
)
def test_neither_a_slow_line_nor_wifi_is_taken_for_a_fast_line(
    mbits: int, delay: int, wifi: float, most: float
) -> None:
    """Within a bunch of Wi-Fi, bytes arrive faster than the line is."""
    line = Line(lambda _: mbits * MBIT, delay / 1000, wifi=wifi)
    line.run(3.0)

    assert line.most_queued <= most


@pytest.mark.parametrize(("mbits", "delay"), [(100, 100), (50, 200)])
def test_wifi_behind_a_long_line_is_no_loss(mbits: int, delay: int) -> None:
    """What waits for the TCP below arrives late and at once there, too."""
    parts = Line(lambda _: mbits * MBIT, delay / 1000, wifi=0.02).run(4.1)

    assert share(parts[5:8], mbits * MBIT) >= 0.8


def test_a_peer_cannot_make_a_start_take_memory() -> None:
    """Each report says that one byte more was taken."""
    window = Window(0.0)
    window.start(0)
    window.on_send(1 << 20, 0.0)
    window.size = 1 << 19

    def report(first: int, last: int) -> int:
        tracemalloc.start()
        for count in range(first, last):
            assert window.on_report(count, count, 0.1 + count * 1e-6)
        taken, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return taken

    report(1, 5000)
    assert window.starting
    assert report(5000, 20_000) < 200_000


def test_a_slow_start_below_does_not_end_ours() -> None:
    """After pings alone, the TCP below lets ten segments go; the rest of a burst waits for it."""
    window, trip = Window(0.0), 0.15
    taken = 0

    def report(count: int, sent: float, late: float = 0.0) -> None:
        nonlocal taken
        taken += count
        arrived = sent + trip / 2 + late
        assert window.on_report(taken, int(arrived * 1e6), arrived + trip / 2)

    for step in range(20):
        window.on_send(100, step * 0.2)
        window.on_starved()
        report(100, step * 0.2)
    for _ in range(6):
        window.on_send(FRAME, 4.0)
        report(FRAME, 4.0)
    for _ in range(20):
        window.on_send(FRAME, 4.2)
    report(9 * FRAME, 4.2)
    report(11 * FRAME, 4.2, late=trip)

    assert window.starting
    assert window.room >= 12 * FRAME


def test_on_a_long_line_the_start_does_not_wait_for_the_tcp_below() -> None:
    """That begins slowly, too: what queues for it would hold the window, and so end the slow start
    of the TCP inside.
    """
    rate = 50 * MBIT
    line = Line(lambda _: rate, 0.2, pause=lambda now: 0.2 if now < 2 else 0.0, small=100)

    assert share(line.run(5.1)[4:10], rate) >= 0.38


@pytest.mark.parametrize(("part", "stalled"), [(1.0, True), (0.3, True), (0.2, False)])
def test_after_a_loss_at_the_start_not_all_follows_at_once(part: float, stalled: bool) -> None:
    """What arrives late and at once had to wait until something was sent again."""
    line = Line(lambda _: 20 * MBIT, 0.2)
    line.run(1.3)
    window, size = line.window, line.window.size
    assert window.starting
    assert window.on_the_way > 0.9 * size

    taken = window.taken + int(part * window.on_the_way)
    assert window.on_report(taken, line.clock(1.7), 1.8)

    assert window.stalled == stalled
    assert (window.size <= size) == stalled
    for step in range(4):
        window.on_send(FRAME, 1.8 + 0.2 * step)
        assert window.on_report(window.sent, line.clock(1.9 + 0.2 * step), 2.0 + 0.2 * step)
    assert not window.stalled


@pytest.mark.parametrize("delay", [0.15, 0.4])
def test_a_faster_line_is_found_out(delay: float) -> None:
    line = Line(lambda now: (5 if now < 5 else 20) * MBIT, delay)

    assert share(line.run(15.0)[20:-1], 20 * MBIT) >= 0.85


def test_a_line_that_varies_is_not_tried_all_the_time() -> None:
    """On a long line, to try whether it can do more costs a queue of a tenth of a round trip."""
    parts = Line(lambda now: 5 * MBIT * (1 + 0.1 * (int(now / 0.9) % 2)), 0.2).run(30.0)[12:-1]

    assert fmean(queued for part in parts for queued in part.queued) <= 0.022


@pytest.mark.parametrize("delay", [0.1, 0.2])
@pytest.mark.parametrize("factor", [1.15, 1.4])
def test_a_line_that_becomes_a_little_faster_keeps_a_short_queue(
    delay: float, factor: float
) -> None:
    """What overflows the queue of the modem holds up everything behind it."""
    rate = 5 * MBIT
    parts = Line(lambda now: rate * (1 if now < 8 else factor), delay).run(16.0)

    assert share(parts[20:-1], factor * rate) >= 0.9
    assert max(queued for part in parts[16:-1] for queued in part.queued) <= 0.65 * delay + 0.02


def test_it_starts_again_only_if_more_arrives() -> None:
    """Where frames arrive in bunches, one of each has not waited, however many are on the way."""
    window, one_way, bunch, period = Window(0.0), 0.02, 6 * FRAME, 0.05
    starts = []
    taken = 0
    for step in range(1, 1200):
        now = step * period
        was = window.starting
        taken = min(window.sent, taken + bunch)
        assert window.on_report(taken, int(now * 1e6), now + one_way)
        if window.starting and not was:
            starts.append(now)
        while window.room > 0:  # what is sent last arrives with the next bunch, at once
            window.on_send(FRAME, now + period - one_way)

    assert len(starts) <= 1
    assert taken >= 0.9 * bunch * 1199


def test_a_pipe_is_never_what_the_window_limits() -> None:
    pipe, rate = 1 << 20, 30 << 20  # slow for a pipe: small frames, and the processor limits
    window = Window(0.0)
    for step in range(3000):
        now = step / 1000
        window.on_send(min(window.room, pipe - window.on_the_way), now)
        taken = window.taken + min(window.on_the_way, rate // 1000)
        assert window.on_report(taken, int(now * 1e6), now + 0.0001)

    assert window.room > pipe


@pytest.mark.parametrize(("mbits", "delay"), [(10, 0.001), (50, 0.001), (50, 0.003)])
@pytest.mark.parametrize("holds", [0.12, 0.16, 0.5])
def test_a_slow_line_that_is_short_is_no_pipe(mbits: int, delay: float, holds: float) -> None:
    """A lone frame on it takes no longer than on a LAN, so at first nothing is limited."""
    rate = mbits * MBIT
    line = Line(
        lambda _: rate,
        delay,
        pause=lambda now: 0.2 if now < 3 else 0.0,
        buffers=int(rate * holds),
    )
    parts = line.run(12.0)

    assert max(parts[6].queued) >= 0.8 * holds, "it was not taken for a pipe"
    assert not line.window.near
    assert share(parts[10:-1], rate) >= 0.9
    assert queued(parts[10:-1]) <= allowed_queue(rate)


@pytest.mark.parametrize("every", [0.2, 1.0])
def test_pings_do_not_hide_that_a_short_line_is_slow(every: float) -> None:
    """Their reports come late, as a few of them are not worth one."""
    rate = 10 * MBIT
    line = Line(
        lambda _: rate,
        0.001,
        pause=lambda now: every if now < 20 else 0.0,
        small=98,
        buffers=1 << 18,
    )
    parts = line.run(26.0)

    assert max(max(part.queued) for part in parts[40:42]) >= 0.1, "it was not taken for a pipe"
    assert not line.window.near
    assert queued(parts[46:-1]) <= allowed_queue(rate)


def test_a_short_line_that_becomes_fast_is_a_pipe_again() -> None:
    changed = 8.0
    line = Line(
        lambda now: (10 if now < changed else 200) * MBIT,
        0.001,
        pause=lambda now: 0.2 if now < 3 else 0.0,
        buffers=1 << 18,
    )
    parts = line.run(14.0)

    slow = parts[int(2 * changed) - 4 : int(2 * changed)]
    assert queued(slow) <= allowed_queue(10 * MBIT), "it was taken for a pipe"
    assert line.window.near
    assert share(parts[-4:-1], 200 * MBIT) >= 0.9


def test_reports_that_tell_nothing_take_no_memory_on_a_pipe() -> None:
    """The time of sending is noted once for each, for as long as it is not reported."""
    window = Window(0.0)
    window.start(0)
    window.on_send(FRAME, 0.0)
    assert window.on_report(FRAME, 500, 0.001)
    assert window.near

    tracemalloc.start()
    for step in range(20_000):
        window.on_send(60, step * 1e-5)
        assert window.on_report(FRAME, 500, step * 1e-5)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert window.near
    assert taken < 300_000


@pytest.mark.parametrize("mbits", [50, 100])
def test_bunches_are_no_short_line(mbits: int) -> None:
    rate = mbits * MBIT
    parts = Line(lambda _: rate, 0.02, bunch=0.02, slow_start=False).run(5.0)

    assert share(parts[2:-1], rate) >= 0.8


def test_a_pipe_whose_reader_was_slow_is_as_fast_as_before() -> None:
    rate = 400 * MBIT
    line = Line(lambda now: rate / (50 if 1 < now < 1.5 else 1), 0.0005, buffers=1 << 20)
    parts = line.run(4.1)

    assert max(parts[2].queued) > 0.2, "it was never slow"
    assert share(parts[5:-1], rate) >= 0.9


def test_a_report_that_cannot_be_true_changes_nothing() -> None:
    window = Window(0.0)
    window.on_send(10_000, 0.0)

    assert not window.on_report(10_001, 5, 0.1)
    assert window.on_report(4000, 1_000_000, 0.1)
    assert not window.on_report(3999, 1_000_000, 0.2), "it takes back what it said"
    assert not window.on_report(5000, 999_999, 0.2), "its clock goes backwards"
    assert window.taken == 4000
    assert window.limit >= 4000 + LEAST


def test_counts_go_on_beyond_32_bits() -> None:
    window = Window(0.0)
    for step in range(1, 21):
        window.on_send(1 << 28, float(step))
        assert window.on_report((step << 28) % (1 << 32), step, step + 0.5)

    assert window.taken == 20 << 28


def test_before_the_first_report_little_may_be_on_the_way() -> None:
    window = Window(0.0)
    window.on_send(FIRST, 0.0)

    assert window.room == 0
