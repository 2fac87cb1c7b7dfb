"""Anonymous network namespaces, and the processes that run in them.

Processes start in a namespace while the thread has entered it, without an `nsenter` whose time
would count.

Nothing here sleeps. Processes are waited for with pidfds, lines with select, interfaces with
rtnetlink notifications; each wait has a deadline.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Callable

from tests.live.network import Network, unshare

_CLONE_NEWNS, _CLONE_NEWPID, _CLONE_NEWNET = 0x20000, 0x20000000, 0x40000000  # <linux/sched.h>
_SIOCGIFFLAGS, _SIOCGIFADDR = 0x8913, 0x8915  # <linux/sockios.h>
_IFF_UP, _IFF_RUNNING = 0x1, 0x40  # <linux/if.h>
_RTMGRP_LINK, _RTMGRP_IPV4_IFADDR = 0x1, 0x10  # <linux/rtnetlink.h>


class BenchError(Exception):
    """Something that the benchmark needs did not happen; the text says what."""


def leave_world() -> None:
    """Have a network and mounts of our own; the next child is PID 1 of a new PID namespace."""
    unshare(_CLONE_NEWNET | _CLONE_NEWNS | _CLONE_NEWPID)


class Namespace(Network):
    """One network namespace, `lo` up and IPv6 off, so only the benchmark's packets are in it."""

    def __init__(self) -> None:
        super().__init__()
        with self.entered():
            self._queries = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.configure("link set lo up")

    def close(self) -> None:
        self._queries.close()
        super().close()

    def start(
        self,
        argv: Sequence[str],
        *,
        stdin: int | IO[bytes] | None = subprocess.DEVNULL,
        stdout: int | IO[bytes] | None = subprocess.DEVNULL,
        stderr: int | IO[bytes] | None = subprocess.DEVNULL,
        pass_fds: Sequence[int] = (),
        env: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        with self.entered():
            return subprocess.Popen(
                argv, stdin=stdin, stdout=stdout, stderr=stderr, pass_fds=pass_fds, env=env
            )

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float,
        stdin: bytes = b"",
        good: Sequence[int] = (0,),
    ) -> str:
        """Run to the end; what it printed. Too long a run or a bad exit is a BenchError."""
        process = self.start(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        return finish(process, timeout=timeout, stdin=stdin, good=good)

    def configure(self, *commands: str) -> None:
        """Commands of ip(8), all in one process: starting more would count as start-up time."""
        self.run(["ip", "-batch", "-"], timeout=10, stdin="\n".join(commands).encode() + b"\n")

    def wait_interface(self, name: str, watched: Watched, deadline: float) -> None:
        self._wait(lambda: name in self._names(), f"interface {name}", watched, deadline)

    def wait_address(self, address: str, watched: Watched, deadline: float) -> None:
        """Until some interface that is up and has a carrier holds `address`."""
        self._wait(
            lambda: any(self._holds(name, address) for name in self._names()),
            f"an interface with {address}",
            watched,
            deadline,
        )

    def _wait(self, done: Callable[[], bool], what: str, watched: Watched, deadline: float) -> None:
        with self.entered(), watched.pidfds() as pidfds:
            events = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
            with events:
                events.bind((0, _RTMGRP_LINK | _RTMGRP_IPV4_IFADDR))
                while not done():
                    ready = _readable([events.fileno(), *pidfds], deadline)
                    if not ready:
                        raise BenchError(f"{what} did not appear in time{watched.said()}")
                    if events.fileno() not in ready:
                        raise BenchError(f"a process ended before {what} appeared{watched.said()}")
                    events.recv(65536)

    def _names(self) -> list[str]:
        with self.entered():
            return [name for _, name in socket.if_nameindex()]

    def _holds(self, name: str, address: str) -> bool:
        request = struct.pack("16s24x", name.encode())
        try:
            flags = fcntl.ioctl(self._queries, _SIOCGIFFLAGS, request)
            answer = fcntl.ioctl(self._queries, _SIOCGIFADDR, request)
        except OSError as err:  # gone again, or no address yet
            if err.errno in (errno.ENODEV, errno.EADDRNOTAVAIL):
                return False
            raise
        (bits,) = struct.unpack_from("H", flags, 16)
        running = _IFF_UP | _IFF_RUNNING
        return bits & running == running and answer[20:24] == socket.inet_aton(address)


class Watched:
    """The processes of one tunnel, whose early end makes every wait for it pointless."""

    def __init__(self, log: Path) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []
        self._log = log

    @contextlib.contextmanager
    def pidfds(self) -> Iterator[list[int]]:
        with contextlib.ExitStack() as stack:
            fds = []
            for process in self.processes:
                fds.append(os.pidfd_open(process.pid))
                stack.callback(os.close, fds[-1])
            yield fds

    def said(self) -> str:
        """The last words on the tunnel's stderr, to end a message with."""
        lines = self._log.read_text(errors="replace").split("\n") if self._log.exists() else []
        words = " / ".join(line.strip() for line in lines if line.strip())
        return f": {words[-300:]}" if words else ""


def read_line(
    stream: int | IO[bytes] | None, what: str, deadline: float, *, containing: bytes = b""
) -> bytes:
    """The first line of a pipe that holds `containing`; what came before it is forgotten."""
    if stream is None:
        raise BenchError(f"{what} was started without a pipe")
    fd = stream if isinstance(stream, int) else stream.fileno()
    pending = b""
    while True:
        if not _readable([fd], deadline):
            raise BenchError(f"{what} said nothing in time")
        chunk = os.read(fd, 65536)
        if not chunk:
            raise BenchError(f"{what} ended: {pending.decode(errors='replace').strip()[-300:]}")
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            if containing in line:
                return line


def finish(
    process: subprocess.Popen[bytes],
    *,
    timeout: float,
    stdin: bytes | None = None,
    good: Sequence[int] = (0,),
) -> str:
    """Wait for a process to end by itself; what it printed."""
    program = Path(process.args[0]).name if isinstance(process.args, list) else "it"
    try:
        out, err = process.communicate(stdin, timeout=timeout)
    except subprocess.TimeoutExpired:
        raise BenchError(f"{program} did not end within {timeout:.0f} s") from None
    finally:
        stop([process])
    if process.returncode not in good:
        words = (err or b"").decode(errors="replace").strip() or out.decode(errors="replace")
        raise BenchError(f"{program} failed ({process.returncode}): {words.strip()[-300:]}")
    return out.decode(errors="replace")


def stop(processes: Sequence[subprocess.Popen[bytes]], *, grace: float = 3) -> None:
    """End and reap processes: asked first, killed after `grace` seconds."""
    for process in processes:
        if process.poll() is None:
            process.terminate()
    deadline = time.monotonic() + grace
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def kill_all(pids: set[int]) -> None:
    """Kill what a tunnel left behind; the benchmark is PID 1, so it is also who reaps that."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def living() -> set[int]:
    """Every process of this PID namespace, which is the benchmark's own."""
    return {int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()}


def _readable(fds: Sequence[int], deadline: float) -> list[int]:
    return select.select(fds, [], [], max(0.0, deadline - time.monotonic()))[0]
