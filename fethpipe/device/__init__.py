"""Move frames: the interface of all kinds of devices. No device needs root to be used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..ether.frame import Buffer
from ..stats import Counters
from ..wire.slots import RecordSlots


class Offload(Protocol):
    """What the kernel of a device can do for us besides single frames: make and take super-frames,
    and read right into records.

    A super-frame counts as one frame, its virtio header not at all.
    """

    super_frames: bool
    """Whether it makes and takes super-frames. Without, only ``read_into`` may be called."""

    udp: bool
    """Whether it knows super-frames of UDP, besides those of TCP."""

    header: int
    """Bytes that the kernel puts before each frame: of the virtio header, if there is one."""

    def enable(self, *, udp: bool) -> None:
        """Make super-frames from now on, those of UDP too if ``udp``.

        They are taken at any time. From now on only ``read_super_frames`` returns everything.
        """

    def disable(self) -> None:
        """Make whole frames again; what is left of super-frames, ``read_frames`` drops."""

    def longest_frame(self) -> int:
        """Return the bytes of the longest frame that the interface passes on now, by its MTU."""

    def read_super_frames(self) -> list[bytes]:
        """Return the super-frames of one batch; for the rest like ``read_frames``."""

    def write_super_frames(self, super_frames: Sequence[bytes | memoryview]) -> None:
        """Send super-frames that were checked; for the rest like ``write_frames``."""

    def read_lone(self) -> bytes:
        """Return the next super-frame where it is likely to be the only one that waits, and b""
        to have ``read_super_frames`` called. For one, it is the shorter way.
        """

    def write_lone(self, super_frame: bytes | memoryview) -> None:
        """Send one super-frame, as ``write_super_frames`` does."""

    def read_into(self, slots: RecordSlots) -> tuple[int, list[bytes]]:
        """Fill slots from the first on with what waits, and return how many are good.

        What has another length ends this. It is returned beside, behind all the others if those
        are no frames as they are. The slots hold frames if they skip the header, else
        super-frames; for the rest like ``read_frames``.
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
        """Return what its kernel can do besides single frames, None if nothing."""

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
