"""A captured device: what passes is in the capture, whichever way it takes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from fethpipe.device.capture import Capture
from fethpipe.device.inspected import InspectedDevice
from fethpipe.ether.pcap import PcapDecoder
from fethpipe.wire.slots import RecordSlots
from fethpipe.wire.superframe import PLAIN
from tests.fakes import FakeDevice

FRAMES = [bytes.fromhex("02000000000102000000000288b6") + bytes((number,)) for number in range(6)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "capture"


@contextlib.contextmanager
def captured(path: Path, *, offload: bool) -> Iterator[tuple[FakeDevice, InspectedDevice]]:
    device = FakeDevice(offload=offload, fills=True)
    with contextlib.closing(device), contextlib.closing(Capture(str(path))) as capture:
        yield device, InspectedDevice(device, capture)


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
def test_no_record_is_filled_in_place(path: Path, whole: bool) -> None:
    frames = [frame.ljust(300, b".") for frame in FRAMES[:2]]
    with captured(path, offload=True) as (kernel, device):
        offload = device.offload
        assert offload
        if whole:
            offload.enable(udp=False)
        length = len(frames[0]) + (offload.header if whole else 0)
        for frame in frames:
            kernel.emit(frame, seconds=0)
        slots = RecordSlots(b"", length, skipped=0 if whole else offload.header)
        assert offload.read_into(slots) == (0, [PLAIN + each if whole else each for each in frames])
    assert frames_in(path) == frames


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


def test_an_inspector_that_does_not_look_costs_no_speed(path: Path) -> None:
    with captured(path, offload=True) as (kernel, device):
        device._inspector.active = False
        offload = device.offload
        assert offload
        kernel.emit(FRAMES[0], seconds=0)
        assert device.read_frames() == FRAMES[:1]
        offload.enable(udp=False)
        kernel.emit(FRAMES[1], seconds=0)
        offload.read_super_frames()
        kernel.emit(FRAMES[2], seconds=0)
        assert offload.read_lone() == PLAIN + FRAMES[2]
        kernel.emit(FRAMES[3], seconds=0)
        slots = RecordSlots(b"", len(PLAIN + FRAMES[3]))
        assert offload.read_into(slots) == (1, [])
        offload.write_lone(PLAIN + FRAMES[4])
        assert kernel.absorb(seconds=0) == FRAMES[4]
    assert frames_in(path) == []
