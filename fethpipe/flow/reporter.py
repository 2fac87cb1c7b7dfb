"""When to tell the other side how much has been taken from the stream."""

from __future__ import annotations

STEP = 1024
"""Bytes that are worth a report. One ping is not, so it costs none."""

NEAR_STEP = 1 << 24
"""Bytes that are worth one to a peer that does not limit what it sends."""

NEAR_INTERVAL = 0.1
"""Seconds after which such a peer gets one for STEP bytes, too, so that it notices a slow line."""

INTERVAL = 0.001
"""Seconds between two reports. On a pipe, batches come faster than that."""


class Reporter:
    """Decides when a report is due. ``taken`` is a count of bytes, and ``now`` in seconds of a
    monotonic clock.

    ``near`` is what the peer says it is. ``due`` is worth asking from the count ``next`` or the
    time ``next_time`` on.
    """

    def __init__(self, now: float) -> None:
        self.near = False
        self.next = STEP
        self.next_time = float("inf")
        self._told = 0
        self._hurried = False
        self._last = now - INTERVAL
        self._since: float | None = None  # there is enough to tell

    def due(self, taken: int, now: float, *, patience: float = 0.0) -> float | None:
        """Return when the next report is due, None if there is too little to tell.

        It may wait for so many seconds of ``patience`` after there was enough.
        """
        if taken < self.next and (now < self.next_time or taken < self._told + STEP):
            return None
        if self._since is None:
            self._since = now
        return max(self._last + INTERVAL, self._since + patience)

    def on_report(self, taken: int, now: float) -> None:
        """Note that so much has been reported."""
        self._last = now
        self._since = None
        self._hurried = False
        self._told = taken
        self._set_next()

    def on_peer(self, *, near: bool) -> None:
        """Note what the peer says it is."""
        if near != self.near:
            self.near = near
            self._set_next()

    def hurry(self) -> None:
        """Have the next report be due even if there is little to tell of."""
        self._hurried = True
        self._set_next()

    def _set_next(self) -> None:
        step = 0 if self._hurried else NEAR_STEP if self.near else STEP
        self.next = self._told + step
        self.next_time = self._last + NEAR_INTERVAL if self.near else float("inf")
