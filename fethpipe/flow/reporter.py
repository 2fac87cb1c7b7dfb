"""When to tell the other side how much has been taken from the stream."""

from __future__ import annotations

STEP = 1024
"""Bytes that are worth a report. One ping is not, so it costs none."""

NEAR_STEP = 1 << 24
"""Bytes that are worth one to a peer that does not limit what it sends."""

INTERVAL = 0.001
"""Seconds between two reports. On a pipe, batches come faster than that."""


class Reporter:
    """Decides when a report is due. ``taken`` is a count of bytes, and ``now`` in seconds of a
    monotonic clock.

    ``next`` is the count from which on ``due`` is worth asking; ``near`` is what the peer says it
    is.
    """

    def __init__(self, now: float) -> None:
        self.near = False
        self.next = STEP
        self._last = now - INTERVAL
        self._since: float | None = None  # there is enough to tell

    def due(self, taken: int, now: float, *, patience: float = 0.0) -> float | None:
        """Return when the next report is due, None if there is too little to tell.

        It may wait for so many seconds of ``patience`` after there was enough.
        """
        if taken < self.next:
            return None
        if self._since is None:
            self._since = now
        return max(self._last + INTERVAL, self._since + patience)

    def on_report(self, taken: int, now: float) -> None:
        """Note that so much has been reported."""
        self._last = now
        self._since = None
        self.next = taken + (NEAR_STEP if self.near else STEP)
