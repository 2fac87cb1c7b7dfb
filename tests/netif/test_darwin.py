"""The management of Darwin's interfaces, on a simulated Darwin kernel."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from typing import Any

import pytest

from fethpipe.abi.darwin import InterfaceFlag
from fethpipe.netif.darwin import DarwinInterfaces, allow_mtu, interface_names
from fethpipe.system.libc_darwin import host_uuid
from tests.darwin.inside import Inside
from tests.darwin.simulation import SimulatedDarwin

pytestmark = pytest.mark.live

_MAC = bytes.fromhex("02005e005301")


@pytest.fixture
def interfaces(inside: Inside) -> Any:
    """The interfaces of the Mac, managed in that process."""
    return inside.make(DarwinInterfaces)


@contextmanager
def _fails_with(expected: int, request: str) -> Iterator[None]:
    with pytest.raises(OSError, match=r".") as raised:
        yield
    assert raised.value.errno == expected, errno.errorcode[raised.value.errno or 0]
    assert raised.value.strerror == os.strerror(expected)
    assert raised.value.filename == request


def test_a_feth_is_made_and_destroyed(interfaces: Any, darwin: SimulatedDarwin) -> None:
    assert interfaces.create("feth10005") == "feth10005"
    assert list(darwin.interfaces()) == ["feth10005"]
    with _fails_with(errno.EEXIST, "SIOCIFCREATE2"):
        interfaces.create("feth10005")
    interfaces.destroy("feth10005")
    assert darwin.interfaces() == {}
    with _fails_with(errno.ENXIO, "SIOCIFDESTROY"):
        interfaces.destroy("feth10005")


def test_all_interfaces_are_named(inside: Inside, interfaces: Any) -> None:
    interfaces.create("feth7")
    assert inside.call(interface_names) == {"lo0", "en0", "feth7"}


def test_two_feths_are_joined_and_know_each_other(interfaces: Any, darwin: SimulatedDarwin) -> None:
    for name in ("feth1", "feth2", "feth3"):
        interfaces.create(name)
    assert interfaces.peer("feth1") == ""
    assert interfaces.active("feth1") is False
    interfaces.set_peer("feth1", "feth2")
    assert (interfaces.peer("feth1"), interfaces.peer("feth2")) == ("feth2", "feth1")
    assert interfaces.active("feth1") is interfaces.active("feth2") is True
    assert darwin.interfaces()["feth2"].peer == "feth1"
    with _fails_with(errno.EBUSY, "SIOCSDRVSPEC"):
        interfaces.set_peer("feth3", "feth1")
    with _fails_with(errno.ENXIO, "SIOCSDRVSPEC"):
        interfaces.set_peer("feth3", "feth4")
    interfaces.destroy("feth1")
    assert interfaces.peer("feth2") == ""


def test_up_and_down_leave_the_other_flags_alone(interfaces: Any, darwin: SimulatedDarwin) -> None:
    interfaces.create("feth1")
    before = interfaces.flags("feth1")
    assert before & InterfaceFlag.IFF_MULTICAST
    interfaces.set_up("feth1")
    after = before | InterfaceFlag.IFF_UP | InterfaceFlag.IFF_RUNNING
    assert interfaces.flags("feth1") == darwin.interfaces()["feth1"].flags == after
    interfaces.set_up("feth1", up=False)
    assert interfaces.flags("feth1") == before


def test_mtu_mac_and_metric_are_set(interfaces: Any, darwin: SimulatedDarwin) -> None:
    interfaces.create("feth1")
    interfaces.set_mtu("feth1", 2048)
    interfaces.set_mac("feth1", _MAC)
    interfaces.set_metric("feth1", 7)
    found = darwin.interfaces()["feth1"]
    assert (found.mtu, found.mac, found.metric) == (2048, _MAC.hex(":"), 7)
    assert interfaces.mtu("feth1") == interfaces.largest_mtu("feth1") == 2048
    assert interfaces.mac("feth1") == _MAC
    assert interfaces.metric("feth1") == 7
    for mtu in (71, 2049):
        with _fails_with(errno.EINVAL, "SIOCSIFMTU"):
            interfaces.set_mtu("feth1", mtu)


@pytest.mark.parametrize("text", ["10.9.0.1/24", "10.9.0.1/31", "10.9.0.1/32", "fd00:9::1/64"])
def test_an_address_comes_and_goes(interfaces: Any, text: str) -> None:
    address = ip_interface(text)
    interfaces.create("feth1")
    interfaces.add_address("feth1", address)
    interfaces.add_address("feth1", address)
    assert [each for each in interfaces.status("feth1").addresses if not each.is_link_local] == [
        address
    ]
    interfaces.remove_address("feth1", address)
    assert address not in interfaces.status("feth1").addresses
    request = "SIOCDIFADDR" if address.version == 4 else "SIOCDIFADDR_IN6"
    with _fails_with(errno.EADDRNOTAVAIL, request):
        interfaces.remove_address("feth1", address)


def test_the_status_tells_all(interfaces: Any) -> None:
    interfaces.create("feth1")
    interfaces.create("feth2")
    interfaces.set_peer("feth1", "feth2")
    interfaces.set_mac("feth1", _MAC)
    interfaces.add_address("feth1", IPv4Interface("10.9.0.1/24"))
    interfaces.add_address("feth1", IPv6Interface("fd00:9::1/64"))
    interfaces.set_up("feth1")
    status = interfaces.status("feth1")
    assert status.up
    assert (status.name, status.mtu, status.largest_mtu) == ("feth1", 1500, 2048)
    assert (status.metric, status.mac) == (0, _MAC)
    assert (status.peer, status.active) == ("feth2", True)
    assert status.addresses == (
        IPv4Interface("10.9.0.1/24"),
        IPv6Interface("fe80::5eff:fe00:5301/64"),
        IPv6Interface("fd00:9::1/64"),
    )
    with _fails_with(errno.ENXIO, "SIOCGIFFLAGS"):
        interfaces.status("feth3")


def test_an_interface_of_another_kind_has_a_status_too(interfaces: Any) -> None:
    status = interfaces.status("en0")
    assert (status.peer, status.up, status.mtu) == ("", True, 1500)
    assert IPv4Interface("192.0.2.10/24") in status.addresses


def test_no_socket_stays_open(inside: Inside, interfaces: Any) -> None:
    interfaces.create("feth1")
    interfaces.add_address("feth1", IPv6Interface("fd00:9::1/64"))
    before = inside.call(os.listdir, "/proc/self/fd")
    interfaces.__exit__()
    assert len(inside.call(os.listdir, "/proc/self/fd")) == len(before) - 2


@pytest.mark.parametrize("before", [2048, 9000, 16370])
def test_the_limit_of_the_mtu_is_raised_and_never_lowered(
    inside: Inside, darwin: SimulatedDarwin, before: int
) -> None:
    darwin.max_mtu = before
    inside.call(allow_mtu, before)
    assert darwin.max_mtu == before
    inside.call(allow_mtu, 1500)
    assert darwin.max_mtu == before
    if before < 16370:
        inside.call(allow_mtu, before + 1)
        assert darwin.max_mtu == 16370


@pytest.mark.parametrize("release", ["17.7.0", "18.7.0"])
def test_before_macos_10_15_there_is_no_limit_to_raise(inside: Inside, interfaces: Any) -> None:
    inside.call(allow_mtu, 16370)
    interfaces.create("feth1")
    assert interfaces.largest_mtu("feth1") == 16370


@pytest.mark.parametrize("call", ["gethostuuid", "getifaddrs"])
def test_a_call_of_the_c_library_that_fails_is_named(
    inside: Inside, interfaces: Any, darwin: SimulatedDarwin, call: str
) -> None:
    darwin.fail(call, errno.EAGAIN)
    with _fails_with(errno.EAGAIN, call):
        if call == "gethostuuid":
            inside.call(host_uuid)
        else:
            interfaces.mac("en0")
