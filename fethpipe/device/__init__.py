"""Move frames: one small interface, whatever the kernel calls the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..stats import Counters


class Device(Protocol):
    """An Ethernet device as the pump sees it.

    A device owns its descriptors and nothing else: making and undoing interfaces is not its work.
    """

    name: str
    counters: Counters

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
