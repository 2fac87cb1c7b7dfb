"""The pump's end of the cable, with the test at the other one."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from fethpipe.errors import DeviceError
from fethpipe.vmnet import device as vmnet
from fethpipe.vmnet.cable import CABLE, NOTE, make_cable
from fethpipe.vmnet.device import VmnetDevice
from fethpipe.wire.framing import RecordDecoder
from tests.live.ethernet import make_frame
from tests.live.netns import readable

_LONGEST = 1514
FRAMES = [make_frame(number, size=14 + number) for number in range(10, 100)]


@pytest.fixture
def ends() -> Iterator[tuple[VmnetDevice, socket.socket]]:
    near, far = make_cable()
    device = VmnetDevice(near.detach(), "vmnet", max_packet=_LONGEST)
    with far:
        yield device, far
    device.close()
    device.close()


def test_a_record_may_come_in_pieces(ends: tuple[VmnetDevice, socket.socket]) -> None:
    device, far = ends
    data = CABLE.encode(FRAMES[:2])
    got = []
    for index in range(len(data)):
        far.sendall(data[index : index + 1])
        got += device.read_frames()
    assert got == FRAMES[:2]


def test_what_vmnet_refused_is_counted(ends: tuple[VmnetDevice, socket.socket]) -> None:
    device, far = ends
    notes = [NOTE.pack(3), NOTE.pack(4)]
    far.sendall(CABLE.encode([notes[0], FRAMES[0], notes[1], FRAMES[1]]))
    assert device.read_frames() == FRAMES[:2]
    assert device.counters.drops == {"kernel out of buffers": 7}
    assert device.counters.frames_received == 2


def test_what_is_not_taken_in_time_is_dropped_in_whole_frames(
    ends: tuple[VmnetDevice, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    device, far = ends
    monkeypatch.setattr(vmnet, "_PATIENCE_SECONDS", 0.01)
    decoder = RecordDecoder(CABLE)
    batch = [make_frame(number, size=1000 + number) for number in range(100)]
    while not device.counters.drops:
        device.write_frames(batch)
    lost = device.counters.drops["kernel queue full"]
    device.write_frames(batch)  # nothing of it goes: the rest of a record is first
    assert device.counters.drops["kernel queue full"] == lost + len(batch)
    got = _drain(far, decoder)
    device.write_frames(batch[:1])  # after that rest
    got += _drain(far, decoder)
    assert len(got) == device.counters.frames_sent
    assert got[: len(batch)] == batch
    assert set(got) <= set(batch)
    decoder.feed_eof()  # at a boundary


def _drain(far: socket.socket, decoder: RecordDecoder) -> list[bytes]:
    frames: list[bytes] = []
    while readable(far, 0):
        frames += decoder.feed(far.recv(1 << 18))
    return frames


def test_the_end_of_a_process_that_left_something_unread_is_the_end_of_the_device(
    ends: tuple[VmnetDevice, socket.socket],
) -> None:
    device, far = ends
    device.write_frames(FRAMES)  # Linux says that it was reset
    far.close()
    with pytest.raises(DeviceError, match="vmnet has gone"):
        device.read_frames()
    with pytest.raises(DeviceError, match="vmnet has gone"):
        device.write_frames(FRAMES)
