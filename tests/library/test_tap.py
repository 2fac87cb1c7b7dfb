"""A TAP, and any Ethernet interface of Linux, through the same library."""

from __future__ import annotations

import os
import select
from concurrent.futures import ThreadPoolExecutor

import pytest

from fethpipe import (
    DeviceError,
    EthernetDevice,
    UsageError,
    attach_device,
    create_device,
    join,
    open_far_end,
    open_interface,
)
from tests.live.ethernet import PacketSocket, make_frame
from tests.live.netns import Namespace
from tests.patience import PATIENCE

pytestmark = pytest.mark.live

FRAMES = [make_frame(number, size=60 + number) for number in range(10)]


def _receive(device: EthernetDevice, count: int) -> list[bytes]:
    return [device.receive(PATIENCE) for _ in range(count)]


def _lay_cable(namespace: Namespace) -> None:
    """Make a pair of veth, va and vb, and bring both up."""
    namespace.run(["ip", "link", "add", "va", "type", "veth", "peer", "name", "vb"])
    for name in ("va", "vb"):
        namespace.run(["ip", "link", "set", name, "up"])
    for name in ("va", "vb"):
        namespace.wait_up(name)


def test_a_tap_is_made_and_goes(left: Namespace) -> None:
    with left.entered():
        device = create_device("fp9", addresses=["10.0.0.1/24"], mac="02:00:5e:00:53:01", mtu=1400)
    with device, PacketSocket(left, "fp9") as stack:
        assert (device.name, device.io_interface) == ("fp9", None)
        assert "mtu 1400" in left.run(["ip", "link", "show", "fp9"])
        assert "10.0.0.1/24" in left.run(["ip", "address", "show", "dev", "fp9"])
        for frame in FRAMES:
            stack.send(frame)
        assert _receive(device, len(FRAMES)) == FRAMES
        assert device.send_batch(FRAMES) == len(FRAMES)
        assert device.send_vectored([FRAMES[0][:14], memoryview(FRAMES[0])[14:]])
        assert [stack.receive() for _ in range(11)] == [*FRAMES, FRAMES[0]]
        assert select.select([device], [], [], 0)[0] == []
        assert device.counters.frames_sent == 11
    assert "fp9" not in left.interfaces()


def test_an_attached_tap_stays(left: Namespace) -> None:
    left.run(["ip", "tuntap", "add", "dev", "tap7", "mode", "tap"])
    with left.entered(), attach_device("tap7", mtu=1300), pytest.raises(DeviceError, match="EBUSY"):
        attach_device("tap7")
    assert "mtu 1300" in left.run(["ip", "link", "show", "tap7"])


def test_the_far_end_of_a_tap_is_its_descriptor_if_nobody_has_it(left: Namespace) -> None:
    left.make_tap("tap7")
    with left.entered(), open_far_end("tap7") as first, open_far_end("tap7") as second:
        first.send(FRAMES[0])  # into the stack, beside which the second one listens
        assert second.receive(PATIENCE) == FRAMES[0]
        second.send(FRAMES[1])
        assert first.receive(PATIENCE) == FRAMES[1]


def test_frames_of_any_interface(left: Namespace) -> None:
    _lay_cable(left)
    tagged = make_frame(7, tag=bytes.fromhex("81000005"))
    with left.entered(), open_interface("va") as va, open_interface("vb", see_sent=True) as vb:
        va.send_batch([*FRAMES, tagged])
        assert _receive(vb, 11) == [*FRAMES, tagged]
        assert va.receive_batch(0) == []  # nobody gets what he sends himself
        assert vb.send_vectored([tagged[:6], tagged[6:]])
        assert va.receive(PATIENCE) == tagged
        with PacketSocket(left, "vb") as other:
            other.send(FRAMES[0])
        assert va.receive(PATIENCE) == vb.receive(PATIENCE) == FRAMES[0]
        assert va.send(make_frame(1, size=2000)) is False
        left.run(["ip", "link", "set", "vb", "down"])
        left.run(["ip", "link", "set", "vb", "up"])
        left.run(["ip", "link", "delete", "va"])
        for device in (va, vb):
            with pytest.raises(DeviceError, match="has gone"):
                _receive(device, 1000)


@pytest.mark.parametrize("function", [attach_device, open_far_end, open_interface])
@pytest.mark.parametrize(
    ("name", "kind", "reason"),
    [
        ("nowhere", DeviceError, "does not exist"),
        ("sixteen-bytes-ab", UsageError, "an interface name has at most 15 bytes"),
        ("tun7", DeviceError, "it is not a(n Ethernet interface| TAP)"),
    ],
)
def test_what_cannot_be_opened_is_refused(
    left: Namespace, function: object, name: str, kind: type[Exception], reason: str
) -> None:
    left.run(["ip", "tuntap", "add", "dev", "tun7", "mode", "tun"])
    assert callable(function)
    before = os.listdir("/dev/fd")
    with left.entered(), pytest.raises(kind, match=reason):
        function(name)
    assert len(os.listdir("/dev/fd")) == len(before)


def test_devices_are_joined_as_by_a_hub(left: Namespace) -> None:
    with left.entered():
        devices = [create_device(mtu=mtu) for mtu in (1500, 1500, 1500)]
        sockets = [PacketSocket(left, device.name) for device in devices]
    with ThreadPoolExecutor(1) as pool:
        joined = pool.submit(join, *devices)
        for number, speaker in enumerate(sockets):
            speaker.send(make_frame(number))
            for other in sockets:
                if other is not speaker:
                    assert other.receive() == make_frame(number)
        left.run(["ip", "link", "delete", devices[0].name])
        with pytest.raises(DeviceError, match="fp0 has gone"):
            joined.result(PATIENCE)
    for device, stack in zip(devices, sockets):
        device.close()
        stack.close()


def test_one_device_alone_is_joined_to_nothing(left: Namespace) -> None:
    with left.entered():
        device = create_device()
    with device, pytest.raises(UsageError, match="two devices or more"):
        join(device)
