"""A device without a kernel."""

from __future__ import annotations

import errno
import select
import socket
from collections.abc import Sequence

from fethpipe.errors import DeviceError
from fethpipe.ether.frame import MAX_FRAME, Buffer
from fethpipe.stats import Counters
from fethpipe.wire.slots import RecordSlots
from fethpipe.wire.superframe import PLAIN, SuperFrame

BATCH_FRAMES = 16
_LARGEST = 1 << 16
_SHORTEST = 14
_ROOM = 1 << 18
"""macOS starts Unix datagram sockets with 2 KiB, less than a frame may have."""


class FakeDevice:
    """A device whose kernel is the test, at the other end of a pair of datagram sockets.

    As with a real one, frames have boundaries, the descriptor can be selected, and what the queue
    of a direction has no room for is refused. It takes some hundred short frames.
    """

    def __init__(self, name: str = "fake0", *, offload: bool = False, fills: bool = False) -> None:
        self.name = name
        self.counters = Counters()
        self.frame_limit = MAX_FRAME
        self.offload = FakeOffload(self, super_frames=offload) if offload or fills else None
        self._socket, self._kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        for end in (self._socket, self._kernel):
            end.setblocking(False)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _ROOM)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _ROOM)
        self._vanished = False

    # --- what the pump sees: fethpipe.device.Device ---------------------------------------------

    def fileno(self) -> int:
        return self._socket.fileno()

    def read_frames(self) -> list[bytes]:
        assert not (self.offload and self.offload.enabled), "that would lose super-frames"
        return self.read_batch()

    def read_batch(self, most: int = BATCH_FRAMES) -> list[bytes]:
        self._check()
        frames: list[bytes] = []
        try:
            while len(frames) < most:
                frames.append(self._socket.recv(_LARGEST))
        except BlockingIOError:
            pass
        self.counters.frames_received += len(frames)
        self.counters.bytes_received += sum(map(len, frames))
        return frames

    def write_frames(self, frames: Sequence[bytes]) -> None:
        self._check()
        for frame in frames:
            if len(frame) < _SHORTEST:
                self.counters.drop("refused by the kernel")
                continue
            try:
                self._socket.send(frame)
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.ENOBUFS):
                    raise
                self.counters.drop("kernel queue full")
                continue
            self.counters.frames_sent += 1
            self.counters.bytes_sent += len(frame)

    def write_vectored(self, buffers: Sequence[Buffer]) -> None:
        self.write_frames([b"".join(buffers)])

    def kernel_drops(self) -> int:
        return 0

    def close(self) -> None:
        self._socket.close()
        self._kernel.close()

    def _check(self) -> None:
        if self._vanished:
            raise DeviceError(f"{self.name} has gone")

    # --- what the test does to it ---------------------------------------------------------------

    def emit(self, frame: bytes, *, seconds: float) -> bool:
        """Let the kernel send a frame, and return whether there was room for it in time."""
        if not select.select([], [self._kernel], [], seconds)[1]:
            return False
        try:
            self._kernel.send(frame)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.ENOBUFS):
                raise
            return False
        return True

    def absorb(self, *, seconds: float) -> bytes | None:
        """Return the next frame that the kernel got, None if none came in time."""
        if not select.select([self._kernel], [], [], seconds)[0]:
            return None
        return self._kernel.recv(_LARGEST)

    def vanish(self) -> None:
        """Let the interface be deleted, which a real descriptor announces by being readable."""
        self._vanished = True
        self._kernel.send(b"")


class FakeOffload:
    """What its kernel can do besides single frames. With none of its super-frames is anything left
    to do. ``batches`` and ``filled`` count the calls that fill records, and the records.
    """

    def __init__(self, device: FakeDevice, *, super_frames: bool) -> None:
        self.super_frames = self.udp = super_frames
        self.header = len(PLAIN) if super_frames else 0
        self.enabled = self.enabled_udp = False
        self.batches = self.filled = 0
        self._device = device
        self._lone = False

    def enable(self, *, udp: bool, segments: bool = True) -> None:
        assert self.super_frames
        self.enabled, self.enabled_udp = True, udp

    def disable(self) -> None:
        self.enabled = False

    def longest_frame(self) -> int:
        return 1518

    def set_carrier(self, *, up: bool) -> None:
        raise AssertionError("nobody asks for it")

    def read_super_frames(self) -> list[bytes]:
        assert self.enabled
        frames = self._device.read_batch()
        self._lone = len(frames) == 1
        return [PLAIN + frame for frame in frames]

    def write_super_frames(self, super_frames: Sequence[SuperFrame]) -> None:
        assert self.super_frames
        assert all(each[: len(PLAIN)] == PLAIN for each in super_frames)
        self._device.write_frames([bytes(each[len(PLAIN) :]) for each in super_frames])

    def read_lone(self) -> bytes:
        """Read one after one that came alone, and the next time a batch again."""
        assert self.enabled
        frames = self._device.read_batch(1) if self._lone else []
        self._lone = False
        return PLAIN + frames[0] if frames else b""

    def write_lone(self, super_frame: SuperFrame) -> None:
        self.write_super_frames((super_frame,))

    def read_into(self, slots: RecordSlots) -> tuple[int, list[bytes]]:
        assert slots.skipped == (0 if self.enabled else self.header), "that is not what is sent"
        self.batches += 1
        for count, buffers in enumerate(slots.buffers):
            frames = self._device.read_batch(1)
            if not frames:
                return count, []
            packet = bytes(self.header) + frames[0]
            scatter(packet, buffers)
            if len(packet) != slots.skipped + slots.length:
                return count, [packet if self.enabled else frames[0]]
            self.filled += 1
        return len(slots.buffers), []


def scatter(packet: bytes, buffers: Sequence[bytearray | memoryview]) -> None:
    """Do as readv(2): fill the buffers one after the other, and no further than it goes."""
    for buffer in buffers:
        part, packet = packet[: len(buffer)], packet[len(buffer) :]
        buffer[: len(part)] = part
    assert not packet, "the packet is cut short"
