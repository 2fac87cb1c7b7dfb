"""An idle stream gets an empty record in time, and a peer that is gone is noticed in time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fethpipe.tunnel.keepalive import Keepalive


def test_an_idle_stream_owes_a_record_before_the_time_is_over() -> None:
    keepalive = Keepalive(4.0)
    owing = []
    for _ in range(3):
        keepalive.tick()
        owing.append(keepalive.owing)
    assert owing == [False, False, True]


def test_a_busy_stream_owes_nothing() -> None:
    keepalive = Keepalive(4.0)
    for _ in range(20):
        keepalive.sent = True
        keepalive.tick()
        assert not keepalive.owing


def test_who_promised_nothing_may_be_silent() -> None:
    keepalive = Keepalive(4.0)
    for _ in range(100):
        keepalive.tick()
    assert not keepalive.abandoned


def test_who_is_heard_is_not_given_up() -> None:
    keepalive = Keepalive(4.0)
    keepalive.expect()
    for _ in range(10):
        for _ in range(10):
            keepalive.tick()
            assert not keepalive.abandoned
        keepalive.heard = True


@given(seconds=st.floats(0.1, 1000), phase=st.floats(0, 1))
def test_a_peer_is_given_up_in_its_third_time(seconds: float, phase: float) -> None:
    keepalive = Keepalive(seconds)
    keepalive.expect()
    keepalive.heard = True
    keepalive.tick()
    silence = phase * keepalive.interval  # what it was silent of the tick in which it was heard
    while not keepalive.abandoned:
        keepalive.tick()
        silence += keepalive.interval
    assert 2 * seconds < silence <= 3 * seconds * (1 + 1e-9)


def test_of_two_times_the_longer_one_counts() -> None:
    hasty = Keepalive(1.0)
    hasty.expect(10.0)
    patient = Keepalive(10.0)
    patient.expect(1.0)
    assert (hasty.patience, patient.patience) == (30.0, 30.0)


def test_the_interval_is_a_part_of_the_time() -> None:
    assert Keepalive(15.0).interval == pytest.approx(3.75)
