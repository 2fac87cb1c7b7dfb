"""A device that looks for a ring of networks, and breaks the storm in it.

As long as nothing is suspicious, its functions that move frames are those of the device itself, so
they cost nothing.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence

from ..device import Device, Offload
from ..ether.ring import LIMIT, RingWatch
from ..stats import Counters
from ..wire.slots import RecordSlots
from ..wire.superframe import SuperFrame

log = logging.getLogger("fethpipe")

TICK_SECONDS = 0.5

_DROPPED = "ring of networks"


class GuardedDevice:
    """A device, with a guard against rings. ``tick`` has to be called every TICK_SECONDS.

    It does not own the device.
    """

    def __init__(self, device: Device, mac: bytes) -> None:
        self.name = device.name
        self.counters: Counters = device.counters
        self._device = device
        self._watch = RingWatch(os.urandom(16), mac)
        self._guarding = False
        offload = device.offload
        self._offload = _GuardedOffload(device, offload, self) if offload else None
        self.fileno = device.fileno
        self.kernel_drops = device.kernel_drops
        self._pass()

    @property
    def frame_limit(self) -> int:
        """Return the limit of the device."""
        return self._device.frame_limit

    @property
    def offload(self) -> Offload | None:
        """Return what deals in super-frames, if the device can."""
        return self._offload

    def close(self) -> None:
        """Do nothing: the owner of the device closes it."""

    def tick(self) -> None:
        """Look at what has passed, tell of a ring and of its end, and keep a probe going around."""
        watch, counters = self._watch, self.counters
        if watch.tick(time.monotonic(), counters.frames_received, counters.frames_sent):
            self._tell(ring=watch.ring)
        if watch.looking != self._guarding:
            self._guard() if watch.looking else self._pass()
        if watch.ring:
            self._device.write_frames([watch.probe])

    def _tell(self, *, ring: bool) -> None:
        if ring:
            log.warning(
                "%s: frames go around in a ring, as its two networks are joined in another way too:"
                " only %d broadcasts a second pass until you remove one of the two",
                self.name,
                LIMIT,
            )
        else:
            log.warning("%s: the ring of networks is gone", self.name)

    def _pass(self) -> None:
        self._guarding = False
        self.read_frames = self._device.read_frames
        self.write_frames = self._device.write_frames
        if self._offload:
            self._offload.pass_on()

    def _guard(self) -> None:
        self._guarding = True
        self.read_frames = self._read_frames
        self.write_frames = self._write_frames
        if self._offload:
            self._offload.guard()

    def _read_frames(self) -> list[bytes]:
        return self.from_device(self._device.read_frames(), 0)

    def _write_frames(self, frames: Sequence[bytes]) -> None:
        self._device.write_frames(self._watch.to_device(frames, 0))

    def from_device(self, frames: list[bytes], skip: int) -> list[bytes]:
        """Return the frames that go on, and count the others."""
        kept = self._watch.from_device(frames, skip)
        if len(kept) < len(frames):
            self.counters.drop(_DROPPED, len(frames) - len(kept))
        elif not self._watch.looking:
            self._pass()
        return kept

    def to_device(self, super_frames: Sequence[SuperFrame], skip: int) -> Sequence[SuperFrame]:
        """Return the super-frames that go on."""
        return self._watch.to_device(super_frames, skip)


class _GuardedOffload:
    """The super-frames of a guarded device."""

    def __init__(self, device: Device, offload: Offload, guard: GuardedDevice) -> None:
        self.super_frames = offload.super_frames
        self.udp = offload.udp
        self.header = offload.header
        self._device = device
        self._offload = offload
        self._guard = guard
        self.enable = offload.enable
        self.disable = offload.disable
        self.longest_frame = offload.longest_frame
        self.set_carrier = offload.set_carrier
        self.pass_on()

    def pass_on(self) -> None:
        offload = self._offload
        self.read_into = offload.read_into
        if self.super_frames:
            self.read_super_frames = offload.read_super_frames
            self.write_super_frames = offload.write_super_frames
            self.read_lone = offload.read_lone
            self.write_lone = offload.write_lone

    def guard(self) -> None:
        self.read_into = self._read_into
        if self.super_frames:
            self.read_super_frames = self._read_super_frames
            self.write_super_frames = self._write_super_frames
            self.read_lone = bytes
            self.write_lone = self._write_lone

    def _read_super_frames(self) -> list[bytes]:
        return self._guard.from_device(self._offload.read_super_frames(), self.header)

    def _write_super_frames(self, super_frames: Sequence[SuperFrame]) -> None:
        self._offload.write_super_frames(self._guard.to_device(super_frames, self.header))

    def _write_lone(self, super_frame: SuperFrame) -> None:
        self._write_super_frames((super_frame,))

    def _read_into(self, slots: RecordSlots) -> tuple[int, list[bytes]]:
        """Read a batch, none of it into a slot."""
        if slots.skipped or not self.super_frames:
            return 0, self._guard.read_frames()
        return 0, self.read_super_frames()
