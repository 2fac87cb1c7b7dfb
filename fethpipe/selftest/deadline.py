"""One time limit for the whole test, and errors that name the step in which it ran out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import SystemFailureError, reason


class Deadline:
    """A time limit for all steps together, in seconds from now."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds that are left. Raises TimeoutError if none are."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("no answer in time")
        return left


@contextmanager
def os_errors_as(what: str) -> Iterator[None]:
    """Re-raise OSError, also a TimeoutError, as SystemFailureError("{what}: ...")."""
    try:
        yield
    except OSError as error:
        raise SystemFailureError(f"{what}: {reason(error)}") from error
