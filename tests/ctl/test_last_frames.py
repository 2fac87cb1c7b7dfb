"""What the kernel held when a signal came is not lost, and a flood does not put the end off."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from fethpipe.ctl.traffic import _LAST_BATCHES, _batches
from fethpipe.ethernet import EthernetDevice
from fethpipe.signals import SignalPipe
from tests.fakes import VectoredFake

FRAMES = [bytes.fromhex("02000000000102000000000288b6") + bytes((number,)) for number in range(40)]


@pytest.fixture
def kernel() -> VectoredFake:
    return VectoredFake()


@pytest.fixture
def device(kernel: VectoredFake) -> Iterator[EthernetDevice]:
    with EthernetDevice(kernel) as device:
        yield device


@pytest.fixture
def signals() -> Iterator[SignalPipe]:
    with SignalPipe([signal.SIGUSR1]) as signals:
        yield signals


def test_all_that_came_before_the_signal_is_there(
    device: EthernetDevice, kernel: VectoredFake, signals: SignalPipe
) -> None:
    for frame in FRAMES:  # more than a batch
        assert kernel.emit(frame, seconds=0)
    signal.raise_signal(signal.SIGUSR1)
    assert [frame for frames in _batches(device, signals) for frame in frames] == FRAMES


def test_a_flood_does_not_put_the_end_off(
    device: EthernetDevice, kernel: VectoredFake, signals: SignalPipe
) -> None:
    assert kernel.emit(FRAMES[0], seconds=0)
    signal.raise_signal(signal.SIGUSR1)
    batches = 0
    for frames in _batches(device, signals):
        assert frames == FRAMES[:1]
        assert kernel.emit(FRAMES[0], seconds=0)
        batches += 1
    assert batches == _LAST_BATCHES


def test_the_signal_counts_when_the_interface_has_gone(
    device: EthernetDevice, kernel: VectoredFake, signals: SignalPipe
) -> None:
    kernel.vanish()
    signal.raise_signal(signal.SIGUSR1)
    assert list(_batches(device, signals)) == []
