"""Two LANs that are joined by two tunnels: the ring is noticed, and the storm in it broken."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.live.lan import plug
from tests.live.netns import Namespace
from tests.live.programs import LEFT, RIGHT, tunnel

pytestmark = pytest.mark.live

_NOTICED_SECONDS = 3.0
_MOST_FRAMES = 500
"""Frames per second: twice what each of four ends lets pass, and the pings."""
_STATION = "10.9.0.11"
_RING = "frames go around in a ring"


@pytest.fixture
def station(left: Namespace, right: Namespace) -> Iterator[Namespace]:
    """Return a station on the left one of two LANs."""
    for namespace, address in ((left, LEFT), (right, RIGHT)):
        namespace.run(["ip", "link", "add", "br0", "type", "bridge"])
        namespace.run(["ip", "address", "add", f"{address}/24", "dev", "br0"])
        namespace.run(["ip", "link", "set", "br0", "up"])
    with Namespace() as made:
        plug(left, made, "port0", _STATION)
        yield made


def received(namespace: Namespace) -> int:
    """Return how many frames the bridge has got for its host."""
    (link,) = json.loads(namespace.run(["ip", "-j", "-s", "link", "show", "br0"]))
    packets: int = link["stats64"]["rx"]["packets"]
    return packets


def test_a_ring_is_noticed_and_its_storm_broken(
    left: Namespace, right: Namespace, station: Namespace
) -> None:
    options = ("--bridge", "br0", "--keepalive", "15")
    with ExitStack() as stack:
        first = stack.enter_context(
            tunnel(left, right, *options, left_options=(), right_options=())
        )
        second = ExitStack()
        with second:
            other = second.enter_context(
                tunnel(left, right, *options, left_options=(), right_options=())
            )
            start = time.monotonic()
            for number in range(20):
                left.run(["sh", "-c", f"ping -c 1 -W 0.05 10.9.0.{100 + number} || true"])
            for program in (*first, *other):
                assert program.stderr.next(containing=_RING)
            assert time.monotonic() - start < _NOTICED_SECONDS
            before, at = received(left), time.monotonic()
            for namespace, address in ((left, _STATION), (left, RIGHT), (station, RIGHT)):
                said = namespace.run(["ping", "-q", "-c", "10", "-i", "0.05", address])
                assert " 0% packet loss" in said
            # Without a guard, this is 100 000 frames a second.
            assert (received(left) - before) / (time.monotonic() - at) < _MOST_FRAMES
        for program in first:
            assert program.stderr.next(containing=" ring ").endswith("the ring of networks is gone")
