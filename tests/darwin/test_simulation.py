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

import pytest

from tests.darwin.client import Program
from tests.darwin.layouts import (
    ABI,
    CONSTANT,
    REQUEST,
    frame,
    from_u32,
    ifreq,
    ifreq_mac,
    in6_aliasreq,
    in_aliasreq,
    sockaddr_in,
    u32,
)
from tests.darwin.rig import (
    IO,
    PRIMARY,
    Requests,
    fails_with,
    frames,
    make_pair,
    open_bpf,
    open_ndrv,
)
from tests.darwin.simulation import DEVIATIONS, Call, SimulatedDarwin, abi_header
from tests.live.netns import Namespace
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
    darwin: SimulatedDarwin, program: Program, right: Namespace
) -> None:
    make_pair(program)
    with Program(darwin, right.path) as stray:
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


# ---- deviations ----


@live
def test_every_deviation_is_known(darwin: SimulatedDarwin) -> None:
    for name in DEVIATIONS:
        darwin.deviate(name, 0)
    with pytest.raises(ValueError, match="nonsense"):
        darwin.deviate("nonsense")
    with pytest.raises(ValueError, match="SIOCNONSENSE"):
        darwin.fail("SIOCNONSENSE", errno.EIO)
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
def test_closing_twice_is_safe_and_removes_the_state() -> None:
    darwin = SimulatedDarwin()
    assert darwin.state.exists()
    darwin.close()
    darwin.close()
    assert not darwin.state.exists()
    assert not darwin.state.parent.exists()
