"""The TAP device itself: what the kernel is asked for, and what it answers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fethpipe.device.tap import TapDevice, open_tap
from tests.live.ethernet import PacketSocket, make_frame
from tests.live.netns import Namespace

pytestmark = pytest.mark.live

_TOO_SHORT = bytes(13)


@pytest.fixture(params=[True, False], ids=["super-frames", "plain"])
def tap(left: Namespace, request: pytest.FixtureRequest) -> Iterator[TapDevice]:
    with left.entered():
        descriptor, name = open_tap("fp0", offload=request.param)
    left.run(["ip", "link", "set", name, "up"])
    device = TapDevice(descriptor, name)
    yield device
    device.close()


def test_a_frame_that_the_kernel_refuses_takes_no_other_with_it(
    left: Namespace, tap: TapDevice
) -> None:
    frames = [make_frame(number) for number in range(4)]
    with PacketSocket(left, "fp0") as listener:
        tap.write_frames([frames[0], _TOO_SHORT, _TOO_SHORT, frames[1], frames[2], _TOO_SHORT])
        tap.write_frames([_TOO_SHORT])
        tap.write_frames([frames[3]])
        assert [listener.receive() for _ in frames] == frames
    counters = tap.counters
    assert counters.drops == {"refused by the kernel": 4}
    assert (counters.frames_sent, counters.bytes_sent) == (4, sum(map(len, frames)))


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
                batch = tap.read_frames()
                assert batch, "less was read than the kernel has"
                read += batch
    assert read == sent
    assert tap.counters.frames_received == len(sent)
    assert tap.counters.bytes_received == sum(map(len, sent))
    assert tap.read_frames() == []
