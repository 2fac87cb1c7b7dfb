"""The TAP device itself: what the kernel is asked for, and what it answers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fethpipe.device.tap import TapDevice, open_tap
from tests.live.ethernet import PacketSocket, make_frame
from tests.live.netns import Namespace
from tests.live.peer import Peer
from tests.live.programs import FETHPIPE

pytestmark = pytest.mark.live

# What `ip netns exec` does: /sys shows the interfaces of the namespace that it was mounted in.
_OWN_SYSFS = ["unshare", "--mount", "sh", "-c", 'mount -t sysfs sysfs /sys && exec "$@"', "sh"]
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


@pytest.mark.parametrize(
    ("sysfs", "options", "nanoseconds"),
    [
        pytest.param(_OWN_SYSFS, ["--no-hello"], 20000, id="plain frames"),
        pytest.param(_OWN_SYSFS, [], 0, id="super-frames"),
        pytest.param([], ["--no-hello"], 0, id="the sysfs of others"),
    ],
)
def test_the_kernel_merges_segments_where_only_frames_come(
    left: Namespace, peer: Peer, sysfs: list[str], options: list[str], nanoseconds: int
) -> None:
    with peer.start(left, "--name", "lo7", *options, launcher=[*sysfs, *FETHPIPE]) as program:
        program.ready()
        shown = left.run([*_OWN_SYSFS, "cat", "/sys/class/net/lo7/gro_flush_timeout"])
    assert int(shown) == nanoseconds
