"""What Apple's code cannot check of the simulation: addresses, users, and what it reports.

Whatever interfaces, BPF and AF_NDRV answer is compared with Apple's code, in tests/xnu.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import subprocess
import sys
from typing import Callable

import pytest

from tests.darwin.client import Program
from tests.darwin.layouts import (
    ABI,
    AF_NDRV,
    CONSTANT,
    IFF_RUNNING,
    IFF_UP,
    REQUEST,
    frame,
    ifreq,
    ifreq_flags,
    ifreq_mac,
    ifreq_number,
    in6_aliasreq,
    in6_ifreq,
    in_aliasreq,
    sockaddr_in,
    sockaddr_in6,
    sockaddr_ndrv,
    u32,
)
from tests.darwin.rig import (
    BUFFER,
    IO,
    PRIMARY,
    Requests,
    fails_with,
    make_pair,
    open_bpf,
    open_ndrv,
)
from tests.darwin.simulation import SimulatedDarwin
from tests.live.netns import Namespace

pytestmark = pytest.mark.live


@pytest.fixture
def requests(program: Program) -> Requests:
    return Requests(program)


@pytest.fixture
def requests6(program: Program) -> Requests:
    return Requests(program, socket.AF_INET6)


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


# ---- users ----


def test_only_root_opens_creates_changes_and_destroys(program: Program, nobody: int) -> None:
    requests = make_pair(program)
    requests6 = Requests(program, socket.AF_INET6)
    program.become(nobody)
    for ask, request, argument in [
        (requests, "SIOCIFCREATE2", ifreq("feth1")),
        (requests, "SIOCIFDESTROY", ifreq(IO)),
        (requests, "SIOCSIFFLAGS", ifreq_flags(IO, 0)),
        (requests, "SIOCSIFMTU", ifreq_number(IO, 1400)),
        (requests, "SIOCSIFMETRIC", ifreq_number(IO, 1)),
        (requests, "SIOCSIFLLADDR", ifreq_mac(IO, "02:00:00:00:00:09")),
        (requests, "SIOCAIFADDR", in_aliasreq(IO, "10.0.0.1/24")),
        (requests, "SIOCDIFADDR", ifreq(IO, sockaddr_in("10.0.0.1"))),
        (requests6, "SIOCAIFADDR_IN6", in6_aliasreq(IO, "fd00::1/64")),
        (requests6, "SIOCDIFADDR_IN6", in6_ifreq(IO, sockaddr_in6("fd00::1"))),
    ]:
        with fails_with(errno.EPERM):
            ask(request, argument)
    with fails_with(errno.EPERM):
        requests.set_peer(IO, "")
    with fails_with(errno.EPERM):
        program.make_socket(AF_NDRV, socket.SOCK_RAW)
    with fails_with(errno.EPERM):
        program.sysctl("net.link.fake.max_mtu", u32(16370))
    with fails_with(errno.EACCES):
        program.open("/dev/bpf1")
    assert requests.peer(IO) == PRIMARY  # looking is free
    assert requests.mtu(IO) == 1500


# ---- addresses ----


@pytest.mark.parametrize("missing", ["peer", PRIMARY])
def test_the_stack_sends_nothing_without_a_peer_or_from_a_side_that_is_down(
    program: Program, missing: str
) -> None:
    requests = make_pair(program)
    requests("SIOCAIFADDR", in_aliasreq(PRIMARY, "10.0.0.1/24"))
    reader = open_bpf(program, IO)
    if missing == "peer":
        requests.set_peer(PRIMARY, "")
    else:
        requests.down(PRIMARY)
    program.udp_send("10.0.0.1", "10.0.0.255", b"lost")
    if missing == "peer":
        requests.set_peer(PRIMARY, IO)
    else:
        requests.up(PRIMARY)
    program.udp_send("10.0.0.1", "10.0.0.255", b"hello")
    (record,) = program.read_frames(reader, BUFFER, 1)
    assert record.frame.endswith(b"hello")


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_the_first_address_sets_up_but_not_running(program: Program, family: int) -> None:
    requests = Requests(program, family)
    requests.create("feth1")
    if family == socket.AF_INET:
        requests("SIOCAIFADDR", in_aliasreq("feth1", "10.0.0.1/24"))
    else:
        requests("SIOCAIFADDR_IN6", in6_aliasreq("feth1", "fd00::1/64"))
    assert requests.flags("feth1") & (IFF_UP | IFF_RUNNING) == IFF_UP
    requests.up("feth1")
    assert requests.flags("feth1") & (IFF_UP | IFF_RUNNING) == IFF_UP | IFF_RUNNING


def test_ipv4_addresses_come_and_go(darwin: SimulatedDarwin, requests: Requests) -> None:
    requests.create("feth1")
    with fails_with(errno.EADDRNOTAVAIL):
        requests("SIOCGIFADDR", ifreq("feth1"))
    for first in ("10.0.0.1/16", "10.0.0.1/24"):  # the same again changes its mask
        requests("SIOCAIFADDR", in_aliasreq("feth1", first))
        assert darwin.interfaces()["feth1"].addresses == (first,)
    requests("SIOCAIFADDR", in_aliasreq("feth1", "192.168.7.1/28", mask=False))  # its class decides
    assert darwin.interfaces()["feth1"].addresses == ("10.0.0.1/24", "192.168.7.1/24")
    assert requests("SIOCGIFADDR", ifreq("feth1"))[16:] == sockaddr_in("10.0.0.1")
    assert requests("SIOCGIFNETMASK", ifreq("feth1"))[16:] == sockaddr_in("255.255.255.0")
    requests("SIOCDIFADDR", ifreq("feth1", sockaddr_in("10.0.0.1")))
    assert darwin.interfaces()["feth1"].addresses == ("192.168.7.1/24",)
    with fails_with(errno.EADDRNOTAVAIL):
        requests("SIOCDIFADDR", ifreq("feth1", sockaddr_in("10.0.0.1")))
    for bad in ("0.0.0.0/8", "224.0.0.1/24", "255.255.255.255/32"):
        with fails_with(errno.EINVAL):
            requests("SIOCAIFADDR", in_aliasreq("feth1", bad))


def test_requests_of_ipv6_want_its_socket_and_those_of_ipv4_theirs(
    requests: Requests, requests6: Requests
) -> None:
    requests.create("feth1")
    for ask, request, argument, expected in [
        (requests6, "SIOCAIFADDR", in_aliasreq("feth1", "10.0.0.1/24"), errno.EINVAL),
        (requests6, "SIOCDIFADDR", ifreq("feth1", sockaddr_in("10.0.0.1")), errno.EINVAL),
        (requests6, "SIOCGIFADDR", ifreq("feth1"), errno.EINVAL),
        (requests, "SIOCAIFADDR_IN6", in6_aliasreq("feth1", "fd00::1/64"), errno.EOPNOTSUPP),
        (requests, "SIOCDIFADDR_IN6", in6_ifreq("feth1", b""), errno.EOPNOTSUPP),
    ]:
        with fails_with(expected):
            ask(request, argument)


def test_the_first_ipv6_address_attaches_ipv6_and_brings_a_link_local_one(
    darwin: SimulatedDarwin, requests6: Requests
) -> None:
    requests6.create(PRIMARY)
    requests6("SIOCAIFADDR_IN6", in6_aliasreq(PRIMARY, "fd00::1/64"))
    local = "fe80::6465:74ff:fe68:2710/64"
    assert darwin.interfaces()[PRIMARY].addresses == (local, "fd00::1/64")
    requests6("SIOCAIFADDR_IN6", in6_aliasreq(PRIMARY, "fd00:0:0:1::1/48"))
    requests6("SIOCDIFADDR_IN6", in6_ifreq(PRIMARY, sockaddr_in6("fd00::1")))
    assert darwin.interfaces()[PRIMARY].addresses == (local, "fd00:0:0:1::1/48")
    with fails_with(errno.EADDRNOTAVAIL):
        requests6("SIOCDIFADDR_IN6", in6_ifreq(PRIMARY, sockaddr_in6("fd00::1")))


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        pytest.param(sockaddr_in6("fd00::1", length=16), errno.EAFNOSUPPORT, id="wrong length"),
        pytest.param(sockaddr_in6("fd00::1", family=10), errno.EAFNOSUPPORT, id="Linux's number"),
        pytest.param(sockaddr_in6("ff02::1"), errno.EINVAL, id="multicast"),
        pytest.param(sockaddr_in6("::"), errno.EINVAL, id="unspecified"),
        pytest.param(sockaddr_in6("fe80::1", scope=99), errno.EINVAL, id="another scope"),
    ],
)
def test_a_bad_ipv6_address_is_refused(requests6: Requests, address: bytes, expected: int) -> None:
    requests6.create("feth1")
    with fails_with(expected):
        requests6("SIOCAIFADDR_IN6", in6_aliasreq("feth1", "fd00::1/64", address=address))


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


# ---- what no correct program does ----


def _read_without_immediate_mode(program: Program, requests: Requests) -> None:
    reader = open_bpf(program, IO)
    program.ioctl(reader, REQUEST["BIOCIMMEDIATE"], u32(0))
    program.write(open_ndrv(program, PRIMARY), frame())
    assert len(program.read_frames(reader, BUFFER, 1)) == 1


def _make_an_unknown_request(program: Program, requests: Requests) -> None:
    with fails_with(errno.EOPNOTSUPP):
        program.ioctl(requests.fd, 0xC02069FF, ifreq(IO))


def _make_an_unknown_request_to_bpf(program: Program, requests: Requests) -> None:
    with fails_with(errno.EINVAL):
        program.ioctl(program.open("/dev/bpf1"), 0x40044299, bytes(32))


def _change_another_kind(program: Program, requests: Requests) -> None:
    with fails_with(errno.EOPNOTSUPP):
        requests.set_mtu("en0", 1400)


def _lower_the_sysctl(program: Program, requests: Requests) -> None:
    for mtu in (9000, 4000):
        program.sysctl("net.link.fake.max_mtu", u32(mtu))


def _bind_as_on_linux(program: Program, requests: Requests) -> None:
    address = sockaddr_ndrv(IO)
    program.bind(program.make_socket(AF_NDRV, socket.SOCK_RAW), address[1:2] + b"\0" + address[2:])


@pytest.mark.parametrize(
    ("wrong", "reported"),
    [
        (_read_without_immediate_mode, "BIOCIMMEDIATE"),
        (_make_an_unknown_request, "c02069ff"),
        (_make_an_unknown_request_to_bpf, "40044299"),
        (_change_another_kind, "en0"),
        (_lower_the_sysctl, "max_mtu"),
        (_bind_as_on_linux, "not a sockaddr_ndrv"),
    ],
)
def test_what_is_wrong_is_reported(
    darwin: SimulatedDarwin,
    program: Program,
    wrong: Callable[[Program, Requests], None],
    reported: str,
) -> None:
    wrong(program, make_pair(program))
    (violation,) = darwin.violations(forget=True)
    assert reported in violation


def test_what_a_program_was_killed_while_it_made_is_no_interface(
    darwin: SimulatedDarwin, requests: Requests, left: Namespace
) -> None:
    left.run(["ip", "link", "add", PRIMARY, "type", "veth", "peer", "name", "h10000"])
    assert PRIMARY not in darwin.interfaces()
    requests.create(PRIMARY)
    requests.destroy(PRIMARY)
    assert PRIMARY not in left.interfaces()


def test_a_program_without_its_state_does_not_run_as_if_on_linux(darwin: SimulatedDarwin) -> None:
    environment = {**os.environ, **darwin.environment, "DARWIN_STATE": "/nonexistent"}
    ended = subprocess.run(
        [sys.executable, "-c", ""], env=environment, stderr=subprocess.PIPE, check=False
    )
    assert ended.returncode == 127
    assert b"DARWIN_STATE" in ended.stderr
