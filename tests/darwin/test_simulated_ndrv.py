"""The simulated AF_NDRV sockets: naming them, their send buffer, and every way to break them."""

from __future__ import annotations

import errno
import socket
import struct

import pytest

from tests.darwin.client import Program
from tests.darwin.layouts import AF_NDRV, frame
from tests.darwin.rig import (
    IO,
    PRIMARY,
    fails_with,
    make_pair,
    open_ndrv,
)
from tests.darwin.simulation import SimulatedDarwin

pytestmark = pytest.mark.live


def new_socket(program: Program) -> int:
    return int(program.make_socket(AF_NDRV, socket.SOCK_RAW))


def test_only_root_gets_a_socket(program: Program, nobody: int) -> None:
    program.become(nobody)
    with fails_with(errno.EPERM):
        new_socket(program)


def test_python_finds_the_family_of_a_bound_socket(program: Program) -> None:
    make_pair(program)
    assert program.family(open_ndrv(program, IO)) == AF_NDRV


@pytest.mark.parametrize(
    "address",
    [
        struct.pack("=BB16s", 16, AF_NDRV, IO.encode()),
        struct.pack("=BB16s", 18, 2, IO.encode()),
        struct.pack("=H16s", AF_NDRV, IO.encode()),
    ],
    ids=["another length", "another family", "the layout of Linux"],
)
def test_an_address_that_is_not_darwins_is_reported(
    program: Program, darwin: SimulatedDarwin, address: bytes
) -> None:
    make_pair(program)
    program.bind(new_socket(program), address)
    (violation,) = darwin.violations(forget=True)
    assert violation.startswith("not a sockaddr_ndrv")


def test_a_socket_is_writable_and_never_readable(program: Program) -> None:
    make_pair(program)
    writer = open_ndrv(program, IO)
    program.write(open_ndrv(program, PRIMARY), frame())
    assert not program.select(writer, 0)
