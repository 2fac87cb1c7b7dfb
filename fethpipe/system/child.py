"""Processes that are forks of this one, and talk to it over a channel.

Fork before there are threads. A child never returns into the code of its parent.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import NoReturn, Optional

from ..errors import FethpipeError, SystemFailureError, system_step
from .channel import Channel, channel_pair

_STDERR = 2

Serve = Callable[[], Optional[int]]
"""The whole work of a process; it returns the exit status, None for 0."""


def fork_child(name: str, serve: Callable[[Channel], int | None]) -> tuple[Channel, int]:
    """Fork a process that serves one end of a channel; return the other end and its process id.

    Raises SystemFailureError.
    """
    with system_step(f"start {name}"), ExitStack() as undo:
        near, far = channel_pair()
        undo.callback(near.close)
        undo.callback(far.close)
        process = os.fork()
        undo.pop_all()
    if process == 0:
        near.close()
        end_with(name, lambda: serve(far))
    far.close()
    return near, process


def end_with(name: str, serve: Serve) -> NoReturn:
    """Do the work of this process, and end it: whatever happens, nothing else of it runs.

    A FethpipeError is a message on stderr and the exit status; anything else is a defect of
    ``name``, which the message names, and status 71.
    """
    status: int | None = SystemFailureError.status
    try:
        status = serve()
    except FethpipeError as error:
        _say(str(error))
        status = error.status
    except BaseException as error:  # noqa: BLE001 - a fork must not go on as its parent
        _say(f"{name} failed: {error!r}")
    finally:
        os._exit(status or 0)


def _say(message: str) -> None:
    with suppress(OSError):
        os.write(_STDERR, f"fethpipe: {message}\n".encode("utf-8", "backslashreplace"))
