"""What the tests of the simulation begin with: a pair, a reader, a writer, an expected errno."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest

from tests.darwin.client import Program
from tests.darwin.layouts import (
    AF_NDRV,
    IFF_UP,
    REQUEST,
    flags,
    from_u32,
    if_fake_request,
    ifdrv,
    ifreq,
    ifreq_flags,
    ifreq_number,
    number,
    sockaddr_ndrv,
    u32,
)

PRIMARY, IO = "feth10000", "feth20000"
BUFFER = 1 << 19


@contextmanager
def fails_with(expected: int) -> Iterator[None]:
    with pytest.raises(OSError) as raised:  # noqa: PT011 - the errno is what counts
        yield
    assert raised.value.errno == expected, (
        f"{errno.errorcode.get(raised.value.errno or 0)} instead of {errno.errorcode[expected]}"
    )


class Requests:
    """Interface requests on one socket."""

    def __init__(self, program: Program, family: int = socket.AF_INET) -> None:
        self._program = program
        self.fd: int = program.make_socket(family)

    def __call__(self, request: str, argument: bytes) -> bytes:
        return bytes(self._program.ioctl(self.fd, REQUEST[request], argument))

    def create(self, name: str) -> str:
        return self("SIOCIFCREATE2", ifreq(name))[:16].rstrip(b"\0").decode()

    def destroy(self, name: str) -> None:
        self("SIOCIFDESTROY", ifreq(name))

    def set_peer(self, name: str, peer: str, *, length: int = 160, reserved: int = 0) -> None:
        self._program.ioctl_pointer(
            self.fd,
            REQUEST["SIOCSDRVSPEC"],
            ifdrv(name, 1, length),
            if_fake_request(peer, reserved),
        )

    def peer(self, name: str, *, length: int = 160) -> str:
        answer: bytes = self._program.ioctl_pointer(
            self.fd, REQUEST["SIOCGDRVSPEC"], ifdrv(name, 1, length), bytes(length)
        )
        return answer[32:48].rstrip(b"\0").decode()

    def flags(self, name: str) -> int:
        return flags(self("SIOCGIFFLAGS", ifreq(name)))

    def set_flags(self, name: str, value: int) -> None:
        self("SIOCSIFFLAGS", ifreq_flags(name, value))

    def up(self, name: str) -> None:
        self.set_flags(name, self.flags(name) | IFF_UP)

    def down(self, name: str) -> None:
        self.set_flags(name, self.flags(name) & ~IFF_UP)

    def mtu(self, name: str) -> int:
        return number(self("SIOCGIFMTU", ifreq(name)))

    def set_mtu(self, name: str, value: int) -> None:
        self("SIOCSIFMTU", ifreq_number(name, value))


def make_pair(program: Program, *, mtu: int = 1500, up: bool = True) -> Requests:
    """PRIMARY and IO, peered.  The sysctl must allow the MTU."""
    requests = Requests(program)
    for name in (PRIMARY, IO):
        requests.create(name)
        requests.set_mtu(name, mtu)
    requests.set_peer(PRIMARY, IO)
    if up:
        requests.up(PRIMARY)
        requests.up(IO)
    return requests


class Bpf(NamedTuple):
    """An open device and the length that its reads must have."""

    fd: int
    length: int


def open_bpf(
    program: Program, interface: str, *, length: int = BUFFER, unit: int = 1, see_sent: bool = False
) -> Bpf:
    """In the order that works on every release."""
    fd: int = program.open(f"/dev/bpf{unit}")
    length = from_u32(program.ioctl(fd, REQUEST["BIOCSBLEN"], u32(length)))
    program.ioctl(fd, REQUEST["BIOCIMMEDIATE"], u32(1))
    program.ioctl(fd, REQUEST["BIOCSSEESENT"], u32(see_sent))
    program.ioctl(fd, REQUEST["BIOCSETIF"], ifreq(interface))
    program.ioctl(fd, REQUEST["BIOCSHDRCMPLT"], u32(1))
    program.ioctl(fd, REQUEST["BIOCPROMISC"])
    return Bpf(fd, length)


def open_ndrv(program: Program, interface: str, *, send_buffer: int | None = None) -> int:
    fd: int = program.make_socket(AF_NDRV, socket.SOCK_RAW)
    if send_buffer is not None:
        program.set_send_buffer(fd, send_buffer)
    program.bind(fd, sockaddr_ndrv(interface))
    program.connect(fd, sockaddr_ndrv(interface))
    return fd


def frames(program: Program, bpf: Bpf, count: int) -> list[bytes]:
    return [each.frame for each in program.read_frames(bpf.fd, bpf.length, count)]


def is_silent(program: Program, bpf: Bpf) -> bool:
    """Nothing has come.  No waiting is needed: a written frame arrives before the write returns."""
    try:
        program.read(bpf.fd, bpf.length)
    except BlockingIOError:
        return True
    return False


def is_readable(program: Program, fd: int) -> bool:
    return bool(program.select(fd, 0))


READ_ONLY, WRITE_ONLY = os.O_RDONLY | os.O_NONBLOCK, os.O_WRONLY | os.O_NONBLOCK
