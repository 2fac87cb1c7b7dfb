"""Move frames: one small interface, whatever the kernel calls the device."""

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
    """An Ethernet device as the pump sees it.

    A device owns its descriptors and nothing else: making and undoing interfaces is not its work.
    """

    name: str
    counters: Counters

    @property
    def offload(self) -> Offload | None:
        """Return what its kernel can do besides single frames, None if nothing."""

    def fileno(self) -> int:
        """Return the descriptor that selects as readable while the kernel holds frames."""

    def read_frames(self) -> list[bytes]:
        """Return the frames of one batch without blocking, [] when there are none.

        What the batch did not take, ``fileno`` still announces: nothing is held back in user
        space. Raises DeviceError when the interface has gone.
        """

    def write_frames(self, frames: Sequence[bytes]) -> None:
        """Send frames in order, without blocking.

        A frame that the kernel refuses is counted by reason, not raised. Raises DeviceError when
        the interface has gone.
        """

    def kernel_drops(self) -> int:
        """Return how many frames the kernel dropped because we did not read them in time."""

    def close(self) -> None:
        """Close the descriptors; safe to call twice."""


class VectoredDevice(Device, Protocol):
    """A device that takes a frame in pieces, as those who build frames have it."""

    def write_vectored(self, buffers: Sequence[Buffer]) -> None:
        """Send one frame that lies in several buffers, which are not joined; for the rest like
        ``write_frames``.
        """
