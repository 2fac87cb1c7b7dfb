"""Run the self-test of this system in a process of its own.

The child enters new network namespaces (Linux) or makes interfaces (macOS), and cleans up also when
a signal ends it. Exit status 0 means that the main job works: frames pass between the IP stack and
a stream, through the same code as in a tunnel. A fact that differs is printed, but is not a failure
by itself.
"""

from __future__ import annotations

import os
import platform
import signal
import sys
from importlib import import_module
from types import FrameType
from typing import NoReturn

from .._version import __version__
from ..errors import FethpipeError, UsageError
from ..system.confinement import confine
from ..system.libc_darwin import sysctl_text
from ..system.privileges import user_name
from ..system.signals import STOPPING
from .report import Report


def selftest(*, as_json: bool = False) -> int:
    """Show on stdout that the main job works here. Return the exit status, 0 if it works.

    The test runs in the child of a fork, and this raises FethpipeError in that child.
    """
    system = os.uname().sysname
    if system not in ("Darwin", "Linux"):
        raise UsageError(f"the self-test needs macOS or Linux, but this is {system}")
    child = os.fork()
    if child == 0:
        _run(system, Report(as_json=as_json))
        return 0
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the child, and we wait for it
    _, status = os.waitpid(child, 0)
    ended = os.waitstatus_to_exitcode(status)
    return ended if ended >= 0 else FethpipeError.status


def _run(system: str, report: Report) -> None:
    _exit_on_signals()
    try:
        _tell_machine(system, report)
        # Each system loads its own.
        import_module(f".{system.lower()}", __package__).try_system(report)
    except FethpipeError as error:
        report.finish(error)
        raise
    report.finish()


def _tell_machine(system: str, report: Report) -> None:
    report.machine("fethpipe", __version__)
    name = os.uname()
    release = name.release
    product = _product(system)
    if product:
        release += f" (macOS {product})"
    report.machine("system", f"{system} {release} {name.machine}")
    report.machine("Python", f"{platform.python_version()} {sys.executable}")
    report.machine("confinement", _confinement())
    report.machine("user", f"{user_name()}{' through sudo' if 'SUDO_UID' in os.environ else ''}")


def _product(system: str) -> str:
    """Return the version of macOS, "" elsewhere. platform.mac_ver tells some Pythons 10.16."""
    if system != "Darwin":
        return ""
    try:
        return sysctl_text("kern.osproductversion")
    except OSError:  # before macOS 10.13.4
        return platform.mac_ver()[0]


def _confinement() -> str:
    """Return in words what holds of what a pump gives up, as tried by a process of its own."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            holds, lacks = confine()
            words = [*holds, *(f"no {lack}" for lack in lacks)]
            os.write(writing, ", ".join(words).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as answer:
        said = answer.read().decode()
    os.waitpid(child, 0)
    return said or "it cannot be tried"


def _exit_on_signals() -> None:
    """Make the first signal raise SystemExit, so that everything is cleaned up."""
    stopping = [each for each in STOPPING if signal.getsignal(each) != signal.SIG_IGN]

    def leave(number: int, _frame: FrameType | None) -> NoReturn:
        for each in stopping:
            signal.signal(each, signal.SIG_IGN)
        sys.exit(128 + number)

    for each in stopping:
        signal.signal(each, leave)
