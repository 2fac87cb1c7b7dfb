"""What every device must do, whatever is behind it: the contract of fethpipe.device.Device.

Each contract is a function of a device's two ends. ``test_contracts`` has the devices.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Sequence
from typing import Callable, NamedTuple, Protocol

import pytest

from fethpipe.device import Device
from fethpipe.errors import DeviceError
from tests.live.ethernet import make_frame
from tests.patience import PATIENCE

FRAMES = [make_frame(number, size=60 + number) for number in range(100)]
_FULL = 1514
_TAGS = [bytes.fromhex("81000005"), bytes.fromhex("8100efff")]


class Near:
    """A device, by methods alone, so that it may be in another process (tests.darwin.inside)."""

    def __init__(self, device: Device) -> None:
        self.device = device

    def is_readable(self, seconds: float = 0.0) -> bool:
        """Return whether the descriptor announces something in time."""
        return bool(select.select([self.device], [], [], max(0.0, seconds))[0])

    def read(self) -> list[bytes]:
        """Read once."""
        return self.device.read_frames()

    def receive(self, count: int) -> list[bytes]:
        """Return this many frames, or fewer when time is up."""
        frames: list[bytes] = []
        deadline = time.monotonic() + PATIENCE
        while len(frames) < count and self.is_readable(deadline - time.monotonic()):
            frames += self.device.read_frames()
        return frames

    def send(self, frames: Sequence[bytes]) -> None:
        """Send a batch."""
        self.device.write_frames(frames)

    def send_vectored(self, buffers: Sequence[bytes]) -> None:
        """Send one frame in pieces."""
        self.device.write_vectored(buffers)  # type: ignore[attr-defined]

    def passed(self) -> tuple[int, int, int, int]:
        """Return frames and bytes received, frames and bytes sent."""
        counted = self.device.counters
        received = counted.frames_received, counted.bytes_received
        return (*received, counted.frames_sent, counted.bytes_sent)

    def drops(self) -> dict[str, int]:
        """Return what was dropped, by reason."""
        return dict(self.device.counters.drops)

    def kernel_drops(self) -> int:
        """Return what the kernel dropped."""
        return self.device.kernel_drops()

    def close(self) -> None:
        """Close, twice."""
        self.device.close()
        self.device.close()

    def close_and_look(self) -> tuple[bool, bool]:
        """Return whether a child would have got the descriptor, and whether it is still open."""
        descriptor = self.device.fileno()
        inheritable = os.get_inheritable(descriptor)
        self.close()
        return inheritable, os.path.exists(f"/dev/fd/{descriptor}")


class Far(Protocol):
    """What is at the other side of the device."""

    def send(self, frames: Sequence[bytes]) -> None:
        """Let frames arrive at the device."""

    def receive(self, count: int) -> list[bytes]:
        """Return the next frames that the device sent."""


class Ends(NamedTuple):
    """A device and its other side."""

    near: Near
    far: Far
    vanish: Callable[[], object]
    """Let the interface be deleted."""
    refused: bytes
    """A frame that the device does not take."""
    why: str
    """The reason that it is counted under."""
    counts_overflow: bool = True
    """Whether the kernel counts what nobody read in time."""
    longest: int = _FULL + 4
    """The longest frame of an MTU of 1500, with the tag of a VLAN."""
    vectored: bool = True
    """Whether it takes a frame in pieces."""


def _size(frames: Sequence[bytes]) -> int:
    return sum(map(len, frames))


def what_comes_is_read_in_order_and_counted(ends: Ends) -> None:
    assert not ends.near.is_readable()
    assert ends.near.read() == []
    sent: list[bytes] = []
    read: list[bytes] = []
    for burst in (1, 1, 1, 5, 1, 100, *[1] * 20, 2):
        ends.far.send(FRAMES[:burst])
        sent += FRAMES[:burst]
        read += ends.near.receive(burst)
    assert read == sent
    assert ends.near.passed() == (len(sent), _size(sent), 0, 0)
    assert not ends.near.is_readable()
    assert ends.near.read() == []


def what_is_sent_goes_in_order_and_is_counted(ends: Ends) -> None:
    for batch in (FRAMES[:0], FRAMES[:1], FRAMES[1:99], FRAMES[99:]):
        ends.near.send(batch)
    assert ends.far.receive(len(FRAMES)) == FRAMES
    assert ends.near.passed() == (0, 0, len(FRAMES), _size(FRAMES))
    assert ends.near.drops() == {}


def frames_of_all_shapes_pass_unchanged(ends: Ends) -> None:
    frames = [
        make_frame(1)[:14],
        make_frame(2, size=61),
        make_frame(3, size=_FULL),
        *(make_frame(4, size=ends.longest, tag=tag) for tag in _TAGS),
        make_frame(5, tag=bytes.fromhex("88a80064")),
        make_frame(6, destination=bytes.fromhex("0180c2000000")),
    ]
    for frame in frames:
        ends.near.send([frame])
        assert ends.far.receive(1) == [frame]
        ends.far.send([frame])
        assert ends.near.receive(1) == [frame]


def a_frame_goes_in_pieces(ends: Ends) -> None:
    if not ends.vectored:
        return
    frame = FRAMES[40]
    ends.near.send_vectored([frame[:6], frame[6:14], frame[14:]])
    ends.near.send_vectored([ends.refused])
    assert ends.far.receive(1) == [frame]
    assert ends.near.passed() == (0, 0, 1, len(frame))
    assert ends.near.drops() == {ends.why: 1}


def a_refused_frame_is_counted_and_takes_no_other_with_it(ends: Ends) -> None:
    bad = ends.refused
    ends.near.send([FRAMES[0], bad, bad, FRAMES[1], FRAMES[2], bad])
    ends.near.send([bad])
    ends.near.send([FRAMES[3]])
    assert ends.far.receive(4) == FRAMES[:4]
    assert ends.near.drops() == {ends.why: 4}
    assert ends.near.passed() == (0, 0, 4, _size(FRAMES[:4]))


def what_is_not_read_in_time_is_counted(ends: Ends) -> None:
    assert ends.near.kernel_drops() == ends.near.kernel_drops() == 0
    if not ends.counts_overflow:
        return
    frames = [make_frame(number, size=1500) for number in range(1000)]
    sent = 0
    while not ends.near.kernel_drops():
        ends.far.send(frames)
        sent += len(frames)
        assert sent < 100_000
    arrived = 0
    while ends.near.is_readable():
        arrived += len(ends.near.read())
    assert 0 < arrived == sent - ends.near.kernel_drops()


def the_end_of_the_interface_is_told(ends: Ends) -> None:
    ends.vanish()
    assert ends.near.is_readable(PATIENCE)
    with pytest.raises(DeviceError, match="has gone"):
        ends.near.read()
    with pytest.raises(DeviceError, match="has gone"):
        ends.near.send(FRAMES)
    assert ends.near.kernel_drops() == 0


def it_is_closed_once_and_no_child_has_it(ends: Ends) -> None:
    assert ends.near.close_and_look() == (False, False)


CONTRACTS: list[Callable[[Ends], None]] = [
    what_comes_is_read_in_order_and_counted,
    what_is_sent_goes_in_order_and_is_counted,
    frames_of_all_shapes_pass_unchanged,
    a_frame_goes_in_pieces,
    a_refused_frame_is_counted_and_takes_no_other_with_it,
    what_is_not_read_in_time_is_counted,
    the_end_of_the_interface_is_told,
    it_is_closed_once_and_no_child_has_it,
]
