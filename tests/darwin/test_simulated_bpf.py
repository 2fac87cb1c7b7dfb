"""The simulated BPF devices: opening, the order of requests, reading batches, writing frames."""

from __future__ import annotations

import errno
import os
import struct

import pytest

from tests.darwin.client import Program
from tests.darwin.layouts import (
    CONSTANT,
    IFF_PROMISC,
    REQUEST,
    bpf_record,
    frame,
    from_u32,
    ifreq,
    ifreq_flags,
    u32,
)
from tests.darwin.rig import (
    BUFFER,
    IO,
    PRIMARY,
    READ_ONLY,
    WRITE_ONLY,
    Requests,
    fails_with,
    frames,
    is_readable,
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


def test_a_new_device_has_darwins_defaults(program: Program) -> None:
    fd = program.open("/dev/bpf1")
    assert from_u32(ask(program, fd, "BIOCGBLEN", u32(0))) == 4096
    assert from_u32(ask(program, fd, "BIOCGSEESENT", u32(0))) == 1
    assert from_u32(ask(program, fd, "BIOCGHDRCMPLT", u32(1))) == 0
    assert from_u32(ask(program, fd, "BIOCGBATCHWRITE", u32(1))) == 0
    assert ask(program, fd, "BIOCGSTATS", bytes(8)) == bytes(8)
    assert struct.unpack("=HH", ask(program, fd, "BIOCVERSION", bytes(4))) == (1, 1)


@pytest.mark.parametrize(
    ("release", "wanted", "got"),
    [
        ("23.4.0", 0, 32),
        ("23.4.0", 31, 32),
        ("23.4.0", 4096, 4096),
        ("23.4.0", 100001, 100001),
        ("22.6.0", 1 << 24, 1 << 24),
        ("22.6.0", 0xFFFFFFFF, 32 << 20),
        ("21.6.0", 1 << 24, 512 << 10),
        ("17.7.0", 512 << 10, 512 << 10),
    ],
)
def test_the_buffer_length_is_clamped_and_written_back(
    program: Program, wanted: int, got: int
) -> None:
    fd = program.open("/dev/bpf1")
    assert from_u32(ask(program, fd, "BIOCSBLEN", u32(wanted))) == got
    assert from_u32(ask(program, fd, "BIOCGBLEN", u32(0))) == got


def test_the_buffer_length_is_fixed_once_there_is_an_interface(program: Program) -> None:
    make_pair(program)
    bpf = open_bpf(program, IO)
    with fails_with(errno.EINVAL):
        ask(program, bpf.fd, "BIOCSBLEN", u32(8192))
    assert from_u32(ask(program, bpf.fd, "BIOCGBLEN", u32(0))) == bpf.length


def test_an_absent_interface_is_enxio(program: Program) -> None:
    fd = program.open("/dev/bpf1")
    with fails_with(errno.ENXIO):
        ask(program, fd, "BIOCSETIF", ifreq("feth5"))


@pytest.mark.parametrize(
    ("request_name", "argument"),
    [
        ("BIOCPROMISC", b""),
        ("BIOCGDLT", u32(0)),
        ("BIOCSDLT", u32(1)),
        ("BIOCGETIF", ifreq("")),
    ],
)
def test_what_concerns_the_interface_is_einval_before_there_is_one(
    program: Program, request_name: str, argument: bytes
) -> None:
    make_pair(program)
    fd = program.open("/dev/bpf1")
    with fails_with(errno.EINVAL):
        ask(program, fd, request_name, argument)
    ask(program, fd, "BIOCSETIF", ifreq(IO))
    ask(program, fd, request_name, argument)


def test_the_interface_and_its_link_type_are_told(program: Program) -> None:
    make_pair(program)
    bpf = open_bpf(program, IO)
    assert ask(program, bpf.fd, "BIOCGETIF", ifreq(""))[:16].rstrip(b"\0") == IO.encode()
    assert from_u32(ask(program, bpf.fd, "BIOCGDLT", u32(0))) == CONSTANT["DLT_EN10MB"]
    with fails_with(errno.EINVAL):
        ask(program, bpf.fd, "BIOCSDLT", u32(12))


def test_promiscuous_mode_shows_in_the_flags_while_the_device_is_open(program: Program) -> None:
    requests = make_pair(program)
    assert requests.flags(IO) & IFF_PROMISC == 0
    bpf = open_bpf(program, IO)
    assert requests.flags(IO) & IFF_PROMISC != 0
    assert requests.flags(PRIMARY) & IFF_PROMISC == 0
    program.close(bpf.fd)
    assert requests.flags(IO) & IFF_PROMISC == 0


def test_an_unknown_request_is_einval_and_reported(
    darwin: SimulatedDarwin, program: Program
) -> None:
    fd = program.open("/dev/bpf1")
    for request in (0x40044299, REQUEST["SIOCGIFMTU"]):
        with fails_with(errno.EINVAL):
            program.ioctl(fd, request, bytes(32))
    assert len(darwin.violations(forget=True)) == 2


@pytest.mark.parametrize("release", ["22.6.0", "23.3.0"])
def test_batch_writing_is_unknown_to_older_kernels(program: Program) -> None:
    make_pair(program)
    bpf = open_bpf(program, IO)
    for request in ("BIOCSBATCHWRITE", "BIOCGBATCHWRITE", "BIOCSWRITEMAX", "BIOCGWRITEMAX"):
        with fails_with(errno.EINVAL):
            ask(program, bpf.fd, request, u32(1))


def test_batch_writing_needs_complete_headers_as_long_as_it_is_on(program: Program) -> None:
    make_pair(program)
    bpf = open_bpf(program, IO)
    ask(program, bpf.fd, "BIOCSHDRCMPLT", u32(0))
    with fails_with(errno.EINVAL):
        ask(program, bpf.fd, "BIOCSBATCHWRITE", u32(1))
    ask(program, bpf.fd, "BIOCSHDRCMPLT", u32(1))
    ask(program, bpf.fd, "BIOCSBATCHWRITE", u32(1))
    assert from_u32(ask(program, bpf.fd, "BIOCGBATCHWRITE", u32(0))) == 1
    with fails_with(errno.EINVAL):
        ask(program, bpf.fd, "BIOCSHDRCMPLT", u32(0))
    ask(program, bpf.fd, "BIOCSBATCHWRITE", u32(0))
    ask(program, bpf.fd, "BIOCSHDRCMPLT", u32(0))


# ---- reading ----


def test_a_read_of_another_length_than_the_buffers_is_einval_before_anything_else(
    program: Program,
) -> None:
    make_pair(program)
    fd = program.open("/dev/bpf1")
    with fails_with(errno.EINVAL):
        program.read(fd, 4095)
    with fails_with(errno.ENXIO):  # there is no interface yet
        program.read(fd, 4096)
    ask(program, fd, "BIOCSETIF", ifreq(IO))
    for length in (0, 4095, 4097, 65536):
        with fails_with(errno.EINVAL):
            program.read(fd, length)


def test_a_device_without_frames_is_eagain_and_not_readable(program: Program) -> None:
    make_pair(program)
    bpf = open_bpf(program, IO)
    assert not is_readable(program, bpf.fd)
    with fails_with(errno.EAGAIN):
        program.read(bpf.fd, bpf.length)


def test_the_first_frame_wakes_select(program: Program, darwin: SimulatedDarwin) -> None:
    make_pair(program)
    bpf = open_bpf(program, IO)
    with Program(darwin, str(darwin.namespace)) as other:
        program.start("select", bpf.fd, 10)
        other.write(open_ndrv(other, PRIMARY), frame())
        assert program.finish() is True


def test_a_read_is_a_batch_of_records_aligned_to_four_and_the_last_is_not_padded(
    program: Program,
) -> None:
    make_pair(program)
    bpf = open_bpf(program, IO)
    sizes = [60, 61, 62, 63, 14, 1514, 15]
    program.write_each(open_ndrv(program, PRIMARY), [frame(size) for size in sizes])
    records = program.read_frames(bpf.fd, bpf.length, len(sizes))
    assert [record.captured for record in records] == sizes
    assert [record.length for record in records] == sizes
    assert {record.header_length for record in records} == {18}
    assert all(record.start % 4 == 0 for record in records)
    assert [record.frame for record in records] == [frame(size) for size in sizes]
    program.write(open_ndrv(program, PRIMARY), frame(61))
    assert len(program.read(bpf.fd, bpf.length)) == 18 + 61


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


@pytest.mark.parametrize(
    "tag", ["8100a123", "81000000", "88a80005", "8100000581000006"], ids=lambda tag: f"tag {tag}"
)
@pytest.mark.parametrize("size", [18, 60, 1514])
def test_a_vlan_tag_arrives_where_it_was(program: Program, tag: str, size: int) -> None:
    make_pair(program)
    bpf = open_bpf(program, IO)
    tagged = frame(size)[:12] + bytes.fromhex(tag) + frame(size)[12:]
    program.write(open_ndrv(program, PRIMARY), tagged)
    (record,) = program.read_frames(bpf.fd, bpf.length, 1)
    assert record.frame == tagged
    assert record.length == len(tagged)


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


@pytest.mark.parametrize("see_sent", [False, True])
def test_injected_frames_count_as_sent(program: Program, see_sent: bool) -> None:
    make_pair(program)
    bpf = open_bpf(program, IO, see_sent=see_sent)
    writer = open_ndrv(program, IO)
    program.write(writer, frame(60, mark=1))
    program.write(bpf.fd, frame(60, mark=2))
    if see_sent:
        assert frames(program, bpf, 2) == [frame(60, mark=1), frame(60, mark=2)]
    else:
        assert is_silent(program, bpf)


def test_injected_frames_go_in_at_the_peer(program: Program) -> None:
    make_pair(program)
    peer = open_bpf(program, PRIMARY, unit=1)
    writer = open_bpf(program, IO, unit=2)
    program.write(writer.fd, frame(60, mark=2))
    program.write(open_ndrv(program, IO), TAGGED)
    assert frames(program, peer, 2) == [frame(60, mark=2), TAGGED]


def test_an_interface_that_goes_away_is_readable_and_then_enxio(
    program: Program, darwin: SimulatedDarwin
) -> None:
    make_pair(program)
    bpf = open_bpf(program, IO)
    program.start("select", bpf.fd, 10)
    darwin.destroy(IO)
    assert program.finish() is True
    for _ in range(3):
        assert is_readable(program, bpf.fd)
        with fails_with(errno.ENXIO):
            program.read(bpf.fd, bpf.length)
    with fails_with(errno.ENXIO):
        program.write(bpf.fd, frame())
    with fails_with(errno.EINVAL):
        program.read(bpf.fd, bpf.length - 1)


def test_a_namesake_does_not_revive_a_device(program: Program, darwin: SimulatedDarwin) -> None:
    requests = make_pair(program)
    bpf = open_bpf(program, IO)
    darwin.destroy(IO)
    requests.create(IO)
    with fails_with(errno.ENXIO):
        program.read(bpf.fd, bpf.length)
    ask(program, bpf.fd, "BIOCSETIF", ifreq(IO))
    requests.set_peer(PRIMARY, IO)
    requests.up(IO)
    assert not is_readable(program, bpf.fd)
    program.write(open_ndrv(program, PRIMARY), frame())
    assert frames(program, bpf, 1) == [frame()]


def test_a_blocking_read_waits_for_the_timeout_and_returns_nothing(program: Program) -> None:
    make_pair(program)
    fd = program.open("/dev/bpf1", os.O_RDWR)
    ask(program, fd, "BIOCIMMEDIATE", u32(1))
    ask(program, fd, "BIOCSRTIMEOUT", struct.pack("=qq", 0, 50_000))
    ask(program, fd, "BIOCSETIF", ifreq(IO))
    assert struct.unpack("=qq", ask(program, fd, "BIOCGRTIMEOUT", bytes(16))) == (0, 50_000)
    assert program.read(fd, 4096) == b""


def test_a_blocking_read_waits_for_a_frame(program: Program, darwin: SimulatedDarwin) -> None:
    make_pair(program)
    fd = program.open("/dev/bpf1", os.O_RDWR)
    ask(program, fd, "BIOCIMMEDIATE", u32(1))
    ask(program, fd, "BIOCSSEESENT", u32(0))
    ask(program, fd, "BIOCSETIF", ifreq(IO))
    with Program(darwin, str(darwin.namespace)) as other:
        program.start("read", fd, 4096)
        other.write(open_ndrv(other, PRIMARY), frame())
        assert program.finish()[18:] == frame()


def test_flushing_empties_the_buffers_and_the_counts(program: Program) -> None:
    make_pair(program)
    bpf = open_bpf(program, IO)
    program.write(open_ndrv(program, PRIMARY), frame())
    assert is_readable(program, bpf.fd)
    ask(program, bpf.fd, "BIOCFLUSH")
    assert is_silent(program, bpf)
    assert ask(program, bpf.fd, "BIOCGSTATS", bytes(8)) == bytes(8)


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


def test_a_filter_passes_what_it_returns(program: Program) -> None:
    """ldh [12]; jeq #0x88b5, pass 40 bytes, else nothing."""
    make_pair(program)
    bpf = open_bpf(program, IO)
    code = b"".join(
        struct.pack("=HBBI", *instruction)
        for instruction in [(0x28, 0, 0, 12), (0x15, 0, 1, 0x88B5), (6, 0, 0, 40), (6, 0, 0, 0)]
    )
    program.ioctl_pointer(bpf.fd, REQUEST["BIOCSETF"], struct.pack("=I4x", 4), code)
    writer = open_ndrv(program, PRIMARY)
    program.write(writer, frame(60)[:12] + b"\x08\x00" + bytes(46))
    program.write(writer, frame(60))
    (record,) = program.read_frames(bpf.fd, bpf.length, 1)
    assert (record.captured, record.length, record.frame) == (40, 60, frame(60)[:40])
    with fails_with(errno.EINVAL):
        program.ioctl_pointer(bpf.fd, REQUEST["BIOCSETF"], struct.pack("=I4x", 1), b"\xff" * 8)


def test_readv_and_writev_take_a_frame_in_parts(program: Program) -> None:
    make_pair(program)
    bpf = open_bpf(program, IO)
    writer = open_bpf(program, PRIMARY, unit=2)
    assert program.writev(writer.fd, frame()[:14], frame()[14:]) == 64
    assert program.readv(bpf.fd, 18, bpf.length - 18)[18:] == frame()


# ---- writing ----


def test_writing_needs_an_interface_that_is_up_and_complete_headers(program: Program) -> None:
    requests = make_pair(program)
    fd = program.open("/dev/bpf1")
    with fails_with(errno.ENXIO):
        program.write(fd, frame())
    ask(program, fd, "BIOCSETIF", ifreq(IO))
    with fails_with(errno.ENXIO):
        program.write(fd, frame())
    ask(program, fd, "BIOCSHDRCMPLT", u32(1))
    assert program.write(fd, frame()) == 64
    requests("SIOCSIFFLAGS", ifreq_flags(IO, 0))
    with fails_with(errno.ENETDOWN):
        program.write(fd, frame())


@pytest.mark.parametrize(
    ("release", "mtu", "size", "expected"),
    [
        ("22.6.0", 1500, 1514, 0),
        ("22.6.0", 1500, 1515, errno.EMSGSIZE),
        ("22.6.0", 2048, 2048, 0),
        ("22.6.0", 2048, 2049, errno.EIO),
        ("22.6.0", 9000, 9000, errno.EIO),
        ("23.0.0", 1500, 1518, 0),
        ("23.0.0", 1500, 1519, errno.EMSGSIZE),
        ("24.0.0", 9000, 9018, 0),
        ("24.0.0", 9000, 9019, errno.EMSGSIZE),
    ],
)
def test_how_large_a_written_frame_may_be(
    darwin: SimulatedDarwin, program: Program, mtu: int, size: int, expected: int
) -> None:
    darwin.max_mtu = 16370
    make_pair(program, mtu=mtu)
    reader = open_bpf(program, PRIMARY)
    writer = open_bpf(program, IO, unit=2)
    whole = frame(size)[:12] + b"\x81\x00\x00\x07" + frame(size)[16:]
    if expected:
        with fails_with(expected):
            program.write(writer.fd, whole)
        assert is_silent(program, reader)
    else:
        assert program.write(writer.fd, whole) == size
        assert frames(program, reader, 1) == [whole]


@pytest.fixture
def batch_writer(program: Program) -> int:
    make_pair(program)
    bpf = open_bpf(program, IO, unit=2)
    ask(program, bpf.fd, "BIOCSBATCHWRITE", u32(1))
    return bpf.fd


def test_a_batch_write_carries_many_records(
    program: Program, batch_writer: int, darwin: SimulatedDarwin
) -> None:
    reader = open_bpf(program, PRIMARY)
    sent = [frame(60 + number, mark=number) for number in range(200)]
    batch = b"".join(bpf_record(each) for each in sent)
    assert program.write(batch_writer, batch) == len(batch)
    assert frames(program, reader, 200) == sent
    counters = darwin.counters()
    assert (counters["bpf_writes"], counters["bpf_frames_written"]) == (1, 200)


def test_records_may_have_longer_headers_and_no_frame_and_the_last_no_padding(
    program: Program, batch_writer: int
) -> None:
    reader = open_bpf(program, PRIMARY)
    last = bpf_record(frame(61))[: 18 + 61]
    batch = bpf_record(frame(60), header=26) + bpf_record(b"", header=20) + last
    assert program.write(batch_writer, batch) == len(batch)
    assert frames(program, reader, 2) == [frame(60), frame(61)]


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        pytest.param(bpf_record(frame(), header=17), errno.EINVAL, id="a short header"),
        pytest.param(bpf_record(frame(), length=65), errno.EINVAL, id="caplen is not datalen"),
        pytest.param(bpf_record(frame(), header=400), errno.EINVAL, id="a header past the end"),
        pytest.param(bpf_record(frame())[:60], errno.EMSGSIZE, id="a frame past the end"),
        pytest.param(bpf_record(frame(1519)), errno.EMSGSIZE, id="a frame too large"),
    ],
)
def test_one_bad_record_rejects_the_whole_batch(
    program: Program, batch_writer: int, bad: bytes, expected: int
) -> None:
    reader = open_bpf(program, PRIMARY)
    if bad.startswith(bpf_record(frame(), header=400)[:18]):
        bad = bad[:300]
    with fails_with(expected):
        program.write(batch_writer, bpf_record(frame()) + bad)
    assert is_silent(program, reader)


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


def test_several_devices_on_one_interface_see_the_same(program: Program) -> None:
    make_pair(program)
    readers = [open_bpf(program, IO, unit=unit, length=BUFFER) for unit in (1, 2, 3)]
    program.write(open_ndrv(program, PRIMARY), TAGGED)
    assert [frames(program, reader, 1) for reader in readers] == [[TAGGED]] * 3


def test_requests_need_no_socket_of_their_own_family(program: Program) -> None:
    """An interface's own requests are not for a device."""
    make_pair(program)
    assert Requests(program).mtu(IO) == 1500
