"""Two LANs that are joined in two ways: the ring is noticed, and the storm in it broken."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from select import select

import pytest

from tests.live.lan import plug
from tests.live.netns import Namespace
from tests.live.peers import wait_reachable
from tests.live.programs import LEFT, RIGHT, Fethpipe, tunnel
from tests.patience import PATIENCE

pytestmark = pytest.mark.live

_NOTICED_SECONDS = 3.0
_MOST_FRAMES = 5000
"""Frames per second, with what the queues held when the storm was broken."""
_STATION = "10.9.0.11"
_RING = "frames go around in a ring"


@pytest.fixture
def station(left: Namespace, right: Namespace) -> Iterator[Namespace]:
    """Return a station on the left one of two LANs."""
    for namespace, address in ((left, LEFT), (right, RIGHT)):
        namespace.make_bridge(address)
    with Namespace() as made:
        plug(left, made, "port0", _STATION)
        yield made


def received(namespace: Namespace) -> int:
    """Return how many frames the bridge has got for its host."""
    (link,) = json.loads(namespace.run(["ip", "-j", "-s", "link", "show", "br0"]))
    packets: int = link["stats64"]["rx"]["packets"]
    return packets


def wait_for_calm(namespace: Namespace) -> None:
    """Wait until what the queues still held has passed."""
    deadline = time.monotonic() + _NOTICED_SECONDS
    while True:
        before, at = received(namespace), time.monotonic()
        select([], [], [], 0.1)
        if (received(namespace) - before) / (time.monotonic() - at) < _MOST_FRAMES:
            return
        assert time.monotonic() < deadline, "the storm goes on"


def first_to_say(
    words: str, ends: Sequence[tuple[Fethpipe, ExitStack]]
) -> tuple[Fethpipe, ExitStack]:
    """Return the first one whose messages have these words."""
    by_descriptor = {program.stderr.descriptor: (program, stack) for program, stack in ends}
    while True:
        readable, _, _ = select(list(by_descriptor), [], [], PATIENCE)
        assert readable, f"nobody says {words}"
        for descriptor in readable:
            program, stack = by_descriptor[descriptor]
            if program.stderr.says(words):
                return program, stack


def lay_cable_between_bridges(left: Namespace, right: Namespace, undo: ExitStack) -> None:
    """Join both LANs by a cable, until ``undo`` removes it."""
    left.lay_cable("cable0", right, "cable0")
    undo.callback(left.run, ["ip", "link", "del", "cable0"])
    for namespace in (left, right):
        namespace.run(["ip", "link", "set", "cable0", "master", "br0"])


@pytest.mark.exhaustive  # a storm needs the machine for itself
@pytest.mark.parametrize("cable", [False, True], ids=["two tunnels", "a tunnel and a cable"])
def test_a_ring_is_noticed_and_its_storm_broken(
    left: Namespace, right: Namespace, station: Namespace, cable: bool
) -> None:
    options = ("--bridge", "br0", "--keepalive", "15")
    with ExitStack() as one, ExitStack() as two:
        tunnels = {
            stack: stack.enter_context(
                tunnel(left, right, *options, left_options=(), right_options=())
            )
            for stack in ((one,) if cable else (one, two))
        }
        if cable:
            lay_cable_between_bridges(left, right, two)
        start = time.monotonic()
        ask = "for last in $(seq 100 119); do ping -c 1 -W 0.05 10.9.0.$last; done"
        left.popen(["sh", "-c", ask])
        # The first end that notices the ring breaks it, so the others may not notice it.
        ends = [(program, stack) for stack, pair in tunnels.items() for program in pair]
        program, its_tunnel = first_to_say(_RING, ends)
        assert time.monotonic() - start < _NOTICED_SECONDS
        wait_for_calm(left)
        # A broadcast that comes back in another way teaches a bridge the wrong port for its sender,
        # until the sender speaks again.
        pairs = ((station, RIGHT), (left, _STATION), (left, RIGHT))
        for namespace, address in pairs:
            wait_reachable(namespace, address)
        before, at = received(left), time.monotonic()
        for namespace, address in pairs:
            said = namespace.run(["ping", "-q", "-c", "10", "-i", "0.05", address])
            assert " 0% packet loss" in said
        # Without a guard, this is 100 000 frames a second.
        assert (received(left) - before) / (time.monotonic() - at) < _MOST_FRAMES
        (two if its_tunnel is one else one).close()
        assert program.stderr.next(containing=" ring ").endswith("the ring of networks is gone")
