"""The main job on Linux: a tunnel between two network namespaces, with traffic of both IP stacks.

Two ends are started as a user starts them, each in a network namespace of its own, joined by two
pipes. One process moves from the first new namespace to the second, and has sockets of both, as a
socket stays in the namespace in which it was made. Nothing outlives the test: the namespaces have
no names, the ends are stopped in any case, and all waits together have one time limit.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import statistics
import struct
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NamedTuple

from ..errors import SystemFailureError, os_errors_as
from ..ether.checksum import checksum
from ..system.descriptors import open_pipe
from ..system.namespace import enter_new_network
from ..system.netlink import Netlink
from .deadline import Deadline
from .endpoint import End
from .report import Report

_BUDGET_SECONDS = 8.0
_RETRY_SECONDS = 0.02

_PINGS = 20
_TRANSFER = 12 << 20
# In bytes: no payload, the smallest ones, those around an MTU of 1500, and one in fragments.
_DATAGRAM_SIZES = (0, 1, 18, 512, 1452, 1472, 1473, 9000)

_ICMP_PROTOCOLS = {socket.AF_INET: socket.IPPROTO_ICMP, socket.AF_INET6: socket.IPPROTO_ICMPV6}
_ECHO_TYPES = {socket.AF_INET: (8, 0), socket.AF_INET6: (128, 129)}  # RFC 792, RFC 4443
_ICMP = struct.Struct("!BBHHH")  # type, code, checksum, identifier, sequence

_IPV6_SWITCH = Path("/proc/sys/net/ipv6/conf/default/disable_ipv6")


def demonstrate(report: Report, *, as_user: bool) -> None:
    """Show that the main job works. Raises SystemFailureError at the first thing that fails."""
    families = _families(report)
    deadline = Deadline(_BUDGET_SECONDS)
    with ExitStack() as ends:
        with ExitStack() as pipes:
            far_input, near_output = open_pipe(pipes)
            near_input, far_output = open_pipe(pipes)
            enter_new_network()
            far = _Place(ends, _FAR, families, report, stdin=far_input, stdout=far_output)
            enter_new_network()
            near = _Place(ends, _NEAR, families, report, stdin=near_input, stdout=near_output)
        report.say(f"two network namespaces, made as {'an ordinary user' if as_user else 'root'}")
        for place in (near, far):
            place.end.wait_ready(deadline)
        for family in families:
            _try_traffic(report, near.hosts[family], far.hosts[family], deadline)
        _try_ending(near.end, far.end, deadline)


class _Side(NamedTuple):
    """One end of the tunnel. The addresses are reserved for documentation."""

    name: str
    mac: str
    ipv4: str
    ipv6: str


_FAR = _Side("far end", "02:00:5e:00:53:02", "192.0.2.2", "2001:db8::2")
_NEAR = _Side("near end", "02:00:5e:00:53:01", "192.0.2.1", "2001:db8::1")


def _families(report: Report) -> list[socket.AddressFamily]:
    """Return the address families that this kernel has."""
    try:
        if _IPV6_SWITCH.read_text().strip() == "0":
            return [socket.AF_INET, socket.AF_INET6]
    except FileNotFoundError:
        pass
    report.say("IPv6 is switched off on this machine, and was not tested")
    return [socket.AF_INET]


class _Host:
    """An address, and a socket for each protocol, in the namespace in which they were made."""

    def __init__(self, owner: ExitStack, family: socket.AddressFamily, address: str) -> None:
        self.family = family
        self.address = address

        def make(kind: socket.SocketKind, protocol: int = 0) -> socket.socket:
            return owner.enter_context(socket.socket(family, kind, protocol))

        self.icmp = make(socket.SOCK_RAW, _ICMP_PROTOCOLS[family])
        self.udp = make(socket.SOCK_DGRAM)
        self.tcp = make(socket.SOCK_STREAM)

    def bind(self, deadline: Deadline) -> None:
        """Bind to the address, after the kernel has checked that it is unique (RFC 4862)."""
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


class _Place:
    """A network namespace, with a fethpipe and sockets in it."""

    def __init__(
        self,
        owner: ExitStack,
        side: _Side,
        families: Sequence[socket.AddressFamily],
        report: Report,
        *,
        stdin: int,
        stdout: int,
    ) -> None:
        addresses = {socket.AF_INET: (side.ipv4, 24), socket.AF_INET6: (side.ipv6, 64)}
        self._netlink = owner.enter_context(Netlink())
        self.hosts = {family: _Host(owner, family, addresses[family][0]) for family in families}
        given = [addresses[family] for family in families]
        options = [f"--mac={side.mac}", *(f"--address={ip}/{prefix}" for ip, prefix in given)]
        end = End(side.name, options, report, stdin=stdin, stdout=stdout, exists=self._exists)
        self.end = owner.enter_context(closing(end))

    def _exists(self, interface: str) -> bool:
        try:
            self._netlink.link(interface)
        except OSError as error:
            if error.errno == errno.ENODEV:
                return False
            raise
        return True


def _try_traffic(report: Report, near: _Host, far: _Host, deadline: Deadline) -> None:
    version = "IPv4" if near.family == socket.AF_INET else "IPv6"
    with os_errors_as(f"cannot bind to an {version} address"):
        for host in (near, far):
            host.bind(deadline)
    with os_errors_as(f"{version} ping"):
        times = [_ping(near, far, number, deadline) for number in range(_PINGS)]
    report.say(f"{version} ping: {_PINGS} answers, median {statistics.median(times) * 1000:.2f} ms")
    with os_errors_as(f"{version} UDP"):
        for size in _DATAGRAM_SIZES:
            _send_datagram(near, far, size, deadline)
            _send_datagram(far, near, size, deadline)
    count, largest = 2 * len(_DATAGRAM_SIZES), max(_DATAGRAM_SIZES)
    report.say(
        f"{version} UDP: {count} datagrams of 0 to {largest} bytes arrived unchanged, both ways"
    )
    with os_errors_as(f"{version} TCP"):
        seconds = _transfer(near, far, deadline)
    report.say(
        f"{version} TCP: {_TRANSFER >> 20} MiB each way arrived unchanged, "
        f"at {2 * 8 * _TRANSFER / seconds / 1e6:.0f} Mbit/s"
    )


def _ping(near: _Host, far: _Host, number: int, deadline: Deadline) -> float:
    """Ping the far kernel, and return the seconds until its answer."""
    request, reply = _ECHO_TYPES[near.family]
    payload = os.urandom(56)
    started = time.perf_counter()
    near.icmp.sendto(_echo(near.family, request, number, payload), (far.address, 0))
    wanted = _echo(near.family, reply, number, payload)
    while True:
        near.icmp.settimeout(deadline.left())
        # IPv4 comes with its header. The checksum of IPv6 was made by the kernel.
        packet = near.icmp.recv(2048)[-len(wanted) :]
        if packet[:2] + packet[4:] == wanted[:2] + wanted[4:]:
            return time.perf_counter() - started


def _echo(family: socket.AddressFamily, kind: int, number: int, payload: bytes) -> bytes:
    """Return an ICMP echo message; the kernel fills in the checksum of IPv6."""
    message = _ICMP.pack(kind, 0, 0, 0, number) + payload
    if family == socket.AF_INET6:
        return message
    return _ICMP.pack(kind, 0, checksum(message), 0, number) + payload


def _send_datagram(source: _Host, destination: _Host, size: int, deadline: Deadline) -> None:
    payload = os.urandom(size)
    source.udp.sendto(payload, destination.udp.getsockname())
    destination.udp.settimeout(deadline.left())
    received, sender = destination.udp.recvfrom(1 << 16)
    if (received, sender) != (payload, source.udp.getsockname()):
        raise SystemFailureError(f"a datagram of {size} bytes arrived changed")


def _transfer(near: _Host, far: _Host, deadline: Deadline) -> float:
    """Send bytes in both directions over one connection, and return the seconds that it took."""
    far.tcp.listen()
    far.tcp.settimeout(deadline.left())
    near.tcp.settimeout(deadline.left())
    near.tcp.connect(far.tcp.getsockname())
    accepted, _ = far.tcp.accept()
    with accepted:
        return _stream(near.tcp, accepted, deadline) + _stream(accepted, near.tcp, deadline)


def _stream(source: socket.socket, destination: socket.socket, deadline: Deadline) -> float:
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
        raise SystemFailureError(f"{_TRANSFER} bytes of TCP arrived changed")
    return seconds


def _try_ending(near: End, far: End, deadline: Deadline) -> None:
    """Stop one end. The other one must end by itself."""
    near.stop()
    for end in (near, far):
        end.wait_ended(deadline)
