"""What the tests of the simulation begin with: a pair, a reader, a writer, an expected errno."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.darwin.client import Program
from tests.darwin.layouts import (
    AF_NDRV,
    IFF_UP,
    REQUEST,
    flags,
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

    def set_peer(self, name: str, peer: str) -> None:
        self._program.ioctl_pointer(
            self.fd, REQUEST["SIOCSDRVSPEC"], ifdrv(name, 1, 160), if_fake_request(peer)
        )

    def peer(self, name: str) -> str:
        answer: bytes = self._program.ioctl_pointer(
            self.fd, REQUEST["SIOCGDRVSPEC"], ifdrv(name, 1, 160), bytes(160)
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


def make_pair(program: Program) -> Requests:
    """PRIMARY and IO, peered and up."""
    requests = Requests(program)
    for name in (PRIMARY, IO):
        requests.create(name)
        requests.up(name)
    requests.set_peer(PRIMARY, IO)
    return requests


def open_bpf(program: Program, interface: str) -> int:
    """In the order that works on every release."""
    fd: int = program.open("/dev/bpf1")
    program.ioctl(fd, REQUEST["BIOCSBLEN"], u32(BUFFER))
    program.ioctl(fd, REQUEST["BIOCIMMEDIATE"], u32(1))
    program.ioctl(fd, REQUEST["BIOCSSEESENT"], u32(0))
    program.ioctl(fd, REQUEST["BIOCSETIF"], ifreq(interface))
    program.ioctl(fd, REQUEST["BIOCSHDRCMPLT"], u32(1))
    program.ioctl(fd, REQUEST["BIOCPROMISC"])
    return fd


def open_ndrv(program: Program, interface: str) -> int:
    fd: int = program.make_socket(AF_NDRV, socket.SOCK_RAW)
    program.bind(fd, sockaddr_ndrv(interface))
    program.connect(fd, sockaddr_ndrv(interface))
    return fd
