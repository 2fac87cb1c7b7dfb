"""Look for a ring of networks at a device, and break the storm in it."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence

from ..device import Device
from ..ether.frame import Frame
from ..ether.ring import LIMIT, RingWatch

log = logging.getLogger("fethpipe")

TICK_SECONDS = 0.5


class RingGuard:
    """The inspector of a device that looks for a ring, while something is suspicious.

    ``tick`` has to be called every TICK_SECONDS.
    """

    def __init__(self, device: Device, mac: bytes) -> None:
        self.active = False
        self._device = device
        self._watch = RingWatch(os.urandom(16), mac)

    def tick(self) -> None:
        """Look at what has passed, tell of a ring and of its end, and keep a probe going around."""
        watch, counters = self._watch, self._device.counters
        if watch.tick(time.monotonic(), counters.frames_received, counters.frames_sent):
            self._tell(ring=watch.ring)
        self.active = watch.looking
        if watch.ring:
            self._device.write_frames([watch.probe])

    def from_device(self, frames: list[bytes], skip: int) -> list[bytes]:
        """Return the frames that go on, and count the others."""
        kept = self._watch.from_device(frames, skip)
        if len(kept) < len(frames):
            self._device.counters.drop("ring of networks", len(frames) - len(kept))
        self.active = self._watch.looking
        return kept

    def to_device(self, frames: Sequence[Frame], skip: int) -> Sequence[Frame]:
        """Return the frames that go on."""
        return self._watch.to_device(frames, skip)

    def _tell(self, *, ring: bool) -> None:
        if ring:
            log.warning(
                "%s: frames go around in a ring, as its two networks are joined in another way too:"
                " only %d broadcasts a second pass until you remove one of the two",
                self._device.name,
                LIMIT,
            )
        else:
            log.warning("%s: the ring of networks is gone", self._device.name)
