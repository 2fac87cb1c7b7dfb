"""The simulated AF_NDRV sockets: naming them, their send buffer, and every way to break them."""

from __future__ import annotations

import errno
import signal
import socket
import struct

import pytest

from tests.darwin.client import Program
from tests.darwin.layouts import AF_NDRV, frame, ifreq_flags, sockaddr_ndrv
from tests.darwin.rig import (
    IO,
    PRIMARY,
    Requests,
    fails_with,
    frames,
    is_silent,
    make_pair,
    open_bpf,
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


def test_only_a_raw_socket_exists(program: Program) -> None:
    for kind, protocol in [(socket.SOCK_DGRAM, 0), (socket.SOCK_RAW, 1)]:
        with fails_with(errno.EPROTONOSUPPORT):
            program.make_socket(AF_NDRV, kind, protocol)


def test_a_write_is_one_frame_that_arrives_at_the_peer(
    program: Program, darwin: SimulatedDarwin
) -> None:
    make_pair(program)
    reader = open_bpf(program, PRIMARY)
    writer = open_ndrv(program, IO)
    sent = [frame(size, mark=size) for size in (14, 18, 59, 60, 1514)]
    assert program.write_each(writer, sent) == sum(map(len, sent))
    assert program.send(writer, frame(61)) == 61
    assert frames(program, reader, 6) == [*sent, frame(61)]
    counters = darwin.counters()
    assert counters["ndrv_writes"] == 6
    assert counters["ndrv_bytes_written"] == sum(map(len, sent)) + 61


def test_python_finds_the_family_of_a_bound_socket(program: Program) -> None:
    make_pair(program)
    assert program.family(open_ndrv(program, IO)) == AF_NDRV


def test_binding_to_a_missing_interface_spoils_the_socket(program: Program) -> None:
    make_pair(program)
    fd = new_socket(program)
    with fails_with(errno.EADDRNOTAVAIL):
        program.bind(fd, sockaddr_ndrv("feth5"))
    with fails_with(errno.EINVAL):
        program.bind(fd, sockaddr_ndrv(IO))
    program.bind(new_socket(program), sockaddr_ndrv(IO))


def test_binding_twice_is_einval(program: Program) -> None:
    make_pair(program)
    with fails_with(errno.EINVAL):
        program.bind(open_ndrv(program, IO), sockaddr_ndrv(IO))


def test_bound_but_not_connected_is_edestaddrreq(program: Program) -> None:
    make_pair(program)
    fd = new_socket(program)
    program.bind(fd, sockaddr_ndrv(IO))
    with fails_with(errno.EDESTADDRREQ):
        program.write(fd, frame())


def test_connected_but_not_bound_is_enxio(program: Program) -> None:
    make_pair(program)
    fd = new_socket(program)
    program.connect(fd, sockaddr_ndrv(IO))
    with fails_with(errno.ENXIO):
        program.write(fd, frame())


def test_a_second_connect_seems_to_work_and_then_every_write_is_epipe(program: Program) -> None:
    make_pair(program)
    fd = open_ndrv(program, IO)
    program.connect(fd, sockaddr_ndrv(IO))
    for _ in range(2):
        with fails_with(errno.EPIPE):
            program.write(fd, frame())


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


def test_the_send_buffer_starts_at_8192_and_bounds_a_frame(
    darwin: SimulatedDarwin, program: Program
) -> None:
    darwin.max_mtu = 16370
    make_pair(program, mtu=16370)
    reader = open_bpf(program, PRIMARY)
    writer = open_ndrv(program, IO)
    assert program.send_buffer(writer) == 8192
    program.write(writer, frame(8192))
    with fails_with(errno.EMSGSIZE):
        program.write(writer, frame(8193))
    program.set_send_buffer(writer, 16388)
    program.write(writer, frame(16388)[:12] + b"\x81\x00\x00\x07" + frame(16384)[12:])
    with fails_with(errno.EMSGSIZE):
        program.write(writer, frame(16389))
    assert [len(each) for each in frames(program, reader, 2)] == [8192, 16388]


def test_a_send_buffer_above_8_mib_is_clamped_in_silence(program: Program) -> None:
    fd = new_socket(program)
    program.set_send_buffer(fd, 100 << 20)
    assert program.send_buffer(fd) == 8 << 20
    for bad in (0, -1):
        with fails_with(errno.EINVAL):
            program.set_send_buffer(fd, bad)


def test_the_mtu_is_not_looked_at(program: Program) -> None:
    make_pair(program)
    reader = open_bpf(program, PRIMARY)
    writer = open_ndrv(program, IO)
    assert program.write(writer, frame(4000)) == 4000
    assert frames(program, reader, 1) == [frame(4000)]


def test_an_interface_that_is_down_is_enetdown(program: Program) -> None:
    requests = make_pair(program)
    writer = open_ndrv(program, IO)
    requests("SIOCSIFFLAGS", ifreq_flags(IO, 0))
    with fails_with(errno.ENETDOWN):
        program.write(writer, frame())
    requests.up(IO)
    program.write(writer, frame())


def test_unpeered_frames_are_dropped_in_silence(program: Program) -> None:
    requests = make_pair(program)
    reader = open_bpf(program, PRIMARY)
    writer = open_ndrv(program, IO)
    requests.set_peer(IO, "")
    assert program.write(writer, frame()) == 64
    assert program.write(writer, frame(4000)) == 4000
    assert is_silent(program, reader)


def test_after_its_interface_was_destroyed_a_write_is_epipe(
    program: Program, darwin: SimulatedDarwin
) -> None:
    requests = make_pair(program)
    writer = open_ndrv(program, IO)
    darwin.destroy(IO)
    requests.create(IO)  # a namesake does not help
    with fails_with(errno.EPIPE):
        program.write(writer, frame())
    with fails_with(errno.EPIPE):
        program.send(writer, frame())


@pytest.mark.parametrize("flags", [0, socket.MSG_NOSIGNAL])
def test_and_it_raises_sigpipe_unless_asked_not_to(
    program: Program, darwin: SimulatedDarwin, flags: int
) -> None:
    make_pair(program)
    writer = open_ndrv(program, IO)
    darwin.destroy(IO)
    program.default_sigpipe()
    if flags:
        with fails_with(errno.EPIPE):
            program.send(writer, frame(), flags)
    else:
        program.start("send", writer, frame())
        assert program.wait() == -signal.SIGPIPE


def test_destroying_a_unit_cuts_sockets_on_other_interfaces_of_that_unit(program: Program) -> None:
    requests = Requests(program)
    requests.create("feth0")
    requests.create("feth1")
    ethernet = open_ndrv(program, "en0")
    program.write(ethernet, frame())
    requests.destroy("feth1")
    program.write(ethernet, frame())
    requests.destroy("feth0")
    with fails_with(errno.EPIPE):
        program.write(ethernet, frame())


def test_a_socket_is_writable_and_never_readable(program: Program) -> None:
    make_pair(program)
    writer = open_ndrv(program, IO)
    program.write(open_ndrv(program, PRIMARY), frame())
    assert not program.select(writer, 0)
