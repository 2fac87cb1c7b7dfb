"""Fork processes that talk to this one over a channel, and end a process with a message.

Fork before there are threads. A child never returns into the code of its parent.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import NoReturn, Optional

from ..errors import FethpipeError, SystemFailureError, reason, system_step
from .channel import Channel, channel_pair

log = logging.getLogger("fethpipe")

_STDERR = 2

Serve = Callable[[], Optional[int]]
"""The whole work of a process. It returns the exit status, None for 0."""


def fork_child(name: str, serve: Callable[[Channel], int | None]) -> tuple[Channel, int]:
    """Fork a process that serves one side of a channel. Return the other side and its process id.

    ``name`` is that of the process in messages. Raises SystemFailureError.
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


def end_with(name: str, serve: Serve) -> NoReturn:
    """Do the work of this process and then end it. Whatever happens, no other code of it runs.

    A FethpipeError becomes a message on stderr and the exit status. Any other exception is a bug,
    which becomes a message with ``name``, and status 71.
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
