"""What the processes have in common that start programs of the user: COMMAND, --up and --down."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Collection, Iterable
from typing import NamedTuple

from ..system.confinement import drop_capabilities
from ..system.descriptors import close_all_but
from ..system.namespace import end_with_parent
from ..system.privileges import Person, drop_privileges, environment_of

_STDERR = 2
FACTS = ("INTERFACE", "IO_INTERFACE", "MAC", "MTU", "ADDRESSES", "REASON")
"""The variables of --up and --down, with ``FETHPIPE_`` in front; besides
FETHPIPE_PEER."""


class Starter(NamedTuple):
    """As whom such a process starts programs: a person, None for our own user.

    ``leaves_terminal`` says that the terminal belongs to somebody else.
    """

    person: Person | None = None
    leaves_terminal: bool = False

    def environment(self) -> dict[str, str]:
        return environment_of(self.person, os.environ) if self.person else dict(os.environ)

    def become(self, *, kept: Collection[int], handled: Iterable[signal.Signals]) -> None:
        """Become the process, after a fork.

        It keeps stderr and the descriptors ``kept``; not the stream, which has to end when the pump
        is killed. It does nothing about the signals ``handled``, which its programs get as their
        defaults. Raises FethpipeError if it cannot become the person.
        """
        signal.set_wakeup_fd(-1)
        for number in handled:
            signal.signal(number, _ignore)
        close_all_but({_STDERR, *kept})
        if self.leaves_terminal:
            os.setsid()
        if self.person is not None:
            drop_privileges(self.person)
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
