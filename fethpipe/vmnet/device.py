"""The device of a vmnet interface: it moves frames over the socket of the interface's process."""

from __future__ import annotations

import socket
import time
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from select import select

from ..device.writer import sendable
from ..errors import DeviceError
from ..ether.frame import HEADER_LENGTH
from ..stats import Counters
from ..wire.framing import RecordDecoder
from .cable import CABLE, NOTE

_READ_SIZE = 1 << 16
# The longest time that a batch waits for the other process. That process never waits for us, so it
# takes longer only if it does not get to run at all.
_PATIENCE_SECONDS = 0.2


class VmnetDevice:
    """The pump's end of a cable that :func:`.cable.make_cable` made.

    ``max_packet`` is the longest frame in bytes. All methods raise DeviceError if the process of
    the interface has ended.
    """

    def __init__(self, descriptor: int, name: str, *, max_packet: int) -> None:
        self.name = name
        self.counters = Counters()
        self.offload = None  # vmnet has super-frames, but in another format
        self._cable = socket.socket(fileno=descriptor)
        self._cable.setblocking(False)
        self._decoder = RecordDecoder(CABLE)
        self.frame_limit = max_packet
        self._rest = b""  # of a record that was sent in part

    def fileno(self) -> int:
        return self._cable.fileno()

    def read_frames(self) -> list[bytes]:
        try:
            data = self._cable.recv(_READ_SIZE)
        except BlockingIOError:
            return []
        except ConnectionResetError:
            data = b""
        if not data:
            raise self._gone()
        frames = self._decoder.feed(data)
        if frames and min(map(len, frames)) < HEADER_LENGTH:
            frames = self._without_notes(frames)
        self.counters.frames_received += len(frames)
        self.counters.bytes_received += sum(map(len, frames))
        return frames

    def write_frames(self, frames: Sequence[bytes]) -> None:
        frames = sendable(frames, self.frame_limit, self.counters)
        if not frames:
            return
        sent = self._send(frames)
        if sent < len(frames):
            self.counters.drop("kernel queue full", len(frames) - sent)
        self.counters.frames_sent += sent
        self.counters.bytes_sent += sum(map(len, frames[:sent]))

    def kernel_drops(self) -> int:
        """Return 0: vmnet does not tell how many frames it dropped."""
        return 0

    def close(self) -> None:
        """Close the socket, which ends the interface; safe to call twice."""
        self._cable.close()

    def _send(self, frames: Sequence[bytes]) -> int:
        """Send as many frames as the other process takes in time, and return their number.

        A frame that was sent in part counts as sent: the next call begins with its rest.
        """
        deadline = time.monotonic() + _PATIENCE_SECONDS
        self._rest = self._rest[self._send_bytes(self._rest, deadline) :]
        if self._rest:
            return 0
        data = CABLE.encode(frames)
        sent = self._send_bytes(data, deadline)
        if sent == len(data):
            return len(frames)
        ends = [0, *accumulate(CABLE.prefix.size + len(frame) for frame in frames)]
        whole = bisect_left(ends, sent)
        self._rest = data[sent : ends[whole]]
        return whole

    def _send_bytes(self, data: bytes, deadline: float) -> int:
        """Send as much as possible before the deadline, and return the number of bytes."""
        sent = 0
        while sent < len(data):
            try:
                sent += self._cable.send(data[sent:] if sent else data)
            except BlockingIOError:
                left = max(0.0, deadline - time.monotonic())
                if not select([], [self._cable], [], left)[1]:
                    break
            except (BrokenPipeError, ConnectionResetError) as error:
                raise self._gone() from error
        return sent

    def _without_notes(self, records: list[bytes]) -> list[bytes]:
        """Count the drops that the notes tell, and return the frames only."""
        for record in records:
            if len(record) == NOTE.size:
                self.counters.drop("kernel out of buffers", *NOTE.unpack(record))
        return [record for record in records if len(record) >= HEADER_LENGTH]

    def _gone(self) -> DeviceError:
        return DeviceError(
            f"{self.name} has gone", hint="its process ended; its last message says why"
        )
