"""How a tunnel ends, and who besides the frames can end it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from select import select
from typing import NamedTuple, Optional


class Ending(NamedTuple):
    """Why a pump stopped, in words, and whether somebody on this side asked for it, maybe by a
    signal.
    """

    reason: str
    requested: bool = False
    signal: int = 0


Watch = Mapping[int, Callable[[], Optional[Ending]]]
"""What to call when a descriptor is readable; an Ending that it returns ends the tunnel."""


def pause(watch: Watch, seconds: float) -> Ending | None:
    """Wait so many seconds; return the ending at once if somebody asks for one."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        for descriptor in select(list(watch), [], [], left)[0]:
            ending = watch[descriptor]()
            if ending:
                return ending
    return None
