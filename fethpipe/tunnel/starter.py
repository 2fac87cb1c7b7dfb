"""What the processes have in common that start programs of the user: COMMAND, --up and --down."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Collection, Iterable

from ..system.confinement import drop_capabilities
from ..system.descriptors import close_all_but
from ..system.namespace import end_with_parent
from ..system.privileges import Person, drop_privileges


def become_starter(
    person: Person | None,
    *,
    kept: Collection[int],
    handled: Iterable[signal.Signals],
    leave_session: bool,
) -> None:
    """Become a child that starts programs as ``person``, None to stay the same user.

    It keeps stdin, stdout, stderr and the descriptors ``kept``. It does nothing about the signals
    ``handled``, which its programs get as their defaults. ``leave_session`` leaves a terminal that
    belongs to another user. Raises FethpipeError if it cannot become the person.
    """
    signal.set_wakeup_fd(-1)
    for number in handled:
        signal.signal(number, _ignore)
    close_all_but({0, 1, 2, *kept})
    if leave_session:
        os.setsid()
    if person is not None:
        drop_privileges(person)
    if os.geteuid() != 0:
        drop_capabilities()  # which a service may have passed on to us


def end_with_starter() -> None:
    """Let the kernel kill this program if what started it is killed (Linux), as others may not be
    allowed to. To be called between fork and exec.
    """
    if sys.platform == "linux":
        end_with_parent(signal.SIGKILL)


def _ignore(number: int, frame: object) -> None:
    """Do nothing. Unlike SIG_IGN, which execve(2) keeps, a handler is reset to the default for a
    program.
    """
