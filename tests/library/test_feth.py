"""feth interfaces through the library, on the simulated Mac."""

from __future__ import annotations

import errno
import sys
from itertools import islice
from typing import Any

import pytest

from fethpipe import (
    DeviceError,
    EthernetDevice,
    Feth,
    FethPair,
    NotAllowedError,
    Side,
    UsageError,
    attach_device,
    create_device,
    create_feth,
    create_pair,
    open_interface,
)
from tests.darwin.inside import Inside
from tests.darwin.simulation import SimulatedDarwin
from tests.live.ethernet import PacketSocket, make_frame
from tests.live.netns import Namespace
from tests.patience import PATIENCE

pytestmark = pytest.mark.live

MAC = "02:00:5e:00:53:01"


# ---- run on the Mac ----


def leave_block(thing: Any) -> None:
    with thing:
        pass


def io_device(pair: FethPair) -> EthernetDevice:
    return pair.open()


def create_device_with(name: str, options: dict[str, Any]) -> EthernetDevice:
    return create_device(name, **options)


def iterate(device: EthernetDevice, count: int) -> list[bytes]:
    return list(islice(device, count))


def names_of(device: EthernetDevice) -> tuple[str, str | None]:
    return device.name, device.io_interface


def drops_of(device: EthernetDevice) -> dict[str, int]:
    return dict(device.counters.drops)


# ---- make, join, configure, destroy ----


def test_a_pair_is_made_in_one_call(inside: Inside, darwin: SimulatedDarwin) -> None:
    side = Side(addresses=("10.0.0.1/24", "fd00::1/64"), mac=MAC, mtu=9000, metric=3)
    other = Side(addresses=("10.0.1.1/24",), mtu=9000, up=False)
    pair = inside.make(create_pair, 0, side, 101, other)
    primary, io = darwin.interfaces()["feth0"], darwin.interfaces()["feth101"]
    assert (primary.peer, io.peer) == ("feth101", "feth0")
    assert (primary.mac, primary.mtu, primary.metric) == (MAC, 9000, 3)
    assert {"10.0.0.1/24", "fd00::1/64"} <= set(primary.addresses)
    assert (primary.running, io.up, io.mtu) == (True, False, 9000)
    inside.call(leave_block, pair)
    assert darwin.interfaces() == {}


def test_a_pair_needs_nothing_but_itself(inside: Inside, darwin: SimulatedDarwin) -> None:
    pair = inside.make(create_pair)
    assert {name: each.peer for name, each in darwin.interfaces().items()} == {
        "feth0": "feth1",
        "feth1": "feth0",
    }
    pair.close()
    pair.close()
    assert darwin.interfaces() == {}


def test_a_pair_is_made_step_by_step(inside: Inside, darwin: SimulatedDarwin) -> None:
    primary, io = inside.make(create_feth, 0), inside.make(create_feth, 101)
    primary.set_peer("feth101")
    primary.set_peer("feth101")  # as it is already
    io.set_peer("feth0")
    assert (primary.peer(), io.peer()) == ("feth101", "feth0")
    primary.set_mac(bytes.fromhex("02005e005301"))
    primary.set_mtu(2000)
    primary.set_metric(4)
    primary.add_address("10.0.0.1/24")
    io.set_up()
    status = primary.status()
    assert (status.mac.hex(":"), status.mtu, status.metric) == (MAC, 2000, 4)
    assert (status.peer, status.up, status.active) == ("feth101", True, True)
    assert list(map(str, status.addresses)) == ["10.0.0.1/24"]
    primary.remove_address("10.0.0.1/24")
    primary.add_address("10.0.0.2/24")
    primary.remove_addresses()
    primary.set_up(up=False)
    primary.remove_peer()
    primary.remove_peer()
    status = primary.status()
    assert (status.addresses, status.up, status.peer) == ((), False, "")
    primary.destroy()
    inside.call(leave_block, io)
    assert darwin.interfaces() == {}


def test_only_what_was_made_here_goes_with_the_block(
    inside: Inside, darwin: SimulatedDarwin
) -> None:
    darwin.create("feth1")
    inside.call(leave_block, inside.make(Feth, "feth1"))
    assert list(darwin.interfaces()) == ["feth1"]
    made = inside.make(create_feth, 2)
    darwin.destroy("feth2")
    darwin.create("feth2")  # somebody else's, of the same name
    inside.call(leave_block, made)
    assert list(darwin.interfaces()) == ["feth1", "feth2"]


def test_a_pair_that_cannot_be_leaves_nothing(inside: Inside, darwin: SimulatedDarwin) -> None:
    darwin.fail("SIOCSIFLLADDR", errno.EBUSY)
    with pytest.raises(DeviceError, match=r"cannot set the MAC of feth0 .* SIOCSIFLLADDR: EBUSY"):
        inside.call(create_pair, 0, Side(mac=MAC), 101)
    assert darwin.interfaces() == {}


@pytest.mark.parametrize(
    "step",
    [
        *("SIOCIFCREATE2", "SIOCSDRVSPEC", "SIOCSIFMTU", "SIOCSIFLLADDR", "SIOCSIFMETRIC"),
        *("SIOCAIFADDR", "SIOCSIFFLAGS"),
    ],
)
def test_who_is_not_root_is_told(inside: Inside, darwin: SimulatedDarwin, step: str) -> None:
    darwin.fail(step, errno.EPERM)
    side = Side(addresses=("10.0.0.1/24",), mac=MAC, mtu=1400, metric=2)
    with pytest.raises(NotAllowedError, match=f"{step}: EPERM .*; run as root"):
        inside.call(create_pair, 0, side, 101)
    assert darwin.interfaces() == {}


_CALLS: dict[str, tuple[Any, ...]] = {
    "peer": (),
    "set_peer": ("feth1",),
    "remove_peer": (),
    "set_mtu": (1400,),
    "set_mac": (MAC,),
    "set_metric": (1,),
    "add_address": ("10.0.0.1/24",),
    "remove_address": ("10.0.0.1/24",),
    "remove_addresses": (),
    "set_up": (),
    "status": (),
    "open": (),
    "destroy": (),
}


@pytest.mark.parametrize("method", _CALLS)
def test_a_missing_interface_is_named(inside: Inside, darwin: SimulatedDarwin, method: str) -> None:
    darwin.create("feth1")
    with pytest.raises(DeviceError, match=r": feth9 does not exist$"):
        getattr(inside.make(Feth, "feth9"), method)(*_CALLS[method])


@pytest.mark.parametrize("method", ["peer", "set_peer", "remove_peer"])
def test_what_is_no_feth_is_named(inside: Inside, darwin: SimulatedDarwin, method: str) -> None:
    darwin.create("feth1")
    with pytest.raises(DeviceError, match="en0 is not a feth"):
        getattr(inside.make(Feth, "en0"), method)(*_CALLS[method])
    with pytest.raises(DeviceError, match="en0 is not a feth"):
        inside.make(Feth, "feth1").set_peer("en0")


@pytest.mark.parametrize(
    ("function", "arguments", "reason"),
    [
        (Feth, ("sixteen-bytes-ab",), "an interface name has at most 15 bytes"),
        (Feth, ("",), "not an interface name"),
        (open_interface, ("sixteen-bytes-ab",), "an interface name has at most 15 bytes"),
        (create_feth, (32768,), "units go from 0 to 32767"),
        (create_feth, (-1,), "units go from 0 to 32767"),
        (create_pair, (0, Side(mtu=16371)), "72 to 16370"),
        (create_pair, (0, Side(mac="01:00:00:00:00:00")), "a multicast address"),
        (
            create_pair,
            (0, Side(addresses=("10.0.0.300/24",))),
            "not an IP address with a prefix length",
        ),
        (create_device, ("fp0",), "fp0 is not a feth name"),
    ],
)
def test_what_cannot_be_is_refused(
    inside: Inside, darwin: SimulatedDarwin, function: Any, arguments: Any, reason: str
) -> None:
    with pytest.raises((UsageError, DeviceError), match=reason) as raised:
        inside.call(function, *arguments)
    assert isinstance(raised.value, UsageError)
    assert darwin.interfaces() == {}


def test_destroying_may_be_for_root_alone(inside: Inside, darwin: SimulatedDarwin) -> None:
    darwin.create("feth1")
    darwin.fail("SIOCIFDESTROY", errno.EPERM)
    with pytest.raises(NotAllowedError, match=r"SIOCIFDESTROY: EPERM .*; run as root"):
        inside.make(Feth, "feth1").destroy()


def test_an_mtu_that_it_was_not_made_for_is_told(inside: Inside) -> None:
    feth = inside.make(create_feth, 5)
    with pytest.raises(DeviceError, match="it was made for at most 2048"):
        feth.set_mtu(9000)


# ---- frames ----


def test_frames_go_both_ways(inside: Inside, left: Namespace) -> None:
    device = inside.make(io_device, inside.make(create_pair, 0, Side(), 101))
    frames = [make_frame(number, size=60 + number) for number in range(20)]
    with PacketSocket(left, "feth0") as stack:
        assert device.receive_batch(0) == []
        with pytest.raises(TimeoutError):
            device.receive(0.01)
        for frame in frames:
            stack.send(frame)
        assert [device.receive(PATIENCE) for _ in frames[:5]] == frames[:5]
        found = device.receive_batch(PATIENCE)
        while len(found) < 15:
            found += device.receive_batch(PATIENCE)
        assert found == frames[5:]
        for frame in frames[:3]:
            stack.send(frame)
        assert inside.call(iterate, device, 3) == frames[:3]

        assert device.send(frames[0]) is True
        assert device.send_batch(frames[1:]) == 19
        assert device.send_vectored([frames[0][:6], bytearray(frames[0][6:14]), frames[0][14:]])
        assert [stack.receive() for _ in range(21)] == [*frames, frames[0]]


def test_what_the_kernel_refuses_is_counted(inside: Inside, darwin: SimulatedDarwin) -> None:
    device = inside.make(io_device, inside.make(create_pair, 0, Side(), 101))
    darwin.fail("ndrv_write", errno.EMSGSIZE)
    assert device.send(make_frame(1)) is False
    assert inside.call(drops_of, device) == {"too long for the device": 1}
    darwin.fail("ndrv_write", errno.ENETDOWN, times=2)
    assert device.send_batch([make_frame(1)] * 3) == 1
    darwin.fail("ndrv_write", errno.ENETDOWN)
    assert device.send_vectored([make_frame(1)]) is False
    assert device.kernel_drops() == 0


def test_a_closed_device_does_nothing(inside: Inside) -> None:
    device = inside.make(io_device, inside.make(create_pair, 0, Side(), 101))
    device.close()
    device.close()
    for method, arguments in (
        ("receive", ()),
        ("receive_batch", ()),
        ("send", (make_frame(1),)),
        ("send_batch", ([],)),
        ("send_vectored", ([],)),
        ("fileno", ()),
        ("kernel_drops", ()),
    ):
        with pytest.raises(DeviceError, match="feth101 is closed"):
            getattr(device, method)(*arguments)


@pytest.mark.parametrize("call", ["BIOCSETIF", "socket", "bind"])
def test_an_interface_that_cannot_be_opened_costs_nothing(
    inside: Inside, darwin: SimulatedDarwin, call: str
) -> None:
    darwin.create("feth1")
    darwin.fail(call, errno.EPERM)
    with pytest.raises(NotAllowedError, match=f"{call}: EPERM"):
        inside.call(open_interface, "feth1")
    assert inside.make(open_interface, "feth1").receive_batch(0) == []


def test_a_device_is_made_whole_and_goes_whole(
    inside: Inside, left: Namespace, darwin: SimulatedDarwin
) -> None:
    options = {"addresses": ["10.0.0.1/24"], "mtu": 4000, "mac": MAC}
    device = inside.make(create_device_with, "feth7", options)
    assert inside.call(names_of, device) == ("feth7", "feth10007")
    assert darwin.interfaces()["feth7"].mac == MAC
    attached = inside.make(attach_device, "feth7")
    attached.close()
    assert sorted(darwin.interfaces()) == ["feth10007", "feth7"]
    with PacketSocket(left, "feth7") as stack:
        assert device.send(make_frame(1))
        assert stack.receive() == make_frame(1)
    device.close()
    assert darwin.interfaces() == {}


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
def test_linux_has_no_feth() -> None:
    for call in (lambda: create_feth(0), create_pair, Feth("feth0").status):
        with pytest.raises(UsageError, match="this needs macOS, but this is Linux"):
            call()
