"""Counters of both directions, and drops by reason."""

from __future__ import annotations

from collections import Counter


class Counters:
    """Frames and bytes (of whole frames, Ethernet header included) that passed.

    ``received`` came out of the device, ``sent`` went into it. ``drops`` counts frames that went
    no further, by a reason that a person can read.
    """

    def __init__(self) -> None:
        self.frames_received = 0
        self.bytes_received = 0
        self.frames_sent = 0
        self.bytes_sent = 0
        self.drops: Counter[str] = Counter()

    def drop(self, reason: str, frames: int = 1) -> None:
        """Count frames that went no further."""
        self.drops[reason] += frames


def format_counters(counters: Counters, *, kernel_drops: int = 0) -> str:
    """Return the counters as one line.

    ``kernel_drops`` are frames that the kernel threw away before we could read them.
    """
    drops = counters.drops + Counter({"kernel queue full": kernel_drops})
    told = ", ".join(f"{count} {reason}" for reason, count in sorted(drops.items())) or "none"
    return (
        f"from device {counters.frames_received} frames {counters.bytes_received} bytes, "
        f"to device {counters.frames_sent} frames {counters.bytes_sent} bytes, dropped: {told}"
    )
