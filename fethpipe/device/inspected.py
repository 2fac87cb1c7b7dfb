"""A device whose frames somebody looks at, in both directions: a capture, or a guard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..ether.frame import Frame
from ..wire.slots import RecordSlots
from ..wire.superframe import SuperFrame
from . import Device, Offload


class Inspector(Protocol):
    """Whoever looks at the frames. ``skip`` is the length of the virtio header before each."""

    active: bool
    """Whether it looks now; while it does not, its functions are not called."""

    def from_device(self, frames: list[bytes], skip: int) -> list[bytes]:
        """Return the frames that go on."""

    def to_device(self, frames: Sequence[Frame], skip: int) -> Sequence[Frame]:
        """Return the frames that go on to the device."""


class InspectedDevice:
    """A device behind an inspector. While that is not active, a frame costs one comparison more."""

    def __init__(self, device: Device, inspector: Inspector) -> None:
        self.name = device.name
        self.counters = device.counters
        self.frame_limit = device.frame_limit
        self.fileno = device.fileno
        self.kernel_drops = device.kernel_drops
        self.close = device.close
        self._device = device
        self._inspector = inspector
        self.offload: Offload | None = None
        if device.offload:
            self.offload = _InspectedOffload(device.offload, inspector, self)

    def read_frames(self) -> list[bytes]:
        frames = self._device.read_frames()
        return self._inspector.from_device(frames, 0) if self._inspector.active else frames

    def write_frames(self, frames: Sequence[bytes]) -> None:
        inspector = self._inspector
        self._device.write_frames(inspector.to_device(frames, 0) if inspector.active else frames)


class _InspectedOffload:
    """The super-frames of an inspected device. None is read in place that is to be inspected."""

    def __init__(self, offload: Offload, inspector: Inspector, device: InspectedDevice) -> None:
        self.super_frames = offload.super_frames
        self.udp = offload.udp
        self.header = offload.header
        self.enable = offload.enable
        self.disable = offload.disable
        self.longest_frame = offload.longest_frame
        self.set_carrier = offload.set_carrier
        self._offload = offload
        self._inspector = inspector
        self._device = device

    def read_super_frames(self) -> list[bytes]:
        frames, inspector = self._offload.read_super_frames(), self._inspector
        return inspector.from_device(frames, self.header) if inspector.active else frames

    def write_super_frames(self, super_frames: Sequence[SuperFrame]) -> None:
        if self._inspector.active:
            super_frames = self._inspector.to_device(super_frames, self.header)
        self._offload.write_super_frames(super_frames)

    def read_lone(self) -> bytes:
        return b"" if self._inspector.active else self._offload.read_lone()

    def write_lone(self, super_frame: SuperFrame) -> None:
        if self._inspector.active:
            self.write_super_frames((super_frame,))
        else:
            self._offload.write_lone(super_frame)

    def read_into(self, slots: RecordSlots) -> tuple[int, list[bytes]]:
        if not self._inspector.active:
            return self._offload.read_into(slots)
        if slots.skipped or not self.super_frames:
            return 0, self._device.read_frames()
        return 0, self.read_super_frames()
