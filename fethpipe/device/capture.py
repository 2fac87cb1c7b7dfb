"""Write every frame that passes through a device to a pcap file, for tcpdump and Wireshark.

A capture must never stop the tunnel: frames that cannot be written are left out and counted, with a
warning, and the tunnel does not wait for a slow reader of a named pipe.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence

from ..errors import reason
from ..ether.pcap import FILE_HEADER, pack_records
from ..stats import Counters
from ..system.output import open_output
from ..wire.slots import RecordSlots
from ..wire.superframe import VNET_LENGTH, SuperFrame
from . import Device, Offload

log = logging.getLogger("fethpipe")


def open_capture(path: str, *, option: str = "--pcap") -> Capture:
    """Start a capture in a new file, or in an existing file of this user, which is emptied.

    Raises UsageError as :func:`..system.output.open_output` does.
    """
    return Capture(open_output(path, option), path)


class Capture:
    """A pcap file that is being written. It owns its descriptor."""

    def __init__(self, descriptor: int, path: str) -> None:
        self._descriptor = descriptor
        self._path = path
        self._rest = FILE_HEADER  # what is left to write, after a pipe has taken a part
        self._missed = 0
        self._write()

    def record(self, frames: Sequence[bytes | memoryview]) -> None:
        """Write frames that pass now. A reader of the file sees them at once."""
        if not frames or self._descriptor < 0:
            return
        if self._rest:
            self._write()
        if self._rest:
            self._missed += len(frames)
            return
        self._rest = pack_records(frames, time.time_ns())
        self._write()

    def close(self) -> None:
        """Close the file; safe to call twice."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
            if self._missed:
                log.warning("%s lacks %d frames: its reader is too slow", self._path, self._missed)

    def _write(self) -> None:
        try:
            while self._rest:
                self._rest = self._rest[os.write(self._descriptor, self._rest) :]
        except BlockingIOError:
            pass
        except OSError as error:
            log.warning("the capture ends: cannot write to %s: %s", self._path, reason(error))
            self.close()


class CapturedDevice:
    """A device whose frames also go to a capture: all that it returns, and all that it is to send,
    even those that the kernel refuses.

    It owns neither the device nor the capture.
    """

    def __init__(self, device: Device, capture: Capture) -> None:
        self.name = device.name
        self._device = device
        self._capture = capture
        offload = device.offload
        self._offload = _CapturedOffload(offload, capture) if offload else None

    @property
    def counters(self) -> Counters:
        """Return the counters of the device."""
        return self._device.counters

    @counters.setter
    def counters(self, counters: Counters) -> None:
        self._device.counters = counters

    @property
    def frame_limit(self) -> int:
        """Return the limit of the device."""
        return self._device.frame_limit

    @property
    def offload(self) -> Offload | None:
        """Return what deals in super-frames, if the device can."""
        return self._offload

    def fileno(self) -> int:
        """Return the descriptor of the device."""
        return self._device.fileno()

    def read_frames(self) -> list[bytes]:
        """Return the frames of one batch."""
        frames = self._device.read_frames()
        self._capture.record(frames)
        return frames

    def write_frames(self, frames: Sequence[bytes]) -> None:
        """Send frames in order."""
        self._capture.record(frames)
        self._device.write_frames(frames)

    def kernel_drops(self) -> int:
        """Return the number of frames that the kernel dropped. The capture does not have them."""
        return self._device.kernel_drops()

    def close(self) -> None:
        """Do nothing: the owner of the device closes it."""


class _CapturedOffload:
    """The super-frames of a captured device. In the capture they are frames, up to 64 KiB long."""

    def __init__(self, offload: Offload, capture: Capture) -> None:
        self.super_frames = offload.super_frames
        self.udp = offload.udp
        self.header = offload.header
        self._offload = offload
        self._capture = capture

    def enable(self, *, udp: bool, segments: bool = True) -> None:
        self._offload.enable(udp=udp, segments=segments)

    def disable(self) -> None:
        self._offload.disable()

    def longest_frame(self) -> int:
        return self._offload.longest_frame()

    def set_carrier(self, *, up: bool) -> None:
        self._offload.set_carrier(up=up)

    def read_super_frames(self) -> list[bytes]:
        super_frames = self._offload.read_super_frames()
        self._record(super_frames)
        return super_frames

    def write_super_frames(self, super_frames: Sequence[SuperFrame]) -> None:
        self._record(super_frames)
        self._offload.write_super_frames(super_frames)

    def read_lone(self) -> bytes:
        return b""

    def write_lone(self, super_frame: SuperFrame) -> None:
        self.write_super_frames((super_frame,))

    def read_into(self, slots: RecordSlots) -> tuple[int, list[bytes]]:
        count, others = self._offload.read_into(slots)
        whole = self.header and not slots.skipped
        payloads = [slots.payload(index) for index in range(count)] + others
        self._record(payloads) if whole else self._capture.record(payloads)
        return count, others

    def _record(self, super_frames: Sequence[SuperFrame]) -> None:
        self._capture.record([each[VNET_LENGTH:] for each in super_frames])
