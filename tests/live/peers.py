"""Other people's programs at the other end of a stream, and what must pass through all of them."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path

from tests.closing import Closing
from tests.live.netns import Namespace, require_tools
from tests.live.private import pids_in
from tests.live.programs import LEFT, RIGHT, listen
from tests.live.traffic import transfer
from tests.patience import PATIENCE

_HEADERS = 28
"""Bytes of an IPv4 header and of an ICMP header."""


def wait_reachable(namespace: Namespace, address: str) -> None:
    """Wait until an address answers to one ping."""
    namespace.run(["ping", "-q", "-c", "1", "-i", "0.05", "-w", str(int(PATIENCE)), address])


def ping_at_once(namespace: Namespace, address: str, count: int, *options: str) -> str:
    """Send so many pings at once, wait 5 s for the last answer, and return what ping said."""
    # By default its socket has room for one, and a ping that waits for ARP counts as well.
    at_once = ["-c", str(count), "-l", str(count), "-i", "5", "-S", "200000"]
    return namespace.run(["ping", *at_once, *options, address])


def ping_in_turn(namespace: Namespace, address: str, count: int) -> None:
    """Ping so many times, each when the one before is answered."""
    for _ in range(count):
        namespace.run(["ping", "-q", "-c", "1", "-W", "5", address])


def check_pings(namespace: Namespace, address: str, *, mtu: int = 1500) -> None:
    """Ping with every size that is special, up to what fills the MTU; none may be lost."""
    for size in (0, 1, 17, 18, 19, 56, 255, 256, 1000, mtu - _HEADERS - 1, mtu - _HEADERS):
        # One at a time: of several, ping waits for the last answer only as long as the others took.
        namespace.run(["ping", "-q", "-M", "do", "-c", "1", "-W", "5", "-s", str(size), address])


def check_traffic(
    left: Namespace, right: Namespace, *, mtu: int = 1500, size: int = 10_000_000
) -> None:
    """Ping both ways, and send over TCP both ways."""
    wait_reachable(left, RIGHT)
    check_pings(left, RIGHT, mtu=mtu)
    check_pings(right, LEFT, mtu=mtu)
    transfer(left, right, RIGHT, size)
    transfer(right, left, LEFT, size)


def kill_program(namespace: Namespace, name: str) -> None:
    """Kill the one program in a namespace whose name starts like this."""
    (pid,) = [
        pid for pid in pids_in(namespace) if Path(f"/proc/{pid}/comm").read_text().startswith(name)
    ]
    os.kill(pid, signal.SIGKILL)


class _Console(Closing):
    """A program of others with a console that says when it can be reached."""

    def __init__(
        self, namespace: Namespace, argv: Sequence[str], ready: str, *, asked: bytes = b""
    ) -> None:
        require_tools(argv[0])
        self._stdin, self._keep = os.pipe()
        self._process, self._console = listen(namespace, argv, on="stdout", stdin=self._stdin)
        os.write(self._keep, asked)
        assert self._console.next(containing=ready), f"{argv[0]} did not start"

    def kill(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.wait(PATIENCE)

    def close(self) -> None:
        """Let go of its console; the process is the namespace's to kill."""
        os.close(self._stdin)
        os.close(self._keep)
        self._console.close()


class Switch(_Console):
    """A vde_switch; any namespace can reach it, because its sockets are files."""

    def __init__(self, namespace: Namespace, folder: Path) -> None:
        require_tools("vde_plug")
        self.url = f"vde://{folder}/switch"
        argv = ["vde_switch", "--sock", f"{folder}/switch"]
        super().__init__(namespace, argv, "Success", asked=b"showinfo\n")


class Qemu(_Console):
    """A QEMU without a guest: its netdevs are joined by a hub."""

    def __init__(self, namespace: Namespace, *netdevs: str) -> None:
        argv = ["qemu-system-x86_64", "-machine", "none", "-nodefaults", "-display", "none"]
        for number, netdev in enumerate(netdevs):
            kind, _, rest = netdev.partition(",")
            argv += ["-netdev", f"{kind},id=n{number},{rest}"]
            argv += ["-netdev", f"hubport,id=h{number},hubid=0,netdev=n{number}"]
        super().__init__(namespace, [*argv, "-qmp", "stdio"], "QMP")


def unix_socket(namespace: Namespace, path: Path) -> socket.socket:
    """Return a connection to a Unix socket that exists."""
    made = namespace.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.connect(str(path))
    return made
