"""The end of a tunnel: why it ended, and what besides the stream can end it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from select import select
from typing import NamedTuple, Optional


class Ending(NamedTuple):
    """Why the pump stopped, in words.

    ``requested``: whether somebody on this side asked for it. ``signal`` is the signal that did, or
    0.
    """

    reason: str
    requested: bool = False
    signal: int = 0


Watch = Mapping[int, Callable[[], Optional[Ending]]]
"""Functions to call when a descriptor is readable. An Ending that one returns ends the tunnel."""


def pause(watch: Watch, seconds: float) -> Ending | None:
    """Wait this many seconds. If a function of ``watch`` returns an Ending, return it at once."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        for descriptor in select(list(watch), [], [], left)[0]:
            ending = watch[descriptor]()
            if ending:
                return ending
    return None
