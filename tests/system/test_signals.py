"""Signals as bytes on a pipe."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator

import pytest

from fethpipe.system.signals import SignalPipe

TESTED = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM)


@pytest.fixture(autouse=True)
def _handlers_stay_as_they_were() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in TESTED}
    yield
    after = {number: signal.getsignal(number) for number in TESTED}
    for number, handler in before.items():
        signal.signal(number, handler)
    assert after == before


def _readable(signals: SignalPipe, seconds: float = 5) -> bool:
    return bool(select.select([signals], [], [], seconds)[0])


def _raise(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", TESTED)
def test_a_signal_makes_the_pipe_readable_and_nothing_else(number: signal.Signals) -> None:
    with SignalPipe(TESTED) as signals:
        assert not _readable(signals, 0)
        _raise(number)
        assert _readable(signals)
        assert signals.read() == [number]
        assert not _readable(signals, 0)
        assert signals.read() == []


def test_signals_come_in_their_order() -> None:
    with SignalPipe(TESTED) as signals:
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGTERM):
            _raise(number)
            assert _readable(signals)
        assert signals.read() == [signal.SIGTERM, signal.SIGUSR1, signal.SIGTERM]


def test_a_storm_of_signals_neither_blocks_nor_is_missed() -> None:
    with SignalPipe(TESTED) as signals:
        for _ in range(70_000):  # more than a pipe holds
            signal.raise_signal(signal.SIGUSR1)
        seen: set[signal.Signals] = set()
        while numbers := signals.read():
            seen.update(numbers)
        assert seen == {signal.SIGUSR1}


def test_a_signal_that_was_ignored_stays_ignored() -> None:
    old = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        with SignalPipe(TESTED) as signals:
            _raise(signal.SIGUSR1)
            _raise(signal.SIGUSR2)
            assert _readable(signals)
            assert signals.read() == [signal.SIGUSR2]
        assert signal.getsignal(signal.SIGUSR1) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGUSR1, old)


def test_a_select_that_waits_wakes_up() -> None:
    with SignalPipe((*TESTED, signal.SIGALRM)) as signals:
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        assert _readable(signals)
        assert signals.read() == [signal.SIGALRM]


def test_the_wake_up_descriptor_is_put_back() -> None:
    with SignalPipe([signal.SIGUSR1]) as outer:
        with SignalPipe([signal.SIGUSR2]) as inner:
            _raise(signal.SIGUSR2)
            assert _readable(inner)
            assert inner.read() == [signal.SIGUSR2]
        _raise(signal.SIGUSR1)
        assert _readable(outer)
        assert outer.read() == [signal.SIGUSR1]
    assert signal.set_wakeup_fd(-1) == -1
