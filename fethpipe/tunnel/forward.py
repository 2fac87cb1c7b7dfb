"""Move frames from the device to the stream, in one of three forms:

- records of frames, before the switch or without one;
- records of super-frames, after the switch. A super-frame that comes alone (a ping, a keystroke)
  takes a shorter way, as each call of a Python function costs 1 to 3 % of its round trip;
- records that the device fills in place, before or after the switch, as long as all frames have the
  same length. Most bulk traffic does, and then nothing is copied, cut or joined.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from ..device import Device, Offload
from ..flow.control import Control
from ..system.stream import Stream
from ..wire.connection import Connection
from ..wire.slots import RecordSlots
from ..wire.superframe import LONG, PLAIN

# After two batches of at least this many frames, all of the same length, more will probably come.
_ALIKE = 8
_LEAST_SLOT = 256


class Forward:
    """Moves frames from a device to a stream that has nothing pending, one batch at a time."""

    def __init__(
        self, device: Device, connection: Connection, stream: Stream, control: Control
    ) -> None:
        self._device = device
        self._connection = connection
        self._stream = stream
        self._control = control
        self._dropped = 0  # by the queue, and counted
        self._offload: Offload | None = None  # while the device makes super-frames
        self._udp = self._slow = False
        self._slots: RecordSlots | None = None  # while records are filled in place
        self._last_slots: RecordSlots | None = None
        self._last_length = 0  # of all in the last batch, if that was one length

    def switch(self, offload: Offload, *, udp: bool) -> None:
        """Send super-frames from now on, with ``udp`` also those of UDP.

        The device makes super-frames only after this call. Raises DeviceError.
        """
        offload.enable(udp=udp)
        self._offload, self._udp = offload, udp
        self._slots = self._last_slots = None
        self._last_length = 0
        self._control.add_headers(PLAIN)
        self._stream.write(self._connection.send_switch())

    def close(self) -> None:
        """Let the device make only frames again, as the next peer may not take super-frames."""
        if self._offload:
            self._offload.disable()

    def move_within(self, now: float) -> None:
        """Move one batch as far as the window has room for it; the rest waits."""
        if self._stream.sent > self._control.batch_limit:
            self._queue(now)
        else:
            self.move()

    def move(self) -> None:
        """Move one batch."""
        if self._slots:
            self._fill(self._slots)
        elif self._offload:
            self._move_super_frames(self._offload)
        else:
            frames = self._device.read_frames()
            self._write([self._connection.send(frames)])
            self._choose_slots(frames)

    def release(self, now: float, report: bytes = b"") -> None:
        """Note what was sent, and send a report and what waits as far as there is room for it."""
        control, stream = self._control, self._stream
        control.on_send(stream.sent, now)
        while control.waiting and not stream.pending:
            now = time.monotonic()
            frames = control.take(now)
            if not frames:
                break
            if self._offload:
                records = self._connection.send_super_frames(frames)
            else:
                records = [self._connection.send(frames)]
            self._write([report, *records] if report else records)
            report = b""
            control.on_send(stream.sent, now)
        if report:
            stream.write(report)
            control.on_send(stream.sent, now)
        if control.queue.dropped > self._dropped:
            dropped = control.queue.dropped
            self._device.counters.drop("line too slow", dropped - self._dropped)
            self._dropped = dropped

    def adapt(self) -> None:
        """Have super-frames of many segments only where the line is fast enough for them."""
        slow = self._control.slow
        if self._offload and slow != self._slow:
            self._slow = slow
            self._offload.enable(udp=self._udp, segments=not slow)

    def _queue(self, now: float) -> None:
        """Have one batch wait: whoever calls ``release`` finds out how long."""
        offload, control = self._offload, self._control
        self._slots = None
        if offload:
            lone = offload.read_lone() if self._stream.sent <= control.lone_limit else b""
            if lone:
                self._stream.write(self._connection.send_lone(lone))
            else:
                control.put(offload.read_super_frames(), now)
        else:
            control.put(self._device.read_frames(), now)

    def _move_super_frames(self, offload: Offload) -> None:
        lone = offload.read_lone()
        if lone:
            self._stream.write(self._connection.send_lone(lone))
            return
        super_frames = offload.read_super_frames()
        self._write(self._connection.send_super_frames(super_frames))
        self._choose_slots(super_frames)

    def _fill(self, slots: RecordSlots) -> None:
        offload = self._device.offload
        if offload is None:
            return
        count, others = offload.read_into(slots)
        # A frame of another length ends a batch, so there should be few of them.
        if count < (_ALIKE if others else 2):
            self._slots = None
            self._last_length = 0
        pieces: list[bytes | memoryview] = [slots.records(count)] if count else []
        if others and self._offload:
            pieces += self._connection.send_super_frames(others)
        elif others:
            pieces.append(self._connection.send(others))
        self._write(pieces)

    def _choose_slots(self, batch: Sequence[bytes]) -> None:
        """Read the next frames directly into records, if two batches had frames of one length."""
        offload = self._device.offload
        if len(batch) < _ALIKE or offload is None:
            return
        length = len(batch[0])
        if not _LEAST_SLOT <= length < LONG or len(set(map(len, batch))) > 1:
            return
        if self._last_length != length:
            self._last_length = length
            return
        if self._last_slots is None or self._last_slots.length != length:
            skipped = 0 if self._offload else offload.header
            self._last_slots = self._connection.slots(length, skipped=skipped)
        self._slots = self._last_slots

    def _write(self, pieces: Sequence[bytes | memoryview]) -> None:
        if len(pieces) > 1:
            self._stream.write_pieces(pieces)
        elif pieces and pieces[0]:
            self._stream.write(pieces[0])
