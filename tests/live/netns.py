"""Anonymous network namespaces, and what runs in them.

Nothing here sleeps. Interfaces and addresses are waited for with rtnetlink notifications, and
each wait has a deadline and says what it waited for.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Callable

import pytest

from tests.closing import Closing
from tests.live.network import Network
from tests.patience import PATIENCE

_CHANGES = 0x1 | 0x100  # <linux/rtnetlink.h>: RTMGRP_LINK, RTMGRP_IPV6_IFADDR
_IFA_F_TENTATIVE = 0x40  # <linux/if_addr.h>


def require_kernel() -> None:
    """Skip the test where no namespace and no TAP can be made."""
    if os.uname().sysname != "Linux":
        pytest.skip("needs Linux")
    if os.geteuid() != 0:
        pytest.skip("needs root, to make network namespaces and TAPs")
    if not Path("/dev/net/tun").exists():
        pytest.skip("needs /dev/net/tun")
    require_tools("ip", "ping")


def require_tools(*tools: str) -> None:
    """Skip the test if one of these programs is not installed."""
    for tool in tools:
        if shutil.which(tool) is None:
            pytest.skip(f"needs the program {tool}")


def readable(descriptor: int | socket.socket, seconds: float) -> bool:
    """Return whether a descriptor becomes readable in time."""
    return bool(select.select([descriptor], [], [], max(0.0, seconds))[0])


class Child(subprocess.Popen[bytes]):
    """A process whose end is noticed at once: Popen looks for it up to 50 ms later."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end, and return the status."""
        if timeout is not None and self.returncode is None and hasattr(os, "pidfd_open"):
            descriptor = os.pidfd_open(self.pid)
            try:
                if not readable(descriptor, timeout):
                    raise subprocess.TimeoutExpired(self.args, timeout)
            finally:
                os.close(descriptor)
        return super().wait(timeout)


class Namespace(Network, Closing):
    """A network namespace, loopback up.

    Without ``ipv6`` the kernel sends no frame of its own accord, so that frames can be counted.
    Where none can be made, as on a Mac, the test is skipped.
    """

    def __init__(self, *, ipv6: bool = False) -> None:
        require_kernel()
        super().__init__(ipv6=ipv6)
        self._children: list[Child] = []
        self.run(["ip", "link", "set", "lo", "up"])

    def popen(
        self,
        argv: Sequence[str],
        *,
        stdin: int = subprocess.DEVNULL,
        stdout: int = subprocess.DEVNULL,
        stderr: int | None = None,
        pass_fds: Sequence[int] = (),
        cwd: Path | None = None,
    ) -> Child:
        """Start a program, which ``close`` will kill."""
        with self.entered():
            child = Child(
                argv, stdin=stdin, stdout=stdout, stderr=stderr, pass_fds=pass_fds, cwd=cwd
            )
        self._children.append(child)
        return child

    def run(self, argv: Sequence[str]) -> str:
        """Run a program to its end, which must be a good one, and return what it printed."""
        with self.entered():
            done = subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=6 * PATIENCE,
                check=False,
            )
        said = (done.stdout + done.stderr).decode()
        assert done.returncode == 0, f"{' '.join(argv)} ended with {done.returncode}: {said}"
        return done.stdout.decode()

    def make_tap(
        self, name: str = "fp0", *, user: int = 0, address: str = "", mtu: int = 1500
    ) -> None:
        """Make a TAP that stays, of a user's if not root's, and bring it up."""
        owner = ["user", str(user)] if user else []
        self.run(["ip", "tuntap", "add", "dev", name, "mode", "tap", *owner])
        self.run(["ip", "link", "set", name, "up", "mtu", str(mtu)])
        if address:
            self.run(["ip", "address", "add", f"{address}/24", "dev", name])

    def make_bridge(self, address: str = "") -> None:
        """Make a bridge, ``br0``, which is up."""
        self.run(["ip", "link", "add", "br0", "type", "bridge"])
        if address:
            self.run(["ip", "address", "add", f"{address}/24", "dev", "br0"])
        self.run(["ip", "link", "set", "br0", "up"])

    def lay_cable(self, name: str, other: Namespace, its_name: str) -> None:
        """Join two namespaces by a pair of veth, both of which are up."""
        peer = ["peer", "name", its_name, "netns", other.path]
        self.run(["ip", "link", "add", "dev", name, "type", "veth", *peer])
        for namespace, interface in ((self, name), (other, its_name)):
            namespace.run(["ip", "link", "set", interface, "up"])

    def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """Return a socket of this namespace that gives up after PATIENCE."""
        with self.entered():
            made = socket.socket(family, kind, protocol)
        made.settimeout(PATIENCE)
        return made

    def interfaces(self) -> list[str]:
        """Return the names of all interfaces."""
        with self.entered():
            return [name for _, name in socket.if_nameindex()]

    def wait_gone(self, interface: str, *, seconds: float = PATIENCE) -> None:
        """Wait until the interface does not exist."""
        self.wait_until(
            lambda: interface not in self.interfaces(), f"{interface} did not go", seconds
        )

    def wait_up(self, interface: str) -> None:
        """Wait until an interface takes frames, which is not yet so when it gets its carrier: until
        link watch runs, what is sent there is lost (net/core/link_watch.c).
        """
        self.wait_until(
            lambda: not {"DOWN", "LOWERLAYERDOWN"} & self._words(interface),
            f"{interface} did not come up",
        )

    def _words(self, interface: str) -> set[str]:
        return set(self.run(["ip", "-br", "link", "show", interface]).split())

    def wait_usable(self, address: str, *, seconds: float = PATIENCE) -> None:
        """Wait until duplicate address detection is done with an IPv6 address."""
        self.wait_until(lambda: self._usable(address), f"{address} did not become usable", seconds)

    def _usable(self, address: str) -> bool:
        wanted = socket.inet_pton(socket.AF_INET6, address).hex()
        with self.entered():
            lines = Path("/proc/thread-self/net/if_inet6").read_text().splitlines()
        fields = [line.split() for line in lines]  # address, index, prefix, scope, flags, name
        return any(row[0] == wanted and not int(row[4], 16) & _IFA_F_TENTATIVE for row in fields)

    def wait_until(
        self, done: Callable[[], bool], complaint: str, seconds: float = PATIENCE
    ) -> None:
        """Wait until this is so; it is asked again whenever a link or an IPv6 address changes."""
        deadline = time.monotonic() + seconds
        with self.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as changes:
            changes.bind((0, _CHANGES))
            while not done():
                assert readable(changes, deadline - time.monotonic()), complaint
                changes.recv(1 << 16)

    def close(self) -> None:
        """Kill what runs in the namespace and let go of it; safe to call twice."""
        for child in self._children:
            with child:
                child.kill()
        self._children.clear()
        if self._descriptor >= 0:
            self._kill_orphans()
        super().close()

    def _kill_orphans(self) -> None:
        """Kill the children of our children, which lost their parent just now."""
        here = os.fstat(self._descriptor)
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            # It has ended meanwhile, or another container's process is not ours to look at.
            with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
                namespace = (entry / "ns/net").stat()
                if (namespace.st_dev, namespace.st_ino) == (here.st_dev, here.st_ino):
                    os.kill(int(entry.name), signal.SIGKILL)
