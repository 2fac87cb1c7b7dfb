"""How long to wait before COMMAND starts again."""

from __future__ import annotations

_FIRST_SECONDS = 1.0
_LONGEST_SECONDS = 60.0
_GOOD_RUN_SECONDS = 60.0


class Backoff:
    """1, 2, 4 ... 60 seconds, and from the start again after a run that lasted a minute."""

    def __init__(self) -> None:
        self._next = _FIRST_SECONDS

    def next(self, *, lasted: float) -> float:
        """Return the pause in seconds after a run that lasted so many seconds."""
        if lasted >= _GOOD_RUN_SECONDS:
            self._next = _FIRST_SECONDS
        pause = self._next
        self._next = min(2 * pause, _LONGEST_SECONDS)
        return pause
