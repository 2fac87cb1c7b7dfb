"""Move frames: the interface of all kinds of devices. No device needs root to be used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..ether.frame import Buffer
from ..stats import Counters
from ..wire.slots import RecordSlots


class Offload(Protocol):
    """What the kernel of a device can do besides single frames: make and take super-frames, and
    read directly into records.

    In the counters, a super-frame is one frame, and its virtio header does not count.
    """

    super_frames: bool
    """Whether it makes and takes super-frames. If not, only ``read_into`` may be called."""

    udp: bool
    """Whether it has super-frames of UDP, besides those of TCP."""

    header: int
    """The length in bytes of the virtio header before each frame, 0 if there is none."""

    def enable(self, *, udp: bool, segments: bool = True) -> None:
        """Make super-frames from now on, with ``udp`` also those of UDP. Without ``segments``,
        none is longer than a frame, and only checksums are left to do.

        The device takes them at any time. From now on, only ``read_super_frames`` returns all that
        comes. Raises DeviceError.
        """

    def disable(self) -> None:
        """Make only frames again. ``read_frames`` drops super-frames that are left in the queue."""

    def longest_frame(self) -> int:
        """Return the bytes of the longest frame that the interface passes on now, by its MTU."""

    def set_carrier(self, *, up: bool) -> None:
        """Set whether the link is up, as if a cable was plugged in or out: DHCP clients, routing
        daemons and bridges see it. Addresses and routes stay.
        """

    def read_super_frames(self) -> list[bytes]:
        """Return one batch of super-frames. Otherwise like ``read_frames``."""

    def write_super_frames(self, super_frames: Sequence[bytes | memoryview]) -> None:
        """Send checked super-frames. Otherwise like ``write_frames``."""

    def read_lone(self) -> bytes:
        """Return the next super-frame, if it is probably the only one that waits. Otherwise return
        b"", and the caller must call ``read_super_frames``. For a single one this is faster.
        """

    def write_lone(self, super_frame: bytes | memoryview) -> None:
        """Send one super-frame, like ``write_super_frames``."""

    def read_into(self, slots: RecordSlots) -> tuple[int, list[bytes]]:
        """Read into the slots, from the first one on. Return the number of valid slots, and the
        frames or super-frames that are not in a slot.

        A payload of another length ends the batch, and is returned separately. If the slots have
        headers to skip and one of them leaves work to do, none is valid, and all are returned
        separately. The slots have frames if they skip the header, and super-frames otherwise. For
        the rest, this is like ``read_frames``.
        """


class Device(Protocol):
    """An Ethernet device, as the pump uses it.

    A device owns its descriptors and nothing else. It does not make or destroy interfaces.
    """

    name: str
    counters: Counters

    @property
    def frame_limit(self) -> int:
        """Return the length in bytes of the longest frame that the kernel may ever be given."""

    @property
    def offload(self) -> Offload | None:
        """Return what the kernel can do besides single frames, None if nothing."""

    def fileno(self) -> int:
        """Return the descriptor, which is readable while the kernel holds frames."""

    def read_frames(self) -> list[bytes]:
        """Return one batch of frames, [] if there are none. Does not block.

        Nothing is kept in user space: while frames are left, ``fileno`` is readable. Raises
        DeviceError if the interface no longer exists.
        """

    def write_frames(self, frames: Sequence[bytes]) -> None:
        """Send frames in order. Does not block.

        A frame that the kernel refuses is dropped and counted by reason. Raises DeviceError if the
        interface no longer exists.
        """

    def kernel_drops(self) -> int:
        """Return the number of frames that the kernel dropped because its queue was full."""

    def close(self) -> None:
        """Close the descriptors. Safe to call twice."""


class VectoredDevice(Device, Protocol):
    """A device that can send a frame that lies in several buffers."""

    def write_vectored(self, buffers: Sequence[Buffer]) -> None:
        """Send one frame that lies in several buffers, without joining them.

        Otherwise like ``write_frames``.
        """
