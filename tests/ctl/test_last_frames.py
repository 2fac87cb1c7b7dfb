"""What the kernel held when a capture was ended is in it, and a flood does not put the end off."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from fethpipe.ctl import traffic
from fethpipe.ctl.traffic import _last_batches
from fethpipe.library.device import EthernetDevice
from tests.fakes import FakeDevice
from tests.patience import PATIENCE

FRAMES = [bytes.fromhex("02000000000102000000000288b6") + bytes((number,)) for number in range(40)]


@pytest.fixture
def kernel() -> FakeDevice:
    return FakeDevice()


@pytest.fixture
def device(kernel: FakeDevice) -> Iterator[EthernetDevice]:
    with EthernetDevice(kernel) as device:
        yield device


def test_all_that_came_before_the_end_is_there(device: EthernetDevice, kernel: FakeDevice) -> None:
    for frame in FRAMES:  # more than a batch
        assert kernel.emit(frame, seconds=0)
    assert [frame for frames in _last_batches(device) for frame in frames] == FRAMES


def test_a_flood_does_not_put_the_end_off(
    device: EthernetDevice, kernel: FakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traffic, "_LAST_SECONDS", 0.05)
    assert kernel.emit(FRAMES[0], seconds=0)
    deadline = time.monotonic() + PATIENCE
    for frames in _last_batches(device):
        assert frames == FRAMES[:1]
        assert kernel.emit(FRAMES[0], seconds=0)
        assert time.monotonic() < deadline


def test_an_interface_that_has_gone_is_no_error_then(
    device: EthernetDevice, kernel: FakeDevice
) -> None:
    kernel.vanish()
    assert list(_last_batches(device)) == []
