"""The end of a tunnel: why it ended, and what besides the stream can end it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from select import select
from typing import NamedTuple, Optional

from ..errors import FethpipeError, SystemFailureError, reason

log = logging.getLogger("fethpipe")


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


def status_of(work: Callable[[], int]) -> int:
    """Return the exit status of some work, or that of its failure, which is logged."""
    try:
        return work()
    except FethpipeError as error:
        log.error("%s", error)  # noqa: TRY400 - one line, never a traceback
        return error.status
    except MemoryError:
        log.error("there is not enough memory")  # noqa: TRY400
        return SystemFailureError.status
    except (ImportError, SystemError) as error:  # Python itself had too little memory, or files
        log.error("cannot load the program: %s", error)  # noqa: TRY400
        return SystemFailureError.status
    except OSError as error:  # such as EMFILE, which any call may meet
        log.error("the system refused: %s", reason(error))  # noqa: TRY400
        return SystemFailureError.status
