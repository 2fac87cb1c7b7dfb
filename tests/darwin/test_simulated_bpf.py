"""The simulated BPF devices: opening, the order of requests, reading batches, writing frames."""

from __future__ import annotations

import errno
import struct

import pytest

from tests.darwin.client import Program
from tests.darwin.layouts import (
    REQUEST,
    frame,
    from_u32,
    u32,
)
from tests.darwin.rig import (
    IO,
    PRIMARY,
    READ_ONLY,
    WRITE_ONLY,
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

TAGGED = frame(60)[:12] + bytes.fromhex("8100a123") + frame(60)[12:]


def ask(program: Program, fd: int, request: str, argument: bytes = b"") -> bytes:
    return bytes(program.ioctl(fd, REQUEST[request], argument))


# ---- opening ----


def test_four_devices_exist_at_boot(program: Program) -> None:
    for unit in (0, 1, 2):
        program.open(f"/dev/bpf{unit}")
    with fails_with(errno.ENOENT):
        program.open("/dev/bpf4")


def test_opening_the_last_device_makes_the_next(program: Program) -> None:
    for unit in range(3, 8):
        program.open(f"/dev/bpf{unit}")
    with fails_with(errno.ENOENT):
        program.open("/dev/bpf9")


def test_opening_the_last_device_makes_the_next_even_when_it_is_busy(
    darwin: SimulatedDarwin, program: Program
) -> None:
    program.open("/dev/bpf3")  # makes bpf4
    with Program(darwin, str(darwin.namespace)) as other:
        other.open("/dev/bpf4")  # makes bpf5
        other.open("/dev/bpf5")  # makes bpf6
        with fails_with(errno.ENOENT):
            program.open("/dev/bpf7")
        with fails_with(errno.EBUSY):
            program.open("/dev/bpf5")
        program.open("/dev/bpf6")
        with fails_with(errno.EBUSY):
            other.open("/dev/bpf6")
        program.open("/dev/bpf7")


def test_there_are_at_most_256_devices(darwin: SimulatedDarwin, program: Program) -> None:
    darwin.occupy(*range(255))
    program.open("/dev/bpf255")
    with fails_with(errno.ENOENT):
        program.open("/dev/bpf256")


def test_a_device_is_busy_until_its_last_descriptor_is_closed(program: Program) -> None:
    fd = program.open("/dev/bpf1")
    copy = program.dup(fd)
    program.close(fd)
    with fails_with(errno.EBUSY):
        program.open("/dev/bpf1")
    program.close(copy)
    program.open("/dev/bpf1")


def test_a_device_is_free_again_when_its_process_is_killed(
    darwin: SimulatedDarwin, program: Program
) -> None:
    with Program(darwin, str(darwin.namespace)) as other:
        other.open("/dev/bpf1")
        with fails_with(errno.EBUSY):
            program.open("/dev/bpf1")
        other.kill()
    fd = program.open("/dev/bpf1")
    assert from_u32(ask(program, fd, "BIOCGBLEN", u32(0))) == 4096


def test_devices_are_for_root_only(program: Program, nobody: int) -> None:
    program.become(nobody)
    with fails_with(errno.EACCES):
        program.open("/dev/bpf1")
    with fails_with(errno.ENOENT):
        program.open("/dev/bpf4")


def test_a_descriptor_works_in_its_own_direction_only(program: Program) -> None:
    make_pair(program)
    reader = program.open("/dev/bpf1", READ_ONLY)
    writer = program.open("/dev/bpf2", WRITE_ONLY)
    with fails_with(errno.EBADF):
        program.write(reader, frame())
    with fails_with(errno.EBADF):
        program.read(writer, 4096)


# ---- requests and their order ----


def test_an_unknown_request_is_einval_and_reported(
    darwin: SimulatedDarwin, program: Program
) -> None:
    fd = program.open("/dev/bpf1")
    for request in (0x40044299, REQUEST["SIOCGIFMTU"]):
        with fails_with(errno.EINVAL):
            program.ioctl(fd, request, bytes(32))
    assert len(darwin.violations(forget=True)) == 2


# ---- reading ----


def test_a_batch_ends_where_the_next_record_would_not_fit(program: Program) -> None:
    make_pair(program)
    bpf = open_bpf(program, IO, length=4096)
    program.write_each(open_ndrv(program, PRIMARY), [frame(1000, mark=n) for n in range(5)])
    first, second = (program.read(bpf.fd, bpf.length) for _ in range(2))
    assert len(first) == 3 * 1020 + 1018  # each record takes 18 + 1000 and two bytes of padding
    assert len(second) == 1018


def test_a_frame_larger_than_the_buffer_is_cut_and_says_so(program: Program) -> None:
    make_pair(program)
    bpf = open_bpf(program, IO, length=100)
    program.write(open_ndrv(program, PRIMARY), frame(300))
    (record,) = program.read_frames(bpf.fd, bpf.length, 1)
    assert (record.captured, record.length) == (82, 300)
    assert record.frame == frame(300)[:82]


@pytest.mark.parametrize("size", [14, 15, 59, 60, 1514, 4096, 8191, 16383, 16384])
def test_frames_of_every_size_arrive_unchanged(
    darwin: SimulatedDarwin, program: Program, size: int
) -> None:
    darwin.max_mtu = 16370
    make_pair(program, mtu=16370)
    bpf = open_bpf(program, IO)
    program.write(open_ndrv(program, PRIMARY, send_buffer=1 << 16), frame(size))
    assert frames(program, bpf, 1) == [frame(size)]


def test_10000_frames_arrive_in_order(program: Program, darwin: SimulatedDarwin) -> None:
    make_pair(program)
    bpf = open_bpf(program, IO)
    sent = [frame(60 + number % 1400, mark=number) for number in range(10_000)]
    arrived = program.burst(open_ndrv(program, PRIMARY), sent, bpf.fd, bpf.length)
    assert arrived == sent
    assert ask(program, bpf.fd, "BIOCGSTATS", bytes(8)) == struct.pack("=II", 10_000, 0)
    counters = darwin.counters()
    assert counters["ndrv_writes"] == counters["bpf_frames_read"] == 10_000


def test_what_two_buffers_cannot_hold_is_dropped_and_counted(program: Program) -> None:
    make_pair(program)
    bpf = open_bpf(program, IO, length=4096)
    sent = [frame(60, mark=number) for number in range(1000)]
    program.write_each(open_ndrv(program, PRIMARY), sent)
    received, dropped = struct.unpack("=II", ask(program, bpf.fd, "BIOCGSTATS", bytes(8)))
    kept = program.read_frames(bpf.fd, bpf.length, received - dropped)
    assert received == 1000
    assert 2 * 4096 // 80 <= 1000 - dropped < 1000
    assert [record.frame for record in kept] == sent[: 1000 - dropped]
    assert is_silent(program, bpf)


def test_reading_without_immediate_mode_is_reported(
    program: Program, darwin: SimulatedDarwin
) -> None:
    make_pair(program)
    bpf = open_bpf(program, IO)
    ask(program, bpf.fd, "BIOCIMMEDIATE", u32(0))
    program.write(open_ndrv(program, PRIMARY), frame())
    assert frames(program, bpf, 1) == [frame()]
    (violation,) = darwin.violations(forget=True)
    assert "BIOCIMMEDIATE" in violation


def test_readv_and_writev_take_a_frame_in_parts(program: Program) -> None:
    make_pair(program)
    bpf = open_bpf(program, IO)
    writer = open_bpf(program, PRIMARY, unit=2)
    assert program.writev(writer.fd, frame()[:14], frame()[14:]) == 64
    assert program.readv(bpf.fd, 18, bpf.length - 18)[18:] == frame()


# ---- writing ----


@pytest.fixture
def batch_writer(program: Program) -> int:
    make_pair(program)
    bpf = open_bpf(program, IO, unit=2)
    ask(program, bpf.fd, "BIOCSBATCHWRITE", u32(1))
    return bpf.fd


def test_a_frame_shorter_than_a_header_is_reported(
    program: Program, darwin: SimulatedDarwin
) -> None:
    make_pair(program)
    bpf = open_bpf(program, IO)
    with fails_with(errno.EINVAL):
        program.write(bpf.fd, frame(13))
    (violation,) = darwin.violations(forget=True)
    assert "13 bytes" in violation


def test_a_device_is_no_socket(program: Program, darwin: SimulatedDarwin) -> None:
    fd = program.open("/dev/bpf1")
    with fails_with(errno.ENOTSOCK):
        program.bind(fd, bytes(18))
    assert len(darwin.violations(forget=True)) == 1


def test_requests_need_no_socket_of_their_own_family(program: Program) -> None:
    """An interface's own requests are not for a device."""
    make_pair(program)
    assert Requests(program).mtu(IO) == 1500
