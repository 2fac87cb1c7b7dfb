"""When to start COMMAND or ssh again: after a pause, or at once when the network has changed."""

from __future__ import annotations

import time
from collections.abc import Callable
from select import select

from ..system.changes import NetworkChanges
from .ending import Ending, Watch

_FIRST_SECONDS = 1.0
_LEAST_SECONDS = 1.0
"""However often the network changes."""
_SETTLE_SECONDS = 0.3
"""How long after a change of a link the addresses and routes that come with it are there."""


class Retry:
    """Pauses of 1, 2, 4 ... seconds, up to the longest one. They start at 1 again when the far end
    got ready, and when the network has changed.

    ``tell`` is called at the start of each pause with the reason and its length, ``count_down``
    about once a second with what is left of it.
    """

    def __init__(
        self,
        longest: float,
        changes: NetworkChanges,
        *,
        tell: Callable[[str, float], None],
        count_down: Callable[[float], None],
    ) -> None:
        self._longest = longest
        self._changes = changes
        self._tell = tell
        self._count_down = count_down
        self._due = 0.0
        self.reset()

    def reset(self) -> None:
        """Let the next pause be the shortest."""
        self._next = min(_FIRST_SECONDS, self._longest)

    def next(self) -> float:
        """Return the length of the next pause in seconds."""
        pause = self._next
        self._next = min(2 * pause, self._longest)
        return pause

    def hurry(self) -> None:
        """End the pause, if there is one."""
        self._due = 0.0

    def wait(self, watch: Watch, why: str) -> Ending | None:
        """Wait for the next try. Return an Ending if one comes first."""
        self._changes.read()  # these came before
        seconds = self.next()
        self._tell(why, seconds)
        now = time.monotonic()
        self._earliest, self._due = now + min(seconds, _LEAST_SECONDS), now + seconds
        calls = {**watch, **dict.fromkeys(self._changes.descriptors, self._attend_changes)}
        while (left := self._due - time.monotonic()) > 0:
            self._count_down(left)
            for descriptor in select(list(calls), [], [], min(left, 1.0))[0]:
                ending = calls[descriptor]()
                if ending:
                    return ending
        self._count_down(0.0)
        return None

    def _attend_changes(self) -> None:
        """Try again soon after a change, but not more often than once a second."""
        if self._changes.read():
            self.reset()
            soon = max(self._earliest, time.monotonic() + _SETTLE_SECONDS)
            self._due = min(self._due, soon)
