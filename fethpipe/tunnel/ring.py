"""Look for a ring of networks at a device, and break the storm in it. Also tell if the network of a
bridge answers none of the first frames.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence

from ..device import Device
from ..ether.frame import Frame
from ..ether.ring import LIMIT, RingWatch
from ..ether.silence import SilenceWatch

log = logging.getLogger("fethpipe")

TICK_SECONDS = 0.5


class RingGuard:
    """The inspector of a device that looks for a ring, while something is suspicious.

    ``bridge`` is the name of the bridge that the device is a port of, if it is one. ``tick`` has to
    be called every TICK_SECONDS.
    """

    def __init__(self, device: Device, mac: bytes, bridge: str | None) -> None:
        self._device = device
        self._bridge = bridge
        self._watch = RingWatch(os.urandom(16), mac)
        self._silence = SilenceWatch(looking=bridge is not None)
        self.active = self._silence.looking

    def tick(self) -> None:
        """Look at what has passed, tell of a ring and of its end, and keep a probe going around."""
        watch, counters, now = self._watch, self._device.counters, time.monotonic()
        if watch.tick(now, counters.frames_received, counters.frames_sent):
            self._tell(ring=watch.ring)
        if self._silence.tick(now):
            self._tell_silence()
        self._choose()
        if watch.ring:
            self._device.write_frames([watch.probe])

    def from_device(self, frames: list[bytes], skip: int) -> list[bytes]:
        """Return the frames that go on, and count the others."""
        if self._silence.looking:
            self._silence.from_device(frames, skip)
        kept = self._watch.from_device(frames, skip) if self._watch.looking else frames
        if len(kept) < len(frames):
            self._device.counters.drop("ring of networks", len(frames) - len(kept))
        self._choose()
        return kept

    def to_device(self, frames: Sequence[Frame], skip: int) -> Sequence[Frame]:
        """Return the frames that go on."""
        if self._silence.looking:
            self._silence.to_device(frames, skip)
        return self._watch.to_device(frames, skip) if self._watch.looking else frames

    def _choose(self) -> None:
        self.active = self._watch.looking or self._silence.looking

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

    def _tell_silence(self) -> None:
        log.warning(
            "%s: nobody behind %s answers %s; its network probably takes frames of known MACs only,"
            " as Wi-Fi, most clouds and bridges of macOS over Wi-Fi do: use proxy ARP instead, a"
            " recipe in docs/RECIPES.md",
            self._device.name,
            self._bridge,
            self._silence.station.hex(":"),
        )
