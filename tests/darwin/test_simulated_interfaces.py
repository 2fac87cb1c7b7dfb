"""The simulated interfaces: each rule of Darwin's feth, its flags, MTU, addresses and IPv6."""

from __future__ import annotations

import errno
import json
import socket
import struct
import subprocess

import pytest

from tests.darwin.client import Program
from tests.darwin.layouts import (
    CONSTANT,
    IFF_PROMISC,
    IFF_RUNNING,
    IFF_UP,
    REQUEST,
    ifdrv,
    ifreq,
    ifreq_flags,
    ifreq_mac,
    ifreq_number,
    in6_aliasreq,
    in6_ifreq,
    in_aliasreq,
    sockaddr_in,
    sockaddr_in6,
)
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


@pytest.fixture
def requests(program: Program) -> Requests:
    return Requests(program)


@pytest.fixture
def requests6(program: Program) -> Requests:
    return Requests(program, socket.AF_INET6)


def linux(namespace: str, *command: str) -> str:
    """What a Linux tool, which knows nothing of Darwin, says in the namespace."""
    entered = ["nsenter", f"--net={namespace}", *command]
    return subprocess.run(entered, check=True, stdout=subprocess.PIPE, text=True).stdout


# ---- create and destroy ----


def test_a_destroyed_feth_is_gone(darwin: SimulatedDarwin, requests: Requests) -> None:
    requests.create("feth3")
    requests.destroy("feth3")
    assert darwin.interfaces() == {}
    with fails_with(errno.ENXIO):
        requests.destroy("feth3")
    with fails_with(errno.ENXIO):
        requests.flags("feth3")


def test_interfaces_outlive_the_process_that_made_them(
    darwin: SimulatedDarwin, namespace: str, program: Program
) -> None:
    with Program(darwin, namespace) as maker:
        make_pair(maker)
        maker.kill()
    assert sorted(darwin.interfaces()) == [PRIMARY, IO]
    assert Requests(program).peer(IO) == PRIMARY


def test_only_root_creates_changes_and_destroys(program: Program, nobody: int) -> None:
    requests = make_pair(program)
    requests6 = Requests(program, socket.AF_INET6)
    program.become(nobody)
    for request, argument in [
        ("SIOCIFCREATE2", ifreq("feth1")),
        ("SIOCIFCREATE", ifreq("feth1")),
        ("SIOCIFDESTROY", ifreq(IO)),
        ("SIOCSIFFLAGS", ifreq_flags(IO, 0)),
        ("SIOCSIFMTU", ifreq_number(IO, 1400)),
        ("SIOCSIFMETRIC", ifreq_number(IO, 1)),
        ("SIOCSIFLLADDR", ifreq_mac(IO, "02:00:00:00:00:09")),
        ("SIOCAIFADDR", in_aliasreq(IO, "10.0.0.1/24")),
        ("SIOCDIFADDR", ifreq(IO, sockaddr_in("10.0.0.1"))),
    ]:
        with fails_with(errno.EPERM):
            requests(request, argument)
    for request, argument in [
        ("SIOCAIFADDR_IN6", in6_aliasreq(IO, "fd00::1/64")),
        ("SIOCDIFADDR_IN6", in6_ifreq(IO, sockaddr_in6("fd00::1"))),
    ]:
        with fails_with(errno.EPERM):
            requests6(request, argument)
    with fails_with(errno.EPERM):
        requests.set_peer(IO, "")
    assert requests.peer(IO) == PRIMARY  # looking is free
    assert requests.mtu(IO) == 1500


# ---- peers ----


@pytest.mark.parametrize(
    ("peer", "expected"), [("feth9", errno.ENXIO), ("lo0", errno.EINVAL), ("en0", errno.EINVAL)]
)
def test_a_peer_must_exist_and_be_a_feth(requests: Requests, peer: str, expected: int) -> None:
    requests.create("feth1")
    with fails_with(expected):
        requests.set_peer("feth1", peer)


def test_a_peer_request_must_be_160_bytes_with_reserved_words_zero(requests: Requests) -> None:
    requests.create("feth1")
    requests.create("feth2")
    for length in (0, 48, 159, 161):
        with fails_with(errno.EINVAL):
            requests.set_peer("feth1", "feth2", length=length)
    with fails_with(errno.EINVAL):
        requests.set_peer("feth1", "feth2", reserved=1)
    with fails_with(errno.EINVAL):
        requests.peer("feth1", length=159)
    assert requests.peer("feth1") == ""


def test_a_bad_pointer_in_a_request_is_efault(program: Program, requests: Requests) -> None:
    requests.create("feth1")
    broken = ifdrv("feth1", 1, 160) + struct.pack("Q", 8)
    with fails_with(errno.EFAULT):
        program.ioctl(requests.fd, REQUEST["SIOCSDRVSPEC"], broken)
    with fails_with(errno.EFAULT):
        program.ioctl_address(requests.fd, REQUEST["SIOCGIFFLAGS"], 8)


# ---- what flows ----


@pytest.mark.parametrize("missing", ["peer", PRIMARY])
def test_nothing_flows_without_a_peer_or_from_a_side_that_is_down(
    program: Program, missing: str
) -> None:
    requests = make_pair(program)
    requests("SIOCAIFADDR", in_aliasreq(PRIMARY, "10.0.0.1/24"))
    reader = open_bpf(program, IO)
    if missing == "peer":
        requests.set_peer(PRIMARY, "")
    else:
        requests.down(PRIMARY)
    program.udp_send("10.0.0.1", "10.0.0.255", [b"hello"])
    assert is_silent(program, reader)
    if missing == "peer":
        requests.set_peer(PRIMARY, IO)
    else:
        requests.up(PRIMARY)
    program.udp_send("10.0.0.1", "10.0.0.255", [b"hello"])
    (frame,) = frames(program, reader, 1)
    assert frame.endswith(b"hello")


def test_what_one_stack_sends_both_taps_and_the_peers_stack_get(
    program: Program, namespace: str
) -> None:
    requests = make_pair(program)
    sent = open_bpf(program, PRIMARY, unit=1, see_sent=True)
    received = open_bpf(program, IO, unit=2)
    requests("SIOCAIFADDR", in_aliasreq(PRIMARY, "10.0.0.1/24"))
    program.udp_send("10.0.0.1", "10.0.0.255", [b"hello"])
    assert frames(program, sent, 1) == frames(program, received, 1)
    (link,) = json.loads(linux(namespace, "ip", "-s", "-j", "link", "show", "dev", IO))
    assert link["stats64"]["rx"]["packets"] == 1


@pytest.mark.parametrize("mtu", [1500, 9000])
def test_ip_packets_have_real_checksums_and_fit_the_mtu(
    darwin: SimulatedDarwin, program: Program, mtu: int
) -> None:
    darwin.max_mtu = 16370
    requests = make_pair(program, mtu=mtu)
    requests("SIOCAIFADDR", in_aliasreq(PRIMARY, "10.0.0.1/24"))
    reader = open_bpf(program, IO)
    program.udp_send("10.0.0.1", "10.0.0.255", [bytes(range(200)), bytes(3 * mtu)])
    arrived = frames(program, reader, 5)
    assert len(arrived) == 5
    assert max(map(len, arrived)) <= mtu + 14
    whole = arrived[0][14:]
    source, length = whole[12:20], len(whole) - 20
    assert ones_complement(whole[:20]) == 0xFFFF
    assert ones_complement(source + struct.pack(">HH", 17, length) + whole[20:]) == 0xFFFF


def ones_complement(data: bytes) -> int:
    padded = data + bytes(len(data) % 2)
    total: int = sum(struct.unpack(f">{len(padded) // 2}H", padded))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@pytest.mark.parametrize("size", [56, 1472, 16342])
def test_a_ping_reaches_a_host_behind_the_io_side(
    darwin: SimulatedDarwin, program: Program, namespace: str, size: int
) -> None:
    darwin.max_mtu = 16370
    requests = make_pair(program, mtu=16370)
    requests("SIOCAIFADDR", in_aliasreq(PRIMARY, "10.0.0.1/24"))
    requests.up(PRIMARY)
    reader = open_bpf(program, IO)
    writer = open_ndrv(program, IO, send_buffer=16388)
    program.start("answer_pings", reader.fd, reader.length, writer, 3)
    at_once = ("-c3", "-l3", "-i5", "-S200000")  # then it waits 5 s for the last answer
    linux(namespace, "ping", "-q", *at_once, "-Mdo", f"-s{size}", "10.0.0.2")
    assert program.finish() == 3


def test_a_frame_with_a_wrong_checksum_is_not_for_the_stack(program: Program) -> None:
    """Were receive checksums offloaded, the stack would believe every frame."""
    requests = make_pair(program)
    requests("SIOCAIFADDR", in_aliasreq(PRIMARY, "10.0.0.1/24"))
    reader = open_bpf(program, IO)
    writer = open_ndrv(program, IO)
    good = echo_request()
    bad = good[:-1] + bytes([good[-1] ^ 1])
    program.write(writer, arp_request())
    (reply,) = frames(program, reader, 1)
    assert reply[12:14] == b"\x08\x06"
    program.write(writer, bad)
    assert is_silent(program, reader)
    program.write(writer, good)
    assert b"payload!" in frames(program, reader, 1)[0]


GUEST = bytes.fromhex("02aabbccddee")
HOST = bytes.fromhex("666574682710")


def arp_request() -> bytes:
    """From 10.0.0.2, to 10.0.0.1."""
    sender = GUEST + bytes([10, 0, 0, 2])
    body = bytes.fromhex("0001080006040001") + sender + bytes(6) + bytes([10, 0, 0, 1])
    return b"\xff" * 6 + GUEST + b"\x08\x06" + body


def echo_request() -> bytes:
    icmp = bytes.fromhex("0800 0000 0001 0001") + b"payload!"
    icmp = icmp[:2] + struct.pack(">H", 0xFFFF ^ ones_complement(icmp)) + icmp[4:]
    addresses = bytes([10, 0, 0, 2, 10, 0, 0, 1])
    header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(icmp), 1, 0, 64, 1, 0) + addresses
    header = header[:10] + struct.pack(">H", 0xFFFF ^ ones_complement(header)) + header[12:]
    return HOST + GUEST + b"\x08\x00" + header + icmp


# ---- MTU ----


@pytest.mark.parametrize(
    ("release", "sysctl", "largest"),
    [
        ("17.7.0", None, 16370),
        ("18.7.0", None, 16370),
        ("19.6.0", None, 2048),
        ("19.6.0", 9000, 9000),
        ("24.0.0", 16370, 16370),
    ],
)
def test_the_largest_mtu_is_the_releases(
    darwin: SimulatedDarwin, requests: Requests, sysctl: int | None, largest: int
) -> None:
    if sysctl is not None:
        darwin.max_mtu = sysctl
    requests.create("feth1")
    for good in (72, 1500, largest):
        requests.set_mtu("feth1", good)
        assert requests.mtu("feth1") == good
    for bad in (-1, 0, 71, largest + 1, 65536):
        with fails_with(errno.EINVAL):
            requests.set_mtu("feth1", bad)
    devmtu = struct.unpack_from("=3i", requests("SIOCGIFDEVMTU", ifreq("feth1")), 16)
    assert devmtu == (largest, 72, largest)


# ---- flags, MAC, metric ----


def test_setting_flags_replaces_every_changeable_one_and_no_other(requests: Requests) -> None:
    requests.create("feth1")
    fixed = requests.flags("feth1")
    link0, debug = CONSTANT["IFF_LINK0"], CONSTANT["IFF_DEBUG"]
    requests.set_flags("feth1", link0 | debug)
    assert requests.flags("feth1") == fixed | link0 | debug
    requests.set_flags("feth1", CONSTANT["IFF_POINTOPOINT"] | IFF_PROMISC | IFF_RUNNING)
    assert requests.flags("feth1") == fixed


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


def test_the_mac_wants_length_six_and_any_family(
    darwin: SimulatedDarwin, requests: Requests, program: Program
) -> None:
    requests.create("feth1")
    for length in (0, 5, 8, 16):
        with fails_with(errno.EINVAL):
            requests("SIOCSIFLLADDR", ifreq_mac("feth1", "02:00:00:00:00:09", length=length))
    requests("SIOCSIFLLADDR", ifreq_mac("feth1", "02:00:00:00:00:09", family=99))
    assert darwin.interfaces()["feth1"].mac == "02:00:00:00:00:09"


def test_frames_leave_with_the_new_mac(requests: Requests, program: Program) -> None:
    make_pair(program)
    requests("SIOCSIFLLADDR", ifreq_mac(PRIMARY, "02:00:00:00:00:09"))
    requests("SIOCAIFADDR", in_aliasreq(PRIMARY, "10.0.0.1/24"))
    reader = open_bpf(program, IO)
    program.udp_send("10.0.0.1", "10.0.0.255", [b"hello"])
    assert frames(program, reader, 1)[0][6:12] == bytes.fromhex("020000000009")


# ---- IPv4 addresses ----


def test_ipv4_addresses_come_and_go(darwin: SimulatedDarwin, requests: Requests) -> None:
    requests.create("feth1")
    with fails_with(errno.EADDRNOTAVAIL):
        requests("SIOCGIFADDR", ifreq("feth1"))
    requests("SIOCAIFADDR", in_aliasreq("feth1", "10.0.0.1/24"))
    requests("SIOCAIFADDR", in_aliasreq("feth1", "10.0.1.1/16"))
    assert darwin.interfaces()["feth1"].addresses == ("10.0.0.1/24", "10.0.1.1/16")
    assert requests("SIOCGIFADDR", ifreq("feth1"))[16:] == sockaddr_in("10.0.0.1")
    assert requests("SIOCGIFNETMASK", ifreq("feth1"))[16:] == sockaddr_in("255.255.255.0")
    requests("SIOCDIFADDR", ifreq("feth1", sockaddr_in("10.0.0.1")))
    assert darwin.interfaces()["feth1"].addresses == ("10.0.1.1/16",)
    with fails_with(errno.EADDRNOTAVAIL):
        requests("SIOCDIFADDR", ifreq("feth1", sockaddr_in("10.0.0.1")))


def test_the_same_address_again_changes_its_mask(
    darwin: SimulatedDarwin, requests: Requests
) -> None:
    requests.create("feth1")
    for prefix in (24, 16, 16):
        requests("SIOCAIFADDR", in_aliasreq("feth1", f"10.0.0.1/{prefix}"))
        assert darwin.interfaces()["feth1"].addresses == (f"10.0.0.1/{prefix}",)


def test_without_a_mask_the_historic_class_decides(
    darwin: SimulatedDarwin, requests: Requests
) -> None:
    requests.create("feth1")
    requests("SIOCAIFADDR", in_aliasreq("feth1", "192.168.7.1/28", mask=False))
    assert darwin.interfaces()["feth1"].addresses == ("192.168.7.1/24",)


@pytest.mark.parametrize("address", ["0.0.0.0/8", "224.0.0.1/24", "255.255.255.255/32"])
def test_an_address_that_no_interface_can_have_is_einval(requests: Requests, address: str) -> None:
    requests.create("feth1")
    with fails_with(errno.EINVAL):
        requests("SIOCAIFADDR", in_aliasreq("feth1", address))


def test_an_address_of_another_family_is_einval(requests: Requests) -> None:
    requests.create("feth1")
    alias = bytearray(in_aliasreq("feth1", "10.0.0.1/24"))
    alias[17] = CONSTANT["AF_INET6"]
    with fails_with(errno.EINVAL):
        requests("SIOCAIFADDR", bytes(alias))


def test_linux_gets_the_address_the_mtu_and_the_route(
    darwin: SimulatedDarwin, requests: Requests, namespace: str
) -> None:
    darwin.max_mtu = 9000
    requests.create("feth1")
    requests.set_mtu("feth1", 4000)
    requests("SIOCAIFADDR", in_aliasreq("feth1", "10.9.8.1/24"))
    shown = linux(namespace, "ip", "-o", "address", "show", "dev", "feth1")
    assert "inet 10.9.8.1/24 brd 10.9.8.255" in shown
    assert "inet6" not in shown
    assert "mtu 4000" in linux(namespace, "ip", "link", "show", "dev", "feth1")


# ---- IPv6 ----


def test_ipv6_requests_want_an_ipv6_socket_and_ipv4_requests_do_not(
    requests: Requests, requests6: Requests
) -> None:
    requests.create("feth1")
    for request, argument in [
        ("SIOCAIFADDR", in_aliasreq("feth1", "10.0.0.1/24")),
        ("SIOCDIFADDR", ifreq("feth1", sockaddr_in("10.0.0.1"))),
        ("SIOCGIFADDR", ifreq("feth1")),
        ("SIOCGIFNETMASK", ifreq("feth1")),
    ]:
        with fails_with(errno.EINVAL):
            requests6(request, argument)
    for request, argument in [
        ("SIOCAIFADDR_IN6", in6_aliasreq("feth1", "fd00::1/64")),
        ("SIOCDIFADDR_IN6", in6_ifreq("feth1", sockaddr_in6("fd00::1"))),
    ]:
        with fails_with(errno.EOPNOTSUPP):
            requests(request, argument)
    assert requests6.mtu("feth1") == 1500  # the link's requests take either


def test_the_first_ipv6_address_attaches_ipv6_and_brings_a_link_local_one(
    darwin: SimulatedDarwin, requests6: Requests
) -> None:
    requests6.create("feth10000")
    requests6("SIOCAIFADDR_IN6", in6_aliasreq("feth10000", "fd00::1/64"))
    addresses = ("fe80::6465:74ff:fe68:2710/64", "fd00::1/64")
    assert darwin.interfaces()["feth10000"].addresses == addresses
    requests6("SIOCAIFADDR_IN6", in6_aliasreq("feth10000", "fd00:0:0:1::1/48"))
    requests6("SIOCDIFADDR_IN6", in6_ifreq("feth10000", sockaddr_in6("fd00::1")))
    assert darwin.interfaces()["feth10000"].addresses == (addresses[0], "fd00:0:0:1::1/48")
    with fails_with(errno.EADDRNOTAVAIL):
        requests6("SIOCDIFADDR_IN6", in6_ifreq("feth10000", sockaddr_in6("fd00::1")))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param({"valid": 10, "preferred": 11}, errno.EINVAL, id="preferred above valid"),
        pytest.param({"destination_family": 30}, errno.EINVAL, id="a destination"),
        pytest.param(
            {"address": sockaddr_in6("fd00::1", length=16)}, errno.EAFNOSUPPORT, id="wrong length"
        ),
        pytest.param(
            {"address": sockaddr_in6("fd00::1", family=10)},
            errno.EAFNOSUPPORT,
            id="the family as Linux numbers it",
        ),
        pytest.param({"address": sockaddr_in6("ff02::1")}, errno.EINVAL, id="multicast"),
        pytest.param({"address": sockaddr_in6("::")}, errno.EINVAL, id="unspecified"),
        pytest.param(
            {"address": sockaddr_in6("fe80::1", scope=99)}, errno.EINVAL, id="another scope"
        ),
    ],
)
def test_a_bad_ipv6_address_is_refused(
    requests6: Requests, options: dict[str, int | bytes], expected: int
) -> None:
    requests6.create("feth1")
    with fails_with(expected):
        requests6("SIOCAIFADDR_IN6", in6_aliasreq("feth1", "fd00::1/64", **options))  # type: ignore[arg-type]


def test_an_address_with_a_valid_lifetime_of_0_expires_at_once(
    darwin: SimulatedDarwin, requests6: Requests
) -> None:
    requests6.create("feth1")
    requests6("SIOCAIFADDR_IN6", in6_aliasreq("feth1", "fd00::1/64"))
    requests6("SIOCAIFADDR_IN6", in6_aliasreq("feth1", "fd00::1/64", valid=0, preferred=0))
    assert darwin.interfaces()["feth1"].addresses == ("fe80::6465:74ff:fe68:1/64",)


def test_ipv6_addresses_survive_a_down(
    requests6: Requests, namespace: str, program: Program
) -> None:
    make_pair(program)
    requests6("SIOCAIFADDR_IN6", in6_aliasreq(PRIMARY, "fd00::1/64"))
    requests6.down(PRIMARY)
    requests6.up(PRIMARY)
    linux(namespace, "ip", "link", "set", "lo", "up")
    linux(namespace, "ping", "-q", "-c1", "-W5", "fd00::1")


def test_bringing_interfaces_up_sends_nothing_by_itself(program: Program) -> None:
    requests = make_pair(program, up=False)
    sides = [open_bpf(program, PRIMARY, unit=1), open_bpf(program, IO, unit=2)]
    requests.up(PRIMARY)
    requests.up(IO)
    assert all(is_silent(program, side) for side in sides)
