"""The product's own modules on Apple's code: they make a pair, use it, and undo it."""

from __future__ import annotations

import argparse
import contextlib
import errno
import io
import os
import random
import time
from collections.abc import Iterator

import pytest

from fethpipe import create_feth
from fethpipe.ctl.show import list_names
from fethpipe.ctl.show import status as show_status
from fethpipe.device import Device
from fethpipe.errors import DeviceError, NotAllowedError
from fethpipe.netif.darwin import DarwinInterfaces, interface_names
from fethpipe.provision.feth import (
    check_feth,
    destroy_feth,
    open_feth_device,
    provision_feth,
    set_link,
)
from fethpipe.provision.request import DeviceRequest, Provisioned
from tests.darwin.layouts import REQUEST
from tests.darwin.rig import IO, PRIMARY
from tests.patience import PATIENCE
from tests.xnu.child import on_apples_code
from tests.xnu.inside import Mac
from tests.xnu.play import Player, frame

WAYS = (None, "ndrv", "bpf")


class Pair:
    """A pair that the product made and opened, and what it looks like from the primary side."""

    def __init__(self, **options: object) -> None:
        self.made: list[str] = []
        request = DeviceRequest(**options)  # type: ignore[arg-type]
        self.provisioned: Provisioned = provision_feth(request, self.made.append)
        self.device: Device = open_feth_device(self.provisioned)
        self.player = Player()
        self.player.reader("far", 0, self.provisioned.interface)

    def arrived(self) -> list[int]:
        """Return the lengths of the frames that have come to the primary side."""
        try:
            return [length for _, _, _, length, _ in self.player.read("far")]
        except BlockingIOError:
            return []


@on_apples_code
def test_a_pair_is_made_and_destroyed(mac: Mac) -> None:
    pair = Pair(mtu=9000, mac=bytes.fromhex("0200000000aa"), metric=3)
    assert pair.made == [PRIMARY, IO]
    assert pair.provisioned[:4] == (PRIMARY, IO, bytes.fromhex("0200000000aa"), 9000)
    check_feth(pair.provisioned)()
    pair.device.close()
    for name in pair.made:
        destroy_feth(name)
    assert mac.kernel.names() == []


@on_apples_code
def test_a_failed_start_leaves_nothing(mac: Mac) -> None:
    mac.kernel.become(root=False)
    with pytest.raises(NotAllowedError):
        Pair()
    mac.kernel.become(root=True)
    with pytest.raises(DeviceError, match="cannot set the MTU of feth10000 to 71"):
        Pair(mtu=71)
    assert mac.kernel.names() == []


@on_apples_code
def test_another_unit_is_taken_when_one_exists(mac: Mac) -> None:
    Player().create(IO)
    assert Pair().made == ["feth10001", "feth20001"]
    with pytest.raises(DeviceError, match="already exists"):
        Pair(name="feth10001")


@on_apples_code
def test_frames_pass_both_ways_whole_and_in_order(mac: Mac) -> None:
    for inject in WAYS:
        pair = Pair(inject=inject)
        chance = random.Random(1)
        for _ in range(20):
            sizes = [chance.randint(14, 1514) for _ in range(chance.randint(1, 80))]
            pair.device.write_frames([frame(size) for size in sizes])
            assert pair.arrived() == sizes
            for size in sizes:
                pair.player.write("far", size)
            assert [len(each) for each in pair.device.read_frames()] == sizes
        assert (pair.device.counters.drops, pair.device.kernel_drops()) == ({}, 0)
        pair.device.close()
        pair.player.close("far")


@on_apples_code
def test_a_link_that_is_cut_and_comes_back(mac: Mac) -> None:
    pair = Pair()
    with DarwinInterfaces() as interfaces:
        before = interfaces.status(PRIMARY)
        assert (before.active, before.peer) == (True, IO)
        for _ in range(2):  # what is so already is no error
            set_link(pair.provisioned, False)
        assert interfaces.status(PRIMARY) == before._replace(active=False, peer="")
        pair.player.write("far", 60)
        for _ in range(2):
            set_link(pair.provisioned, True)
        assert interfaces.status(PRIMARY) == before
    pair.player.write("far", 61)
    assert [len(each) for each in pair.device.read_frames()] == [61]
    pair.device.write_frames([frame(62)])
    assert pair.arrived() == [62]


@on_apples_code
def test_an_interface_that_goes_is_told(mac: Mac) -> None:
    pair = Pair()
    pair.player.write("far", 60)
    pair.player.destroy(IO)
    assert [len(each) for each in pair.device.read_frames()] == [60]
    with pytest.raises(DeviceError, match="feth10000 has gone: ENXIO"):
        pair.device.read_frames()
    with pytest.raises(DeviceError, match="feth10000 has gone: ENXIO"):
        pair.device.write_frames([frame(60)])
    with pytest.raises(DeviceError, match="ENXIO"):
        check_feth(pair.provisioned)()


# ---- a feth that is still being destroyed ----


@contextlib.contextmanager
def _detaching(mac: Mac) -> Iterator[pytest.MonkeyPatch]:
    """Destroy a feth, and let the kernel finish that only when somebody sleeps."""
    Player().create(PRIMARY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "sleep", lambda seconds: mac.kernel.thaw())
        mac.kernel.freeze()
        Player().destroy(PRIMARY)
        assert mac.kernel.names() == []
        yield patch


@on_apples_code
def test_the_next_unit_is_taken_while_one_is_being_destroyed(mac: Mac) -> None:
    with _detaching(mac):
        assert Pair().made == ["feth10001", "feth20001"]


@on_apples_code
def test_a_unit_that_was_asked_for_is_waited_for(mac: Mac) -> None:
    with _detaching(mac):
        assert Pair(name=PRIMARY).made == [PRIMARY, IO]


@on_apples_code
def test_the_library_waits_for_it_too(mac: Mac) -> None:
    with _detaching(mac):
        assert create_feth(10000).name == PRIMARY


@on_apples_code
def test_it_is_not_waited_for_for_ever(mac: Mac) -> None:
    with _detaching(mac) as patch:
        patch.setattr(time, "sleep", lambda seconds: None)
        with pytest.raises(DeviceError, match="feth10000: it is still being destroyed"):
            Pair(name=PRIMARY)
        mac.kernel.thaw()


# ---- batches ----


@on_apples_code
def test_batches_go_on_after_what_the_kernel_refuses(mac: Mac) -> None:
    """Where there are none, AF_NDRV sends: it does not look at the MTU."""
    pair = Pair(inject="bpf")
    batches = len(pair.provisioned.descriptors) == 3
    pair.device.write_frames([frame(60), frame(1519), frame(61)])
    assert pair.arrived() == ([60, 61] if batches else [60, 1519, 61])
    pair.player.down(IO)
    pair.device.write_frames([frame(60), frame(60)])
    pair.player.up(IO)
    pair.device.write_frames([frame(62)] * 50)
    assert pair.arrived() == [62] * 50
    drops = {"interface down": 2, **({"too long for the device": 1} if batches else {})}
    assert dict(pair.device.counters.drops) == drops
    assert pair.device.counters.frames_sent == (52 if batches else 53)


@on_apples_code
def test_a_bpf_that_takes_less_than_the_mtu_is_left_for_good(mac: Mac) -> None:
    """AF_NDRV takes what it refuses."""
    real = mac.kernel.bpf_write

    def refuse_long(unit: int, data: bytes) -> int:
        if len(data) > 1000:
            raise OSError(errno.EMSGSIZE, "")
        return real(unit, data)

    pair = Pair(inject="bpf")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mac.kernel, "bpf_write", refuse_long)
        pair.device.write_frames([frame(1514)])
        assert pair.arrived() == [1514]
        pair.device.write_frames([frame(size) for size in (60, 1000, 1514)])
    assert pair.arrived() == [60, 1000, 1514]
    assert (pair.device.counters.frames_sent, dict(pair.device.counters.drops)) == (4, {})


@on_apples_code
def test_batches_are_the_default_from_macos_14_1(mac: Mac) -> None:
    pair = Pair()
    batches = int(os.uname().release.partition(".")[0]) >= 23
    assert len(pair.provisioned.descriptors) == (3 if batches else 2)
    assert pair.device.read_frames() == []  # the test frames are gone


@on_apples_code
def test_what_the_queue_of_a_feth_drops_nobody_is_told(mac: Mac) -> None:
    """Counted as sent: no answer of the kernel says otherwise."""
    pair = Pair(inject="ndrv")
    mac.kernel.freeze()
    pair.device.write_frames([frame(60)] * 3000)
    mac.kernel.thaw()
    arrived, deadline = 0, time.monotonic() + PATIENCE
    while arrived < 2048 and time.monotonic() < deadline:
        arrived += len(pair.arrived())
    assert 2048 <= arrived < 3000
    assert (pair.device.counters.frames_sent, dict(pair.device.counters.drops)) == (3000, {})


# ---- settings of the Mac ----


@on_apples_code
def test_no_feth_is_made_where_a_setting_alters_its_frames(mac: Mac) -> None:
    found = 0
    for name in ("hwcsum", "tso_support", "lro", "fcs", "trailer_length", "separate_frame_header"):
        try:
            mac.kernel.sysctl(name, 1)
        except FileNotFoundError:  # an older one
            continue
        found += 1
        for make in (Pair, create_feth):
            with pytest.raises(DeviceError, match=f"net.link.fake.{name} is not 0"):
                make()
        mac.kernel.sysctl(name, 0)
    assert found
    assert Pair().made == [PRIMARY, IO]


# ---- interfaces of others ----


@on_apples_code
def test_an_interface_that_refuses_hides_no_other(mac: Mac) -> None:
    pair = Pair()
    Player().create("feth7")
    mac.kernel.make_odd("feth7")
    with DarwinInterfaces() as interfaces:
        for question in (interfaces.largest_mtu, interfaces.peer, interfaces.active):
            with pytest.raises(OSError, match="not supported"):
                question("feth7")
        facts = {name: interfaces.status(name) for name in interface_names()}
    assert facts.keys() == {"feth7", *pair.made}
    odd, whole = facts["feth7"], facts[PRIMARY]
    assert (odd.largest_mtu, odd.peer, odd.active, odd.mtu) == (None, "", None, 1500)
    assert (whole.largest_mtu is not None, whole.peer, whole.active) == (True, IO, True)
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        list_names(argparse.Namespace())
        show_status(argparse.Namespace(name=None, json=False))
    lines = told.getvalue().splitlines()
    assert lines[:3] == ["feth7", PRIMARY, IO]
    assert [line.split(":")[0] for line in lines[3:] if line[0] != "\t"] == lines[:3]
    check_feth(pair.provisioned)()
    assert provision_feth(DeviceRequest(), lambda name: None).interface == "feth10001"


# ---- attaching ----


@on_apples_code
def test_attaching_sets_the_mac_while_the_link_is_down(mac: Mac) -> None:
    """IPConfiguration reads the MAC when the link becomes active."""
    first = Pair()
    first.device.close()
    requests: list[int] = []
    real = mac.kernel.ioctl

    def noting(request: int, argument: object) -> None:
        requests.append(request)
        real(request, argument)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mac.kernel, "ioctl", noting)
        second = provision_feth(
            DeviceRequest(name=PRIMARY, attach=True, mac=bytes.fromhex("0200000000ab")),
            first.made.append,
        )
    set_flags, set_mac = REQUEST["SIOCSIFFLAGS"], REQUEST["SIOCSIFLLADDR"]
    assert [each for each in requests if each in (set_flags, set_mac)] == [
        set_flags,
        set_mac,
        set_flags,
    ]
    assert (second.mac.hex(), second.up) == ("0200000000ab", True)
