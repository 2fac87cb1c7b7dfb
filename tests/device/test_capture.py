"""A captured device: what passes is in the capture, whichever way it takes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fethpipe.device.capture import Capture, CapturedDevice
from fethpipe.ether.pcap import PcapDecoder
from fethpipe.wire.slots import RecordSlots
from fethpipe.wire.superframe import PLAIN
from tests.fakes import FakeDevice

FRAMES = [bytes.fromhex("02000000000102000000000288b6") + bytes((number,)) for number in range(6)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "capture"


@contextlib.contextmanager
def captured(path: Path, *, offload: bool) -> Iterator[tuple[FakeDevice, CapturedDevice]]:
    device = FakeDevice(offload=offload, fills=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC)
    with contextlib.closing(device), contextlib.closing(Capture(descriptor, str(path))) as capture:
        yield device, CapturedDevice(device, capture)


def frames_in(path: Path) -> list[bytes]:
    return [record.frame for record in PcapDecoder().feed(path.read_bytes())]


def test_frames_of_both_directions(path: Path) -> None:
    with captured(path, offload=False) as (kernel, device):
        kernel.emit(FRAMES[0], seconds=0)
        assert device.read_frames() == [FRAMES[0]]
        device.write_frames(FRAMES[1:3])
        assert [kernel.absorb(seconds=0) for _ in range(2)] == FRAMES[1:3]
    assert frames_in(path) == FRAMES[:3]


@pytest.mark.parametrize("whole", [False, True], ids=["frames", "super-frames"])
def test_records_that_are_filled_in_place(path: Path, whole: bool) -> None:
    alike, other = [frame.ljust(300, b".") for frame in FRAMES[:2]], FRAMES[2]
    with captured(path, offload=True) as (kernel, device):
        offload = device.offload
        assert offload
        if whole:
            offload.enable(udp=False)
        header = 0 if whole else offload.header
        length = len(alike[0]) + (offload.header if whole else 0)
        for frame in (*alike, other):
            kernel.emit(frame, seconds=0)
        slots = RecordSlots(b"", length, skipped=header)
        assert offload.read_into(slots) == (2, [PLAIN + other if whole else other])
    assert frames_in(path) == [*alike, other]


def test_super_frames_alone_and_in_batches(path: Path) -> None:
    with captured(path, offload=True) as (kernel, device):
        offload = device.offload
        assert offload
        offload.enable(udp=False)
        read: list[bytes] = []
        for number in range(3):
            kernel.emit(FRAMES[number], seconds=0)
            lone = offload.read_lone()
            read += [lone] if lone else offload.read_super_frames()
        assert read == [PLAIN + frame for frame in FRAMES[:3]]
        offload.write_lone(PLAIN + FRAMES[3])
        offload.write_super_frames([PLAIN + frame for frame in FRAMES[4:]])
        assert [kernel.absorb(seconds=0) for _ in range(3)] == FRAMES[3:]
    assert frames_in(path) == FRAMES
