"""``--selftest``: show on this machine that frames go from one end to the other and back.

On Linux, two ends are started just as anybody would start them, each in a network namespace of
its own, joined by two pipes; the kernels' own stacks then talk through them. One process moves
from the first new namespace to the second, and holds sockets of both: a socket stays in the
namespace in which it was made. Nothing outlives the test: the namespaces are anonymous, the ends
are stopped whatever happens, and every wait draws on one budget of time.
"""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import socket
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NamedTuple, NoReturn

from .device.tap import TUN_PATH
from .errors import FethpipeError, NotAllowedError, SystemFailureError, UsageError, reason
from .namespace import end_with_parent, enter_new_network
from .netlink import Netlink

_BUDGET_SECONDS = 8.0
_GRACE_SECONDS = 1.0
_RETRY_SECONDS = 0.02

_PINGS = 20
_TRANSFER = 12 << 20
# Nothing but the header, the smallest, about the MTU of 1500, and one in several fragments.
_DATAGRAM_SIZES = (0, 1, 18, 512, 1452, 1472, 1473, 9000)

_ICMP_PROTOCOLS = {socket.AF_INET: socket.IPPROTO_ICMP, socket.AF_INET6: socket.IPPROTO_ICMPV6}
_ECHO_TYPES = {socket.AF_INET: (8, 0), socket.AF_INET6: (128, 129)}  # RFC 792, RFC 4443
_ICMP = struct.Struct("!BBHHH")  # type, code, checksum, identifier, sequence

_IPV6_SWITCH = Path("/proc/sys/net/ipv6/conf/default/disable_ipv6")


def selftest() -> int:
    """Show that the main job works here, in words on stdout, and return 0 if it does.

    This forks, and it is in the child that the test runs and its errors (FethpipeError) come out:
    the child changes its network, and must be able to clean up when somebody kills us.
    """
    system = os.uname().sysname
    if system != "Linux":
        raise UsageError(f"the self-test needs Linux, this is {system}")
    child = os.fork()
    if child == 0:
        _test_between_namespaces()
        return 0
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the child, and we wait for it
    _, status = os.waitpid(child, 0)
    ended = os.waitstatus_to_exitcode(status)
    return ended if ended >= 0 else FethpipeError.status


class _Side(NamedTuple):
    """One end of the cable. The addresses are those kept for documentation."""

    name: str
    mac: str
    ipv4: str
    ipv6: str


_FAR = _Side("far end", "02:00:5e:00:53:02", "192.0.2.2", "2001:db8::2")
_NEAR = _Side("near end", "02:00:5e:00:53:01", "192.0.2.1", "2001:db8::1")


def _test_between_namespaces() -> None:
    _exit_on_signals()
    _require_tun()
    as_user = enter_new_network()
    end_with_parent(signal.SIGTERM)
    families = _families()
    deadline = _Deadline(_BUDGET_SECONDS)
    with ExitStack() as ends:
        with ExitStack() as pipes:
            far_input, near_output = _pipe(pipes)
            near_input, far_output = _pipe(pipes)
            far = ends.enter_context(closing(_End(_FAR, families, far_input, far_output)))
            enter_new_network()
            near = ends.enter_context(closing(_End(_NEAR, families, near_input, near_output)))
        _say(f"two network namespaces, made as {'an ordinary user' if as_user else 'root'}")
        for end in (near, far):
            end.wait_ready(deadline)
        for family in families:
            _test_traffic(near.hosts[family], far.hosts[family], deadline)
        _test_ending(near, far, deadline)
    _say("it works")


def _exit_on_signals() -> None:
    """Let a signal unwind the stack once, so that everything is cleaned up."""
    candidates = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    stopping = [each for each in candidates if signal.getsignal(each) != signal.SIG_IGN]

    def leave(number: int, _frame: FrameType | None) -> NoReturn:
        for each in stopping:
            signal.signal(each, signal.SIG_IGN)
        sys.exit(128 + number)

    for each in stopping:
        signal.signal(each, leave)


def _require_tun() -> None:
    try:
        os.close(os.open(TUN_PATH, os.O_RDWR))
    except OSError as error:
        denied = isinstance(error, PermissionError)
        raise NotAllowedError(
            f"cannot open {TUN_PATH}: {reason(error)}",
            hint="run as root" if denied else "have an administrator load it: modprobe tun",
        ) from error


def _families() -> list[socket.AddressFamily]:
    """Return the protocols that this kernel speaks."""
    try:
        if _IPV6_SWITCH.read_text().strip() == "0":
            return [socket.AF_INET, socket.AF_INET6]
    except FileNotFoundError:
        pass
    _say("IPv6 is off on this machine, and not tested")
    return [socket.AF_INET]


def _pipe(owner: ExitStack) -> tuple[int, int]:
    read, write = os.pipe()
    owner.callback(os.close, read)
    owner.callback(os.close, write)
    return read, write


class _Deadline:
    """The time that is left for everything."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds that are left. Raises TimeoutError when there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("no answer in time")
        return left


class _Host:
    """An address, and a socket of each protocol, in the namespace in which it was made."""

    def __init__(self, owner: ExitStack, family: socket.AddressFamily, address: str) -> None:
        self.family = family
        self.address = address

        def make(kind: socket.SocketKind, protocol: int = 0) -> socket.socket:
            return owner.enter_context(socket.socket(family, kind, protocol))

        self.icmp = make(socket.SOCK_RAW, _ICMP_PROTOCOLS[family])
        self.udp = make(socket.SOCK_DGRAM)
        self.tcp = make(socket.SOCK_STREAM)

    def bind(self, deadline: _Deadline) -> None:
        """Take the address, once the kernel has made sure that nobody else has it (RFC 4862)."""
        for made in (self.icmp, self.udp, self.tcp):
            while True:
                try:
                    made.bind((self.address, 0))
                    break
                except OSError as error:
                    if error.errno != errno.EADDRNOTAVAIL:
                        raise
                deadline.left()
                time.sleep(_RETRY_SECONDS)


class _End:
    """A fethpipe, and sockets, in the network namespace in which this is made."""

    def __init__(
        self, side: _Side, families: list[socket.AddressFamily], stdin: int, stdout: int
    ) -> None:
        addresses = {socket.AF_INET: (side.ipv4, 24), socket.AF_INET6: (side.ipv6, 64)}
        self._name = side.name
        self._interface = ""
        self._owned = ExitStack()
        self._netlink = self._owned.enter_context(Netlink())
        self.hosts = {
            family: _Host(self._owned, family, addresses[family][0]) for family in families
        }
        self._ready, ready = os.pipe()
        self._owned.callback(os.close, self._ready)
        options = [f"--ready-fd={ready}", f"--mac={side.mac}"]
        for family in families:
            address, prefix = addresses[family]
            options.append(f"--address={address}/{prefix}")
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __package__, *options],
                stdin=stdin,
                stdout=stdout,
                stderr=subprocess.PIPE,
                pass_fds=[ready],
                env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)},
                cwd="/",
            )
        finally:
            os.close(ready)

    def wait_ready(self, deadline: _Deadline) -> None:
        """Wait until the device is up."""
        with _step(f"the {self._name} did not get ready"):
            select.select([self._ready], [], [], deadline.left())
            deadline.left()
            line = os.read(self._ready, 4096)
        if not line:
            raise SystemFailureError(f"the {self._name} ended before it was ready")
        facts = json.loads(line)
        self._interface = facts["interface"]
        _say(f"{self._name}: {self._interface} is up, {', '.join(facts['addresses'])}")

    def stop(self) -> None:
        """Ask for the end."""
        self._process.terminate()

    def wait_ended(self, deadline: _Deadline) -> None:
        """Wait for a clean end, and see that the device has gone."""
        with _step(f"the {self._name} did not end"):
            self._finish(deadline.left())
        if self._process.returncode != 0:
            raise SystemFailureError(
                f"the {self._name} ended with exit status {self._process.returncode}"
            )
        with _step(f"{self._interface} of the {self._name} did not go"):
            while self._exists():
                deadline.left()
                time.sleep(_RETRY_SECONDS)
        _say(f"{self._name}: {self._interface} has gone")

    def close(self) -> None:
        """Stop the program, however it is, and tell what it said; safe to call twice."""
        for stop in (self._process.terminate, self._process.kill):
            if self._process.returncode is None:
                stop()
                with suppress(TimeoutError):
                    self._finish(_GRACE_SECONDS)
        self._owned.close()

    def _finish(self, seconds: float) -> None:
        try:
            _, said = self._process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise TimeoutError("it still runs") from None
        lines = said.decode("utf-8", "replace").splitlines()
        for line in lines[1:] if self._interface else lines:  # the first one says "ready"
            _say(f"{self._name}: {line.partition(': ')[2]}")

    def _exists(self) -> bool:
        try:
            self._netlink.link(self._interface)
        except OSError as error:
            if error.errno == errno.ENODEV:
                return False
            raise
        return True


def _test_traffic(near: _Host, far: _Host, deadline: _Deadline) -> None:
    version = "IPv4" if near.family == socket.AF_INET else "IPv6"
    with _step(f"no {version} address to use"):
        for host in (near, far):
            host.bind(deadline)
    with _step(f"{version} ping"):
        times = [_ping(near, far, number, deadline) for number in range(_PINGS)]
    _say(f"{version} ping: {_PINGS} answered, median {statistics.median(times) * 1000:.2f} ms")
    with _step(f"{version} UDP"):
        for size in _DATAGRAM_SIZES:
            _send_datagram(near, far, size, deadline)
            _send_datagram(far, near, size, deadline)
    count, largest = 2 * len(_DATAGRAM_SIZES), max(_DATAGRAM_SIZES)
    _say(f"{version} UDP: {count} datagrams of 0 to {largest} bytes, both ways, came unchanged")
    with _step(f"{version} TCP"):
        seconds = _transfer(near, far, deadline)
    _say(
        f"{version} TCP: {_TRANSFER >> 20} MiB each way came unchanged, "
        f"at {2 * 8 * _TRANSFER / seconds / 1e6:.0f} Mbit/s"
    )


def _ping(near: _Host, far: _Host, number: int, deadline: _Deadline) -> float:
    """Have the far kernel answer, and return the seconds that it took."""
    request, reply = _ECHO_TYPES[near.family]
    payload = os.urandom(56)
    started = time.perf_counter()
    near.icmp.sendto(_echo(near.family, request, number, payload), (far.address, 0))
    wanted = _echo(near.family, reply, number, payload)
    while True:
        near.icmp.settimeout(deadline.left())
        # IPv4 has its header in front. Who sends IPv6 has the checksum made by the kernel.
        packet = near.icmp.recv(2048)[-len(wanted) :]
        if packet[:2] + packet[4:] == wanted[:2] + wanted[4:]:
            return time.perf_counter() - started


def _echo(family: socket.AddressFamily, kind: int, number: int, payload: bytes) -> bytes:
    """Return an ICMP echo message; the kernel fills in the checksum of IPv6."""
    message = _ICMP.pack(kind, 0, 0, 0, number) + payload
    if family == socket.AF_INET6:
        return message
    return _ICMP.pack(kind, 0, _internet_checksum(message), 0, number) + payload


def _internet_checksum(data: bytes) -> int:
    """Return the checksum of RFC 1071 over an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    # The sum of 16-bit words, carries added back, is the remainder by 0xffff.
    return 0xFFFF - total % 0xFFFF


def _send_datagram(source: _Host, destination: _Host, size: int, deadline: _Deadline) -> None:
    payload = os.urandom(size)
    source.udp.sendto(payload, destination.udp.getsockname())
    destination.udp.settimeout(deadline.left())
    received, sender = destination.udp.recvfrom(1 << 16)
    if (received, sender) != (payload, source.udp.getsockname()):
        raise SystemFailureError(f"a datagram of {size} bytes came changed")


def _transfer(near: _Host, far: _Host, deadline: _Deadline) -> float:
    """Send bytes there and back over one connection, and return the seconds that it took."""
    far.tcp.listen()
    far.tcp.settimeout(deadline.left())
    near.tcp.settimeout(deadline.left())
    near.tcp.connect(far.tcp.getsockname())
    accepted, _ = far.tcp.accept()
    with accepted:
        return _stream(near.tcp, accepted, deadline) + _stream(accepted, near.tcp, deadline)


def _stream(source: socket.socket, destination: socket.socket, deadline: _Deadline) -> float:
    source.setblocking(False)
    destination.setblocking(False)
    noise = os.urandom(_TRANSFER)
    to_send = memoryview(noise)
    received = bytearray()
    started = time.perf_counter()
    while len(received) < len(noise):
        senders = [source] if to_send else []
        readable, writable, _ = select.select([destination], senders, [], deadline.left())
        if writable:
            to_send = to_send[source.send(to_send) :]
        if readable:
            data = destination.recv(1 << 20)
            if not data:
                raise SystemFailureError(f"the connection ended after {len(received)} bytes")
            received += data
    seconds = time.perf_counter() - started
    if received != noise:
        raise SystemFailureError(f"{_TRANSFER} bytes of TCP came changed")
    return seconds


def _test_ending(near: _End, far: _End, deadline: _Deadline) -> None:
    """Stop one end; the other has to follow by itself."""
    near.stop()
    for end in (near, far):
        end.wait_ended(deadline)


@contextmanager
def _step(what: str) -> Iterator[None]:
    """Say in which step the operating system let us down, or time ran out."""
    try:
        yield
    except OSError as error:
        raise SystemFailureError(f"{what}: {reason(error)}") from error


def _say(line: str) -> None:
    print(line, flush=True)
