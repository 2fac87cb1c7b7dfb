"""Counters of both directions, and drops by reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence


class Counters:
    """Frames and bytes that passed. Bytes include the Ethernet header of each frame.

    ``received`` frames came from the device, ``sent`` frames were taken by its kernel. macOS tells
    nobody what a feth drops when its queue of 2048 frames is full. ``drops`` counts dropped frames
    by reason, a text for the user.
    """

    def __init__(self) -> None:
        self.frames_received = 0
        self.bytes_received = 0
        self.frames_sent = 0
        self.bytes_sent = 0
        self.drops: Counter[str] = Counter()
        self.describe_line: Callable[[], Sequence[str]] = tuple
        """Returns what is known of the line to the peer, in words, the longest form first; nothing
        where nothing is known.
        """

    def drop(self, reason: str, frames: int = 1) -> None:
        """Count dropped frames by reason."""
        self.drops[reason] += frames


def format_counters(counters: Counters, *, kernel_drops: int = 0) -> str:
    """Return the counters as one line.

    ``kernel_drops`` is the number of frames that the kernel dropped before we could read them.
    """
    drops = counters.drops + Counter({"kernel queue full": kernel_drops})
    told = ", ".join(f"{count} {reason}" for reason, count in sorted(drops.items())) or "none"
    line = counters.describe_line()[:1]
    return (
        f"from device {counters.frames_received} frames {counters.bytes_received} bytes, "
        f"to device {counters.frames_sent} frames {counters.bytes_sent} bytes, dropped: {told}"
        + "".join(f"; {words}" for words in line)
    )
