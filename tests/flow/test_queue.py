"""Fair queueing, CoDel and bounds."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fethpipe.flow.headers import find_ip, flow_key
from fethpipe.flow.queue import FLOWS, OVERHEAD, FairQueue
from tests.flow.packets import frame, tcp


def apart(count: int) -> list[int]:
    """Return the ports of so many flows of which no two share a queue."""
    ports: dict[int, int] = {}
    for port in range(1, 1000):
        ports.setdefault(hash(flow_key(tcp(port))) % FLOWS, port)
    return list(ports.values())[:count]


def drain(queue: FairQueue, now: float) -> list[bytes]:
    frames = []
    while (each := queue.get(now)) is not None:
        frames.append(each)
    return frames


def test_a_ping_passes_an_upload() -> None:
    queue, (upload, ping) = FairQueue(), apart(2)
    for _ in range(100):
        queue.put(tcp(upload, 1514), 0.0)
    assert queue.get(0.0) == tcp(upload, 1514)

    queue.put(tcp(ping, 98), 0.001)

    assert tcp(ping, 98) in (queue.get(0.001), queue.get(0.001))


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 5), st.integers(60, 1514)), max_size=60))
def test_order_is_kept_within_a_flow_and_nothing_is_lost(arrivals: list[tuple[int, int]]) -> None:
    queue = FairQueue()
    sent: dict[bytes, list[bytes]] = defaultdict(list)
    for number, (flow, size) in enumerate(arrivals):
        each = tcp(flow, size) + number.to_bytes(2, "big")
        sent[flow_key(each)].append(each)
        queue.put(each, 0.0)

    received: dict[bytes, list[bytes]] = defaultdict(list)
    for each in drain(queue, 0.001):
        received[flow_key(each)].append(each)

    assert received == sent
    assert (len(queue), queue.size) == (0, 0)


@settings(deadline=None)
@given(st.lists(st.integers(100, 1514), min_size=2, max_size=5))
def test_flows_share_by_bytes(sizes: list[int]) -> None:
    queue, flows = FairQueue(), apart(len(sizes))
    for flow, size in zip(flows, sizes):
        for _ in range(60_000 // size):
            queue.put(tcp(flow, size), 0.0)

    shares: Counter[bytes] = Counter()
    for _ in range(10 * len(sizes)):
        each = queue.get(0.001)
        assert each is not None
        shares[flow_key(each)] += len(each)

    assert max(shares.values()) - min(shares[flow_key(tcp(f))] for f in flows) <= 3028


def overload(service: int) -> tuple[FairQueue, int]:
    """Send for four seconds twice what a line takes; return how many marked frames came out."""
    queue, marked = FairQueue(), 0
    queue.adapt(rate=1e6, round_trip=0.02)
    for millisecond in range(4000):
        now = millisecond / 1000
        for _ in range(2):
            queue.put(tcp(1, 500, service), now)
        each = queue.get(now)
        place = find_ip(each) if each else None
        marked += bool(each and place and each[place.start + 1] & 3 == 3)
    return queue, marked


def test_what_waits_too_long_is_dropped() -> None:
    queue, marked = overload(service=0)

    assert queue.dropped > 20
    assert marked == 0


def test_who_knows_marks_is_marked_instead() -> None:
    queue, marked = overload(service=2)

    assert marked == queue.marked > 20


def test_a_short_queue_is_left_alone() -> None:
    queue = FairQueue()
    for millisecond in range(2000):
        now = millisecond / 1000
        queue.put(tcp(1, 1000), now)
        assert queue.get(now + 0.004) is not None

    assert (queue.dropped, queue.marked) == (0, 0)


@pytest.mark.parametrize("rate", [0, 1e5, 1e9])
def test_it_is_bounded_and_the_longest_queue_pays(rate: float) -> None:
    queue, (upload, ping) = FairQueue(), apart(2)
    queue.adapt(rate=rate, round_trip=0.05)
    queue.put(tcp(ping), 0.0)
    for _ in range(5000):
        queue.put(tcp(upload, 1514), 0.0)
        assert queue.size + OVERHEAD * len(queue) <= queue.limit <= 4 << 20

    assert tcp(ping) in drain(queue, 0.001)
    assert queue.dropped > 0


def test_many_flows_of_one_small_frame_are_bounded_too() -> None:
    queue = FairQueue()
    for number in range(40_000):
        queue.put(frame(b"", kind=number), 0.0)

    assert len(queue) <= (4 << 20) // OVERHEAD


def test_headers_can_be_put_in_front_of_what_waits() -> None:
    queue = FairQueue()
    queue.put(tcp(1), 0.0)

    queue.prepend(bytes(10))
    queue.put(bytes(10) + tcp(1, 200), 0.0)

    assert drain(queue, 0.001) == [bytes(10) + tcp(1), bytes(10) + tcp(1, 200)]
    assert queue.size == 0


def test_a_frame_that_waits_takes_only_its_own_memory() -> None:
    """A read makes room for the longest super-frame, and the block stays that of the frame."""
    queue = FairQueue()
    reads = [bytes(bytearray(tcp(port, 1000))) for port in range(4)]
    for each in reads:
        queue.put(each, 0.0)

    waiting = [queue.get(0.0) for _ in reads]

    assert waiting == reads
    assert not {id(each) for each in waiting} & {id(each) for each in reads}
