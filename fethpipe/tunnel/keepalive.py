"""When to send an empty record to the peer, and when to give the peer up.

An empty record is sent when the stream was idle for the keepalive time. A peer that sends such
records too is given up when nothing came from it for three times as long. A peer that does not may
be silent as long as it likes.

Nothing looks at the clock when bytes pass. Time is counted in ticks of a quarter of the keepalive
time, and a tick in which bytes passed counts as over, so nobody waits longer than the full time.
"""

from __future__ import annotations

_TICKS = 4
_PATIENCE = 3
"""A peer may be silent for this many times the keepalive time."""


class Keepalive:
    """The keepalive of one stream. Set ``sent`` and ``heard`` when bytes pass.

    Call ``tick`` every ``interval`` seconds. ``patience`` is the time in seconds that the peer may
    be silent, None if it may be silent for ever.
    """

    def __init__(self, seconds: float) -> None:
        self.sent = self.heard = False
        self.interval = seconds / _TICKS
        self.patience: float | None = None
        self._seconds = seconds
        self._idle = self._silent = 0

    def expect(self, seconds: float = 0.0) -> None:
        """Expect empty records from the peer.

        ``seconds`` is the peer's keepalive time, 0 if unknown. The longer one of both counts.
        """
        self.patience = max(self.patience or 0.0, _PATIENCE * max(seconds, self._seconds))

    def tick(self) -> None:
        """Tell that an interval has passed."""
        self._idle = 0 if self.sent else self._idle + 1
        self._silent = 0 if self.heard else self._silent + 1
        self.sent = self.heard = False

    @property
    def owing(self) -> bool:
        """Whether we must send an empty record now."""
        return self._idle >= _TICKS - 1

    @property
    def abandoned(self) -> bool:
        """Whether the peer was silent for too long."""
        return self.patience is not None and (self._silent + 1) * self.interval >= self.patience
