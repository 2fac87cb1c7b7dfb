"""What runs on the simulated Mac: a feth device, and somebody at its far side.

The far side is the primary side, seen from below its IP stack: what is written there arrives at the
device, and what the device sends is read there.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import threading
import time
from typing import Any

from fethpipe.abi.linux import F_SETPIPE_SZ
from fethpipe.device.bpf import open_bpf
from fethpipe.device.ndrv import open_ndrv
from fethpipe.provision import (
    feth,  # noqa: F401 - while we are root: the folder of Python need not be open to others
)
from fethpipe.provision.kind import find_kind, provision
from fethpipe.provision.request import DeviceRequest, Provisioned
from fethpipe.system.stream import Stream
from fethpipe.tunnel.pump import Pump
from fethpipe.wire.connection import Connection
from fethpipe.wire.framing import FRAMINGS
from tests.darwin.client import parse_batch
from tests.darwin.layouts import REQUEST, frame, from_u32
from tests.device.contracts import Near
from tests.patience import PATIENCE


def provision_with(request: dict[str, Any]) -> Provisioned:
    """Provision as the keeper does."""
    return provision_noting(request)[0]


def provision_noting(request: dict[str, Any]) -> tuple[Provisioned, list[str]]:
    """Do so, and return the interfaces that were noted as made as well."""
    made: list[str] = []
    device = provision(find_kind("auto"), DeviceRequest(**request), on_made=made.append)
    return device, made


def close(provisioned: Provisioned) -> None:
    """Close the descriptors."""
    for descriptor in provisioned.descriptors:
        os.close(descriptor)


def discard(provisioned: Provisioned) -> None:
    """Close the descriptors and destroy both interfaces."""
    close(provisioned)
    for name in pair(provisioned):
        find_kind("auto").destroy(name)


def pair(provisioned: Provisioned) -> tuple[str, str]:
    """Return the names of both sides."""
    return provisioned.interface, provisioned.io_interface or ""


def open_descriptors() -> int:
    """Return how many descriptors the process has."""
    return len(os.listdir("/dev/fd"))


def open_near(provisioned: Provisioned) -> Near:
    """Open a device in a process that got its descriptors from wherever."""
    return Near(find_kind("auto").open(provisioned))


class FarSide:
    """The primary side, below its IP stack."""

    def __init__(self, interface: str) -> None:
        self._reader = open_bpf(interface)
        answer = bytearray(4)
        fcntl.ioctl(self._reader, REQUEST["BIOCGBLEN"], answer)
        self._length = from_u32(bytes(answer))
        self._writer = open_ndrv(interface)

    def send(self, frames: list[bytes]) -> None:
        """Send frames to the device."""
        for each in frames:
            os.write(self._writer, each)

    def receive(self, count: int) -> list[bytes]:
        """Return this many frames that the device sent, or fewer when time is up."""
        frames: list[bytes] = []
        deadline = time.monotonic() + PATIENCE
        while len(frames) < count and _readable(self._reader, deadline):
            frames += [record.frame for record in parse_batch(os.read(self._reader, self._length))]
        return frames


class Rig(Near):
    """A device, and its far side, in one process of root's."""

    def __init__(self, request: dict[str, Any]) -> None:
        self.provisioned = provision_with(request)
        super().__init__(find_kind("auto").open(self.provisioned))
        self.far = FarSide(self.provisioned.interface)

    def exchange(self, frames: list[bytes]) -> None:
        """Send frames both ways at once, and see all of them arrive in order."""
        self.far.send(frames)
        self.send(frames)
        assert self.receive(len(frames)) == frames
        assert self.far.receive(len(frames)) == frames

    def exchange_every_length(self, lengths: range, *, at_once: int = 64) -> None:
        """Do so with one frame of each length."""
        for start in range(lengths[0], lengths[-1] + 1, at_once):
            stop = min(start + at_once, lengths[-1] + 1)
            self.exchange([frame(length, mark=length) for length in range(start, stop)])

    def burst(self, count: int, at_once: int, size: int = 60) -> None:
        """Receive and send this many frames, so many at once, all in order."""
        for start in range(0, count, at_once):
            self.exchange([frame(size, mark=mark) for mark in range(start, start + at_once)])

    def overload(self, count: int, size: int) -> tuple[int, int]:
        """Send far too many frames, then read; return how many came and how many were dropped."""
        frames = [frame(size, mark=mark) for mark in range(count)]
        self.far.send(frames)
        arrived: list[bytes] = []
        while batch := self.read():
            arrived += batch
        rest = iter(frames)
        assert all(each in rest for each in arrived), "out of order"
        return len(arrived), self.kernel_drops()

    def pump(self, bursts: int, at_once: int) -> tuple[int, int]:
        """Pump bursts of frames to a stream; return its writes and the frames that came."""
        near, far = socket.socketpair()
        frames = 0
        with near, far:
            far.settimeout(PATIENCE)
            stream = _CountingStream(near.fileno())
            with stream:
                # u16le, because that framing has no hello.
                connection = Connection(FRAMINGS["u16le"], self.device.counters)
                pump = Pump(self.device, stream, connection)
                for _ in range(bursts):
                    self.far.send([frame(60, mark=mark) for mark in range(at_once)])
                    if not frames:
                        thread = threading.Thread(target=pump.run)
                        thread.start()
                    _take(far, at_once * (2 + 60))
                    frames += at_once
                far.shutdown(socket.SHUT_WR)
                thread.join()
                return stream.writes, frames

    def replay(self, frames: list[bytes]) -> None:
        """Pump frames to the far side that wait in a pipe, all of them."""
        framing = FRAMINGS["u16le"]
        reading, writing = os.pipe()
        fcntl.fcntl(writing, F_SETPIPE_SZ, 1 << 18)
        with open(reading, "rb"), open(os.devnull, "wb") as nowhere:
            with open(writing, "wb"), Stream(reading, writing) as filled:
                filled.write(framing.encode(frames))
                assert not filled.pending, "the pipe has no room for that"
            with Stream(reading, nowhere.fileno()) as stream:
                Pump(self.device, stream, Connection(framing, self.device.counters)).run()
        assert self.far.receive(len(frames)) == frames


class _CountingStream(Stream):
    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, descriptor)
        self.writes = 0

    def write(self, data: bytes | memoryview) -> None:
        """Write, and count it unless it is but another try to write what was left."""
        self.writes += not self.pending
        super().write(data)


def _take(source: socket.socket, size: int) -> None:
    while size:
        chunk = source.recv(size)
        assert chunk
        size -= len(chunk)


def _readable(descriptor: int, deadline: float) -> bool:
    return bool(select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0])
