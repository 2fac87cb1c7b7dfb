"""The select loop: frames from the device to the stream, and from the stream to the device.

Rules:

1. Memory is bounded. While the stream cannot take more, the device is not read: its kernel queue
   fills and drops, as Ethernet does.
2. Frames from the stream are never dropped for lack of speed; the stream is not read faster than
   the device takes them.
3. One wake-up moves one batch each way, so that neither direction starves the other, and nothing
   ever waits for a batch to fill.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from select import select
from typing import NamedTuple

from .device import Device
from .stream import Stream
from .wire.connection import ConfigureReceived, Connection, FramesReceived

FLUSH_SECONDS = 1.0
"""How long the end of a tunnel waits for the stream to take what is left."""


class Ending(NamedTuple):
    """Why a pump stopped, in words, and whether somebody on this side asked for it."""

    reason: str
    requested: bool = False


Watch = Mapping[int, Callable[[], "Ending | None"]]
Periodic = Sequence["tuple[float, Callable[[], None]]"]


class Pump:
    """Move frames between a device and a stream until one of them ends.

    ``watch`` maps further descriptors to what is called when they are readable; an
    Ending that it returns ends the pump. ``periodic`` holds what is called every so many seconds.
    """

    def __init__(
        self,
        device: Device,
        stream: Stream,
        connection: Connection,
        *,
        watch: Watch | None = None,
        periodic: Periodic = (),
    ) -> None:
        self._device = device
        self._stream = stream
        self._connection = connection
        self._watch = dict(watch or {})
        now = time.monotonic()
        self._timers = [_Timer(interval, now + interval, call) for interval, call in periodic]
        self._pending = b""
        self._ending: Ending | None = None

    def run(self) -> Ending:
        """Pump until an end, and return it.

        Raises ProtocolError, DeviceError, or OSError from a stream that fails.
        """
        device = self._device.fileno()
        incoming = self._stream.read_descriptor
        outgoing = [self._stream.write_descriptor]
        others = [*self._watch, incoming]
        with_device = [*others, device]
        nothing: list[int] = []
        while self._ending is None:
            if self._pending:
                readable, writable, _ = select(others, outgoing, nothing, self._timeout())
                if writable:
                    self._send(self._pending)
            else:
                readable, _, _ = select(with_device, nothing, nothing, self._timeout())
            for descriptor in readable:
                if descriptor == device:
                    self._send(self._connection.send(self._device.read_frames()))
                elif descriptor == incoming:
                    self._receive()
                else:
                    self._attend(descriptor)
            if self._timers:
                self._tick()
        self._flush()
        return self._ending

    def _receive(self) -> None:
        data = self._stream.read()
        if data is None:
            return
        if not data:
            self._end_of_stream()
            return
        for event in self._connection.receive(data):
            if isinstance(event, FramesReceived):
                self._device.write_frames(event.frames)
            elif isinstance(event, ConfigureReceived):
                self._connection.counters.drop("configuration not supported")
            else:
                self._ending = Ending("the host asked for the end")

    def _send(self, data: bytes) -> None:
        try:
            self._pending = self._stream.write(data) if data else b""
        except (BrokenPipeError, ConnectionResetError):
            self._pending = b""
            self._ending = Ending("the peer no longer reads the stream")

    def _end_of_stream(self) -> None:
        # A signal that came with the end (Ctrl-C reaches COMMAND as well) is the better reason.
        for descriptor in select(list(self._watch), [], [], 0)[0]:
            self._attend(descriptor)
        if self._ending is None:
            self._connection.receive_eof()
            self._ending = Ending("the peer closed the stream")

    def _attend(self, descriptor: int) -> None:
        self._ending = self._watch[descriptor]() or self._ending

    def _flush(self) -> None:
        """Let the stream take what is left, so that the peer's last record is whole."""
        deadline = time.monotonic() + FLUSH_SECONDS
        outgoing = [self._stream.write_descriptor]
        while self._pending:
            left = deadline - time.monotonic()
            if left <= 0 or not select([], outgoing, [], left)[1]:
                return
            self._send(self._pending)

    def _timeout(self) -> float | None:
        if not self._timers:
            return None
        return max(0.0, min(timer.due for timer in self._timers) - time.monotonic())

    def _tick(self) -> None:
        now = time.monotonic()
        for timer in self._timers:
            if now >= timer.due:
                timer.due = now + timer.interval
                timer.call()


class _Timer:
    def __init__(self, interval: float, due: float, call: Callable[[], None]) -> None:
        self.interval = interval
        self.due = due
        self.call = call
