"""A network namespace as a descriptor, for tests and for the benchmark.

It has no name in /run/netns and no process that keeps it. The kernel removes it, with every
interface inside, when the descriptor and the last process in it are gone. Whatever is made while
the thread has entered it stays in it: sockets, interfaces and processes.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

_CLONE_NEWNET = 0x40000000  # <linux/sched.h>
_IPV6 = Path("/proc/sys/net/ipv6/conf/default")  # of the namespace that looks

_libc = ctypes.CDLL(None, use_errno=True)


def unshare(flags: int) -> None:
    """Leave namespaces for new ones, as unshare(2). Raises OSError."""
    _check(_libc.unshare(flags), "unshare")


class Network:
    """A network namespace. Without ``ipv6`` the kernel sends nothing there of its own accord."""

    def __init__(self, *, ipv6: bool = False) -> None:
        with _coming_back():
            unshare(_CLONE_NEWNET)
            self._descriptor = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            if _IPV6.exists():
                # Nobody else has an address here: duplicate address detection only takes time.
                (_IPV6 / "dad_transmits").write_text("0")
                (_IPV6 / "router_solicitation_delay").write_text("0")
                (_IPV6 / "disable_ipv6").write_text("0" if ipv6 else "1")
        self.path = f"/proc/{os.getpid()}/fd/{self._descriptor}"

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Make what is made in this block in the namespace."""
        with _coming_back():
            _check(_libc.setns(self._descriptor, _CLONE_NEWNET), "setns")
            yield

    def close(self) -> None:
        """Let go of it; safe to call twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


@contextlib.contextmanager
def _coming_back() -> Iterator[None]:
    """Come back to the network namespace that the thread is in now."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield
    finally:
        try:
            _check(_libc.setns(home, _CLONE_NEWNET), "setns")
        finally:
            os.close(home)


def _check(result: int, call: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")
