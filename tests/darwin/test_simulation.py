"""The simulation as a whole: the seam, the system's answers, and what tests can bend and see."""

from __future__ import annotations

import errno
import os
import re
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest

from tests.darwin.client import Program
from tests.darwin.layouts import (
    ABI,
    AF_NDRV,
    CONSTANT,
    REQUEST,
    frame,
    from_u32,
    ifreq,
    ifreq_mac,
    in6_aliasreq,
    in_aliasreq,
    sockaddr_in,
    sockaddr_ndrv,
    u32,
)
from tests.darwin.rig import (
    BUFFER,
    IO,
    PRIMARY,
    Requests,
    fails_with,
    frames,
    is_readable,
    is_silent,
    make_pair,
    open_bpf,
    open_ndrv,
)
from tests.darwin.simulation import DEVIATIONS, Call, SimulatedDarwin, abi_header
from tests.patience import PATIENCE

live = pytest.mark.live


# ---- the numbers ----


def test_request_numbers_carry_the_sizes_of_their_structures() -> None:
    sizes = {name.split(" ")[0]: each["size"] for name, each in ABI["structs"].items()}
    for struct_name, requests in {
        "ifreq": ["SIOCSIFFLAGS", "SIOCGIFMTU", "SIOCIFCREATE2", "BIOCSETIF", "SIOCGIFDEVMTU"],
        "ifdrv": ["SIOCSDRVSPEC", "SIOCGDRVSPEC"],
        "ifaliasreq": ["SIOCAIFADDR"],
        "in6_aliasreq": ["SIOCAIFADDR_IN6"],
        "in6_ifreq": ["SIOCDIFADDR_IN6"],
        "ifmediareq": ["SIOCGIFMEDIA"],
        "bpf_stat": ["BIOCGSTATS"],
        "bpf_program": ["BIOCSETF", "BIOCSETFNR"],
    }.items():
        for request in requests:
            assert REQUEST[request] >> 16 & 0x1FFF == sizes[struct_name], request


def test_the_c_header_has_every_number_of_the_abi() -> None:
    defined = dict(re.findall(r"^#define DARWIN_(\w+) (?:UINT32_C\()?(\w+)", abi_header(), re.M))
    for name, value in REQUEST.items():
        assert int(defined[name], 16) == value
    for name in ("AF_NDRV", "AF_INET6", "IFF_RUNNING", "IFM_ACTIVE", "BPF_ALIGNMENT"):
        assert int(defined[name]) == CONSTANT[name]
    assert defined["SIZEOF_in6_aliasreq"] == "128"


# ---- the system ----


@live
@pytest.mark.parametrize(
    ("release", "product"),
    [
        ("17.7.0", "10.13"),
        ("19.6.0", "10.15"),
        ("20.6.0", "11.6"),
        ("22.6.0", "13.6"),
        ("23.4.0", "14.4"),
        ("24.0.0", "15.0"),
    ],
)
def test_the_program_sees_darwin(program: Program, release: str, product: str) -> None:
    assert program.uname() == ("Darwin", release, "arm64")
    assert program.sysctl("kern.osproductversion") == product.encode() + b"\0"
    assert program.sysctl("kern.osrelease") == release.encode() + b"\0"


@live
def test_two_macs_have_different_host_uuids(namespace: str) -> None:
    uuids = ["564D2E1C-0000-4000-8000-00000000000A", "564D2E1C-0000-4000-8000-00000000000B"]
    for uuid in uuids:
        with SimulatedDarwin(host_uuid=uuid) as darwin, Program(darwin, namespace) as program:
            assert program.host_uuid() == uuid


@live
def test_the_largest_mtu_is_a_sysctl_from_1500_to_16370_for_root_to_set(
    program: Program, darwin: SimulatedDarwin, nobody: int
) -> None:
    name = "net.link.fake.max_mtu"
    assert from_u32(program.sysctl(name)) == 2048
    for bad in (0, 1499, 16371, 65535):
        with fails_with(errno.EINVAL):
            program.sysctl(name, u32(bad))
    with fails_with(errno.EINVAL):
        program.sysctl(name, struct.pack("=H", 9000))
    program.sysctl(name, u32(9000))
    assert darwin.max_mtu == 9000
    program.become(nobody)
    assert from_u32(program.sysctl(name)) == 9000
    with fails_with(errno.EPERM):
        program.sysctl(name, u32(16370))


@live
def test_lowering_the_global_sysctl_is_reported(program: Program, darwin: SimulatedDarwin) -> None:
    darwin.max_mtu = 9000
    program.sysctl("net.link.fake.max_mtu", u32(4000))
    assert len(darwin.violations(forget=True)) == 1


@live
@pytest.mark.parametrize("release", ["17.7.0", "18.7.0"])
def test_before_darwin_19_there_is_no_such_sysctl(program: Program) -> None:
    with fails_with(errno.ENOENT):
        program.sysctl("net.link.fake.max_mtu")


@live
def test_a_sysctl_says_when_there_is_too_little_room(program: Program) -> None:
    with fails_with(errno.ENOMEM):
        program.sysctl("kern.osrelease", room=3)


@live
def test_interfaces_are_enumerated_in_darwins_layout(program: Program) -> None:
    requests = make_pair(program)
    requests("SIOCSIFLLADDR", ifreq_mac(PRIMARY, "02:00:00:00:00:09"))
    requests("SIOCAIFADDR", in_aliasreq(PRIMARY, "10.0.0.1/24"))
    requests6 = Requests(program, socket.AF_INET6)
    requests6("SIOCAIFADDR_IN6", in6_aliasreq(PRIMARY, "fd00::1/64"))
    entries = program.getifaddrs()
    assert list(dict.fromkeys(entry.name for entry in entries)) == ["lo0", "en0", PRIMARY, IO]
    link, inet, local, inet6 = (entry for entry in entries if entry.name == PRIMARY)
    assert link.flags == requests.flags(PRIMARY)
    family, index, name_length, mac_length = struct.unpack_from("=xBHxBB", link.address)
    assert (family, name_length, mac_length) == (CONSTANT["AF_LINK"], len(PRIMARY), 6)
    assert index == program.interface_index(PRIMARY)
    assert link.address[8 : 8 + len(PRIMARY)] == PRIMARY.encode()
    assert link.address[8 + len(PRIMARY) :][:6] == bytes.fromhex("020000000009")
    assert struct.unpack_from("=I", link.data, 8)[0] == 1500
    assert inet.address == sockaddr_in("10.0.0.1")
    assert inet.netmask == sockaddr_in("255.255.255.0")
    assert inet.broadcast == sockaddr_in("10.0.0.255")
    assert (len(local.address), local.address[8:10]) == (28, b"\xfe\x80")
    assert struct.unpack_from("=I", local.address, 24)[0] == index
    assert inet6.address[:2] == bytes([28, CONSTANT["AF_INET6"]])
    assert inet6.address[8:24] == bytes.fromhex("fd00" + "0" * 27 + "1")
    assert inet6.netmask[8:24] == b"\xff" * 8 + bytes(8)


@live
def test_what_makes_the_simulation_stays_hidden(program: Program) -> None:
    make_pair(program)
    assert program.interface_names() == ["lo0", "en0", PRIMARY, IO]
    with pytest.raises(OSError, match=r"no interface|No such device"):
        program.interface_index("h10000")


# ---- strictness ----


@live
def test_an_unknown_interface_request_is_eopnotsupp_and_reported(
    program: Program, darwin: SimulatedDarwin
) -> None:
    requests = make_pair(program)
    for request in (0xC02069FF, 0x8913, REQUEST["BIOCGBLEN"]):  # the second is Linux's
        if request == REQUEST["BIOCGBLEN"]:
            with fails_with(errno.ENOTTY):  # not for a socket at all: Linux answers
                program.ioctl(requests.fd, request, bytes(32))
        else:
            with fails_with(errno.EOPNOTSUPP):
                program.ioctl(requests.fd, request, ifreq(IO))
    assert len(darwin.violations(forget=True)) == 2


@live
def test_changing_another_kind_of_interface_is_reported(
    program: Program, darwin: SimulatedDarwin
) -> None:
    requests = Requests(program)
    assert requests.mtu("en0") == 1500
    with fails_with(errno.EOPNOTSUPP):
        requests.set_mtu("en0", 1400)
    assert len(darwin.violations(forget=True)) == 1


@live
def test_a_program_without_its_state_does_not_run_as_if_on_linux(darwin: SimulatedDarwin) -> None:
    environment = {**os.environ, **darwin.environment, "DARWIN_STATE": "/nonexistent"}
    ended = subprocess.run(
        [sys.executable, "-c", ""], env=environment, stderr=subprocess.PIPE, check=False
    )
    assert ended.returncode == 127
    assert b"DARWIN_STATE" in ended.stderr


# ---- processes ----


@live
def test_descriptors_work_in_an_unprivileged_process_that_gets_them(
    darwin: SimulatedDarwin, namespace: str, nobody: int
) -> None:
    """The keeper makes all as root and hands over; the pump, who is nobody, moves frames."""
    ours, theirs = socket.socketpair()
    with ExitStack() as stack:
        stack.enter_context(ours)
        stack.enter_context(theirs)
        keeper = stack.enter_context(Program(darwin, namespace, pass_fds=(ours.fileno(),)))
        pump = stack.enter_context(Program(darwin, namespace, pass_fds=(theirs.fileno(),)))
        pump.become(nobody)
        keep_and_pump(darwin, keeper, ours.fileno(), pump, theirs.fileno())


def keep_and_pump(
    darwin: SimulatedDarwin, keeper: Program, ours: int, pump: Program, theirs: int
) -> None:
    requests = make_pair(keeper)
    requests("SIOCAIFADDR", in_aliasreq(PRIMARY, "10.0.0.1/24"))
    bpf = open_bpf(keeper, IO)
    ndrv = open_ndrv(keeper, IO)
    keeper.send_descriptors(ours, [bpf.fd, ndrv])
    keeper.close(bpf.fd)
    keeper.close(ndrv)
    reader, writer = pump.receive_descriptors(theirs, 2)

    keeper.udp_send("10.0.0.1", "10.0.0.255", [b"hello"])
    (record,) = pump.read_frames(reader, bpf.length, 1)
    assert record.frame.endswith(b"hello")
    back = open_bpf(keeper, PRIMARY, unit=2)
    pump.write(writer, frame())
    assert frames(keeper, back, 1) == [frame()]
    statistics = pump.ioctl(reader, REQUEST["BIOCGSTATS"], bytes(8))
    assert struct.unpack("=II", statistics) == (1, 0)
    with fails_with(errno.EPERM):
        Requests(pump).set_mtu(IO, 1400)
    with fails_with(errno.EBUSY):
        keeper.open("/dev/bpf1")

    keeper.kill()
    pump.write(writer, frame())
    assert sorted(darwin.interfaces()) == [PRIMARY, IO]


@live
def test_a_state_survives_a_process_killed_at_any_moment(
    darwin: SimulatedDarwin, namespace: str, program: Program
) -> None:
    make_pair(program)
    for _ in range(5):
        with Program(darwin, namespace) as victim:
            fd = open_ndrv(victim, IO)
            enough = darwin.counters()["ndrv_writes"] + 100
            victim.start("write_each", fd, [frame()] * 5000)
            deadline = time.monotonic() + PATIENCE
            while darwin.counters()["ndrv_writes"] < enough:
                assert time.monotonic() < deadline
            victim.kill()
    reader = open_bpf(program, PRIMARY)
    program.write(open_ndrv(program, IO), frame())
    assert frames(program, reader, 1) == [frame()]


@live
def test_one_mac_is_in_one_namespace(
    darwin: SimulatedDarwin, program: Program, another_namespace: str
) -> None:
    make_pair(program)
    with Program(darwin, another_namespace) as stray:
        stray.open("/dev/bpf1")
        with fails_with(errno.EBUSY):
            stray.open("/dev/bpf1")
    assert set(darwin.violations(forget=True)) == {"one state is used in two network namespaces"}


# ---- another program on the same Mac ----


@live
def test_another_program_creates_and_destroys(darwin: SimulatedDarwin, program: Program) -> None:
    requests = Requests(program)
    darwin.create("feth10000")
    with fails_with(errno.EEXIST):
        requests.create("feth10000")
    with pytest.raises(FileExistsError):
        darwin.create("feth10000")
    darwin.destroy("feth10000")
    with pytest.raises(OSError, match="feth10000"):
        darwin.destroy("feth10000")
    requests.create("feth10000")


@live
def test_without_a_namespace_that_of_a_running_program_is_taken(namespace: str) -> None:
    with SimulatedDarwin() as darwin:
        with pytest.raises(ProcessLookupError):
            darwin.create("feth1")
        with Program(darwin, namespace) as program:
            program.uname()
            darwin.create("feth1")
            assert Requests(program).mtu("feth1") == 1500


@live
def test_another_program_holds_devices(darwin: SimulatedDarwin, program: Program) -> None:
    darwin.occupy(0, 1, 2, 3)
    for unit in range(4):
        with fails_with(errno.EBUSY):
            program.open(f"/dev/bpf{unit}")
    program.open("/dev/bpf4")
    darwin.vacate(1)
    program.open("/dev/bpf1")


# ---- rules ----


@live
def test_a_rule_fails_the_call_that_it_names(darwin: SimulatedDarwin, program: Program) -> None:
    requests = Requests(program)
    rule = darwin.fail("SIOCIFCREATE2", errno.EEXIST, on="feth10000")
    requests.create("feth1")
    with fails_with(errno.EEXIST):
        requests.create("feth10000")
    requests.create("feth10000")
    assert rule.hits == 1
    assert darwin.counters()["injected_failures"] == 1


@live
def test_a_rule_begins_after_some_calls_and_ends_after_others(
    darwin: SimulatedDarwin, program: Program
) -> None:
    make_pair(program)
    reader = open_bpf(program, PRIMARY)
    writer = open_ndrv(program, IO)
    darwin.fail("ndrv_write", errno.ENOBUFS, on=IO, after=2, times=3)
    outcomes = []
    for mark in range(7):
        try:
            program.write(writer, frame(mark=mark))
            outcomes.append(0)
        except OSError as error:
            outcomes.append(error.errno or -1)
    assert outcomes == [0, 0, errno.ENOBUFS, errno.ENOBUFS, errno.ENOBUFS, 0, 0]
    assert frames(program, reader, 4) == [frame(mark=mark) for mark in (0, 1, 5, 6)]


@live
def test_a_rule_without_end_holds_until_it_is_cleared(
    darwin: SimulatedDarwin, program: Program
) -> None:
    rule = darwin.fail("open", errno.EMFILE, times=None)
    for _ in range(3):
        with fails_with(errno.EMFILE):
            program.open("/dev/bpf1")
    rule.clear()
    program.open("/dev/bpf1")


@live
def test_every_kind_of_call_can_be_made_to_fail(darwin: SimulatedDarwin, program: Program) -> None:
    make_pair(program)
    bpf = open_bpf(program, IO)
    ndrv = open_ndrv(program, IO)
    fresh = program.make_socket(AF_NDRV, socket.SOCK_RAW)
    calls: list[tuple[str, str, Callable[[], Any]]] = [
        ("BIOCGSTATS", "bpf1", lambda: program.ioctl(bpf.fd, REQUEST["BIOCGSTATS"], bytes(8))),
        ("BIOCGSTATS", IO, lambda: program.ioctl(bpf.fd, REQUEST["BIOCGSTATS"], bytes(8))),
        ("read", IO, lambda: program.read(bpf.fd, bpf.length)),
        ("write", "bpf1", lambda: program.write(bpf.fd, frame())),
        ("bpf_write", IO, lambda: program.write(bpf.fd, frame())),
        ("write", "ndrv", lambda: program.write(ndrv, frame())),
        ("socket", "ndrv", lambda: program.make_socket(AF_NDRV, socket.SOCK_RAW)),
        ("bind", IO, lambda: program.bind(fresh, sockaddr_ndrv(IO))),
        ("connect", IO, lambda: program.connect(fresh, sockaddr_ndrv(IO))),
        ("setsockopt", "ndrv", lambda: program.set_send_buffer(fresh, 9000)),
        ("getsockopt", "ndrv", lambda: program.send_buffer(fresh)),
        ("net.link.fake.max_mtu", "", lambda: program.sysctl("net.link.fake.max_mtu")),
        ("getifaddrs", "", program.getifaddrs),
        ("gethostuuid", "", program.host_uuid),
    ]
    for name, on, call in calls:
        darwin.fail(name, errno.EDOM, on=on)
        with fails_with(errno.EDOM):
            call()
    with pytest.raises(ValueError, match="SIOCNONSENSE"):
        darwin.fail("SIOCNONSENSE", errno.EIO)


# ---- deviations ----


@live
def test_every_deviation_is_known(darwin: SimulatedDarwin) -> None:
    for name in DEVIATIONS:
        darwin.deviate(name, 0)
    with pytest.raises(ValueError, match="nonsense"):
        darwin.deviate("nonsense")


@live
def test_a_kernel_without_batch_writing(darwin: SimulatedDarwin, program: Program) -> None:
    darwin.deviate("batch_write_missing")
    make_pair(program)
    bpf = open_bpf(program, IO)
    with fails_with(errno.EINVAL):
        program.ioctl(bpf.fd, REQUEST["BIOCSBATCHWRITE"], u32(1))


@live
def test_a_kernel_that_ignores_the_largest_mtu(darwin: SimulatedDarwin, program: Program) -> None:
    darwin.deviate("max_mtu_ignored")
    program.sysctl("net.link.fake.max_mtu", u32(9000))
    requests = Requests(program)
    requests.create("feth1")
    with fails_with(errno.EINVAL):
        requests.set_mtu("feth1", 9000)


@live
def test_a_kernel_whose_reads_return_one_frame(darwin: SimulatedDarwin, program: Program) -> None:
    darwin.deviate("one_frame_per_read")
    make_pair(program)
    bpf = open_bpf(program, IO)
    program.write_each(open_ndrv(program, PRIMARY), [frame()] * 3)
    assert [len(program.read(bpf.fd, bpf.length)) for _ in range(3)] == [82] * 3
    assert is_silent(program, bpf)


@live
def test_a_kernel_with_other_send_buffers(darwin: SimulatedDarwin, program: Program) -> None:
    darwin.deviate("send_buffer_default", 2048)
    darwin.deviate("send_buffer_limit", 9000)
    fd = program.make_socket(AF_NDRV, socket.SOCK_RAW)
    assert program.send_buffer(fd) == 2048
    program.set_send_buffer(fd, 16388)
    assert program.send_buffer(fd) == 9000


@live
def test_a_kernel_with_other_limits_for_bpf(darwin: SimulatedDarwin, program: Program) -> None:
    darwin.deviate("buffer_length_limit", 65536)
    darwin.deviate("bpf_write_limit", 1000)
    make_pair(program)
    bpf = open_bpf(program, IO, length=BUFFER)
    assert bpf.length == 65536
    program.write(bpf.fd, frame(1000))
    with fails_with(errno.EMSGSIZE):
        program.write(bpf.fd, frame(1001))


@live
def test_a_kernel_that_always_shows_what_was_sent(
    darwin: SimulatedDarwin, program: Program
) -> None:
    darwin.deviate("see_sent_always")
    make_pair(program)
    bpf = open_bpf(program, IO, see_sent=False)
    program.write(open_ndrv(program, IO), frame())
    assert frames(program, bpf, 1) == [frame()]


@live
def test_a_kernel_with_another_record_layout(darwin: SimulatedDarwin, program: Program) -> None:
    darwin.deviate("bpf_header_length", 26)
    darwin.deviate("bpf_alignment", 8)
    make_pair(program)
    bpf = open_bpf(program, IO)
    program.write_each(open_ndrv(program, PRIMARY), [frame(61), frame(62)])
    batch = program.read(bpf.fd, bpf.length)
    assert batch[26:87] == frame(61)
    assert batch[88 + 26 :] == frame(62)


@live
def test_a_kernel_that_changes_frames(darwin: SimulatedDarwin, program: Program) -> None:
    darwin.deviate("padded_frames")
    darwin.deviate("vlan_tags_stripped")
    make_pair(program)
    bpf = open_bpf(program, IO)
    writer = open_ndrv(program, PRIMARY)
    program.write(writer, frame(20))
    program.write(writer, frame(80)[:12] + b"\x81\x00\x00\x05" + frame(80)[12:])
    assert frames(program, bpf, 2) == [frame(20) + bytes(40), frame(80)]


@live
@pytest.mark.parametrize("deviation", ["injection_lost", "reception_lost"])
def test_a_kernel_that_loses_every_frame(
    darwin: SimulatedDarwin, program: Program, deviation: str
) -> None:
    darwin.deviate(deviation)
    make_pair(program)
    bpf = open_bpf(program, IO)
    assert program.write(open_ndrv(program, PRIMARY), frame()) == 64
    assert is_silent(program, bpf)


@live
def test_a_kernel_with_hardware_checksums(darwin: SimulatedDarwin, program: Program) -> None:
    darwin.deviate("hardware_checksums")
    requests = make_pair(program)
    requests("SIOCAIFADDR", in_aliasreq(PRIMARY, "10.0.0.1/24"))
    bpf = open_bpf(program, IO)
    program.udp_send("10.0.0.1", "10.0.0.255", [b"hello", b"hallo"])
    first, second = frames(program, bpf, 2)
    assert first[40:42] == second[40:42]  # the UDP checksum is only begun: of addresses and length


@live
def test_a_kernel_that_ignores_macs_and_links(darwin: SimulatedDarwin, program: Program) -> None:
    darwin.deviate("mac_ignored")
    darwin.deviate("link_never_active")
    requests = make_pair(program)
    requests("SIOCSIFLLADDR", ifreq_mac(PRIMARY, "02:00:00:00:00:09"))
    assert darwin.interfaces()[PRIMARY].mac == "66:65:74:68:27:10"
    media = requests("SIOCGIFMEDIA", PRIMARY.encode().ljust(44, b"\0"))
    assert struct.unpack_from("=i", media, 24)[0] == CONSTANT["IFM_AVALID"]


@live
def test_a_kernel_that_swaps_frames(darwin: SimulatedDarwin, program: Program) -> None:
    darwin.deviate("frames_reordered")
    make_pair(program)
    bpf = open_bpf(program, IO)
    sent = [frame(64), frame(64)[:-1] + b"2", frame(64)[:-1] + b"3"]
    program.write_each(open_ndrv(program, PRIMARY), sent)
    assert frames(program, bpf, 3) == [sent[1], sent[0], sent[2]]


@live
def test_a_kernel_that_counts_no_drops(darwin: SimulatedDarwin, program: Program) -> None:
    darwin.deviate("drops_uncounted")
    make_pair(program)
    bpf = open_bpf(program, IO, length=4096)
    program.write_each(open_ndrv(program, PRIMARY), [frame(1000)] * 400)
    assert len(program.read_frames(bpf.fd, bpf.length, 400, 0.1)) < 400
    assert from_u32(program.ioctl(bpf.fd, REQUEST["BIOCGSTATS"], bytes(8))[4:]) == 0


@live
def test_a_kernel_whose_largest_mtu_is_one_for_all(
    darwin: SimulatedDarwin, program: Program
) -> None:
    darwin.deviate("max_mtu_follows")
    requests = Requests(program)
    requests.create("feth1")
    program.sysctl("net.link.fake.max_mtu", u32(9000))
    requests.set_mtu("feth1", 9000)
    assert requests.mtu("feth1") == 9000


@live
def test_a_kernel_that_answers_with_another_errno(
    darwin: SimulatedDarwin, program: Program
) -> None:
    rule = darwin.misanswer("SIOCIFCREATE2", errno.EEXIST, errno.EBUSY)
    darwin.misanswer("SIOCIFDESTROY", errno.ENXIO, 0)
    requests = Requests(program)
    requests.create("feth1")
    with fails_with(errno.EBUSY):
        requests.create("feth1")
    assert rule.hits == 1
    requests.destroy("feth2")
    rule.clear()
    with fails_with(errno.EEXIST):
        requests.create("feth1")
    with pytest.raises(ValueError, match="SIOCNONSENSE"):
        darwin.misanswer("SIOCNONSENSE", errno.EEXIST, errno.EBUSY)


# ---- looking ----


@live
def test_calls_are_logged_with_their_outcome(darwin: SimulatedDarwin, program: Program) -> None:
    requests = Requests(program)
    requests.create("feth1")
    requests.set_mtu("feth1", 1400)
    with fails_with(errno.EINVAL):
        requests.set_mtu("feth1", 9999)
    pid = program.pid()
    assert darwin.calls("SIOCSIFMTU", on="feth1") == [
        Call("SIOCSIFMTU", "", "feth1", 1400, 0, pid, 0),
        Call("SIOCSIFMTU", "", "feth1", 9999, errno.EINVAL, pid, 0),
    ]
    assert [call.name for call in darwin.calls()] == ["SIOCIFCREATE2", "SIOCSIFMTU", "SIOCSIFMTU"]


@live
def test_the_order_of_calls_on_a_device_can_be_told(
    darwin: SimulatedDarwin, program: Program
) -> None:
    make_pair(program)
    open_bpf(program, IO)
    assert [call.name for call in darwin.calls(on="bpf1")] == [
        "open",
        "BIOCSBLEN",
        "BIOCIMMEDIATE",
        "BIOCSSEESENT",
        "BIOCSETIF",
        "BIOCSHDRCMPLT",
        "BIOCPROMISC",
    ]


@live
def test_interfaces_are_shown_as_they_are(darwin: SimulatedDarwin, program: Program) -> None:
    requests = make_pair(program, mtu=1400)
    requests("SIOCAIFADDR", in_aliasreq(PRIMARY, "10.0.0.1/24"))
    open_bpf(program, IO)
    primary, io = (darwin.interfaces()[name] for name in (PRIMARY, IO))
    assert (primary.peer, io.peer, primary.mtu) == (IO, PRIMARY, 1400)
    assert (primary.addresses, io.addresses) == (("10.0.0.1/24",), ())
    assert primary.up
    assert io.running
    assert (primary.promiscuous, io.promiscuous) == (False, True)


@live
def test_closing_twice_is_safe_and_removes_the_state() -> None:
    darwin = SimulatedDarwin()
    assert darwin.state.exists()
    darwin.close()
    darwin.close()
    assert not darwin.state.exists()
    assert not darwin.state.parent.exists()


@live
def test_readiness_is_linuxs_own(program: Program) -> None:
    """The program's own select, on real descriptors."""
    make_pair(program)
    bpf = open_bpf(program, IO)
    program.write(open_ndrv(program, PRIMARY), frame())
    assert is_readable(program, bpf.fd)
    assert frames(program, bpf, 1) == [frame()]
    assert not is_readable(program, bpf.fd)
