"""The TAP device itself: what the kernel is asked for, and what it answers."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from fethpipe.device.tap import TapDevice, open_tap
from fethpipe.errors import DeviceError
from fethpipe.wire.framing import FRAMINGS, SUPER_FRAMES
from fethpipe.wire.slots import RecordSlots
from fethpipe.wire.superframe import PLAIN
from tests.live.ethernet import PacketSocket, make_frame
from tests.live.netns import Namespace

pytestmark = pytest.mark.live

U16BE = FRAMINGS["u16be"]
_TOO_SHORT = bytes(13)


@pytest.fixture(params=[True, False], ids=["super-frames", "plain"])
def tap(left: Namespace, request: pytest.FixtureRequest) -> Iterator[TapDevice]:
    with left.entered():
        descriptor, name = open_tap("fp0", offload=request.param)
    left.run(["ip", "link", "set", name, "up"])
    device = TapDevice(descriptor, name)
    yield device
    device.close()


def test_frames_are_read_in_order_and_counted_alone_and_in_bursts(
    left: Namespace, tap: TapDevice
) -> None:
    sent: list[bytes] = []
    read: list[bytes] = []
    with PacketSocket(left, "fp0") as sender:
        for burst in (1, 1, 1, 5, 1, 300, *[1] * 20, 2):
            frames = [make_frame(len(sent) + number) for number in range(burst)]
            for frame in frames:
                sender.send(frame)
            sent += frames
            while len(read) < len(sent):
                batch = _read(tap)
                assert batch, "less was read than the kernel has"
                read += batch
    assert read == sent
    assert tap.counters.frames_received == len(sent)
    assert tap.counters.bytes_received == sum(map(len, sent))
    assert _read(tap) == []


def _read(tap: TapDevice) -> list[bytes]:
    """Return what waits, as the pump would read it."""
    if not tap.super_frames:
        return tap.read_frames()
    lone = tap.offload.read_lone()
    packets = [lone] if lone else tap.offload.read_super_frames()
    assert all(packet.startswith(PLAIN) for packet in packets)
    return [packet[len(PLAIN) :] for packet in packets]


def test_frames_are_read_right_into_records(left: Namespace, tap: TapDevice) -> None:
    sizes = [300] * 9 + [299] + [300] * 3 + [1514] + [300] * 200
    frames = [make_frame(number, size=size) for number, size in enumerate(sizes)]
    slots = RecordSlots(U16BE.encode_length(300), 300, skipped=tap.header)
    stream = b""
    with PacketSocket(left, "fp0") as sender:
        for frame in frames:
            sender.send(frame)
    for expected in (9, 3, len(slots.buffers)):
        count, others = tap.read_into(slots)
        assert count == expected
        stream += bytes(slots.records(count)) + U16BE.encode(others)
    while stream != U16BE.encode(frames):
        count, others = tap.read_into(slots)
        assert count, "less was read than the kernel has"
        stream += bytes(slots.records(count)) + U16BE.encode(others)
    assert tap.read_into(slots) == (0, [])
    assert tap.counters.frames_received == len(frames)
    assert tap.counters.bytes_received == sum(sizes)
    left.run(["ip", "link", "delete", "fp0"])
    with pytest.raises(DeviceError, match="fp0 has gone"):
        tap.read_into(slots)


def test_super_frames_are_read_right_into_records(left: Namespace) -> None:
    frames = [make_frame(number, size=300) for number in range(9)]
    with left.entered():
        descriptor, name = open_tap("fp0")
    with contextlib.closing(TapDevice(descriptor, name)) as tap:
        left.run(["ip", "link", "set", name, "up"])
        with PacketSocket(left, name) as sender:
            for frame in frames:
                sender.send(frame)
        slots = RecordSlots(SUPER_FRAMES.encode_length(len(PLAIN) + 300), len(PLAIN) + 300)
        assert tap.read_into(slots) == (9, [])
        wanted = SUPER_FRAMES.encode([PLAIN + frame for frame in frames])
        assert bytes(slots.records(9)) == wanted
        assert (tap.counters.frames_received, tap.counters.bytes_received) == (9, 2700)


def test_what_is_not_summed_is_no_frame_in_a_record(left: Namespace) -> None:
    """The last user of a TAP may have left super-frames in its queue."""
    with left.entered():
        descriptor, name = open_tap("fp0")
    with contextlib.closing(TapDevice(descriptor, name)) as tap:
        left.run(["ip", "address", "add", "10.0.0.1/24", "dev", name])
        left.run(["ip", "link", "set", name, "up"])
        left.run(["ip", "neighbour", "add", "10.0.0.2", "lladdr", "02:00:5e:00:53:02", "dev", name])
        assert tap.offload
        slots = RecordSlots(U16BE.encode_length(300), 300, skipped=tap.header)
        with left.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for summed in (True, False, True):
                if summed:
                    tap.offload.disable()
                else:
                    tap.offload.enable(udp=False)
                sender.sendto(bytes(300 - 14 - 20 - 8), ("10.0.0.2", 9))
        count, others = tap.read_into(slots)
        assert (count, [len(each) for each in others]) == (0, [300, 300])
        assert tap.counters.drops == {"super-frame for a peer that takes none": 1}


def test_a_frame_that_is_written_alone_is_counted(left: Namespace) -> None:
    with left.entered():
        descriptor, name = open_tap("fp0")
    with contextlib.closing(TapDevice(descriptor, name)) as tap:
        assert tap.offload
        tap.offload.write_lone(PLAIN + make_frame(1))
        left.run(["ip", "link", "set", name, "up"])
        with PacketSocket(left, name) as listener:
            tap.offload.write_lone(PLAIN + make_frame(2))
            assert listener.receive() == make_frame(2)
        assert tap.counters.drops == {"interface down": 1}
        assert (tap.counters.frames_sent, tap.counters.bytes_sent) == (1, len(make_frame(2)))
