"""When to tell the peer that we are there, and when to believe that it is not.

An empty record goes out when the stream has been idle for the agreed time. A peer is given up when
nothing came from it for three times as long, if it is one that sends such records: who does not
promise to speak may be silent for as long as it likes.

No clock is looked at when bytes pass. Time goes in ticks of a quarter of the agreed time, and the
tick in which something passed counts as past: nobody waits longer than was agreed.
"""

from __future__ import annotations

_TICKS = 4
_PATIENCE = 3
"""How many times the agreed time a peer may be silent."""


class Keepalive:
    """The state of one stream. Set ``sent`` and ``heard`` when bytes pass.

    ``patience`` is how many seconds the peer may be silent, None while it promised nothing.
    """

    def __init__(self, seconds: float) -> None:
        self.sent = self.heard = False
        self.interval = seconds / _TICKS
        self.patience: float | None = None
        self._seconds = seconds
        self._idle = self._silent = 0

    def expect(self, seconds: float = 0.0) -> None:
        """Say that the peer sends such records, and after how many seconds if it told that.

        The longer time of the two counts.
        """
        self.patience = max(self.patience or 0.0, _PATIENCE * max(seconds, self._seconds))

    def tick(self) -> None:
        """Say that an interval has passed."""
        self._idle = 0 if self.sent else self._idle + 1
        self._silent = 0 if self.heard else self._silent + 1
        self.sent = self.heard = False

    @property
    def owing(self) -> bool:
        """Whether an empty record has to go out."""
        return self._idle >= _TICKS - 1

    @property
    def abandoned(self) -> bool:
        """Whether the peer is to be given up."""
        return self.patience is not None and (self._silent + 1) * self.interval >= self.patience
