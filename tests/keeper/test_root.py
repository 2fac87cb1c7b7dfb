"""The keeper against pumps that behave, and against one that somebody else has taken over."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import json
import os
import select
import socket
import struct
import sys
import tempfile
from array import array
from collections.abc import Callable, Iterator
from ipaddress import IPv4Interface, ip_interface
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fethpipe import provision
from fethpipe.abi.address import IPInterface
from fethpipe.device import Device
from fethpipe.errors import DeviceError, NotAllowedError, SystemFailureError, UsageError
from fethpipe.keeper import dhcp, messages
from fethpipe.keeper import root as keeper_module
from fethpipe.keeper.client import KeeperProcess, fork_keeper
from fethpipe.keeper.dhcp import AddressLease
from fethpipe.keeper.ledger import Entry, Ledger, open_folder
from fethpipe.keeper.messages import (
    Later,
    pack_change,
    pack_provisioned,
    pack_request,
    unpack_provisioned,
)
from fethpipe.keeper.root import Keeper, reap
from fethpipe.provision.kind import Kind
from fethpipe.provision.request import (
    KINDS,
    Change,
    DeviceRequest,
    MadeHook,
    Provisioned,
    VmnetFacts,
)
from fethpipe.system.channel import Channel, ChannelClosedError, Message
from tests.patience import PATIENCE
from tests.strategies import interfaces as addresses
from tests.strategies import macs

KIND = "tap"
ADDRESS = ip_interface("10.9.0.1/24")


class FakeKernel:
    """Interfaces with indexes, and a kind of device on them that is strict with its caller.

    What is made holds ``fake0``, or the name that was asked for, and that name's ``io``.
    """

    def __init__(self) -> None:
        self.interfaces = {"eth0": 1, "other": 2}
        self.macs: dict[str, bytes] = {}
        self.changes: list[Change] = []
        self.lost: set[IPInterface] = set()
        self.links: list[tuple[str, bool]] = []
        self.provisioned: list[DeviceRequest] = []
        self.failing: Exception | None = None
        self.resisting = False
        self.on_made_called: Callable[[], object] = lambda: None
        self._next_index = 10

    def kind(self, *, lasting: bool = True) -> Kind:
        system = os.uname().sysname
        return Kind(
            KIND,
            system,
            range(68, 9001),
            self._provision,
            self._change,
            _open,
            self._destroy,
            lasting=lasting,
            mac=self.mac,
            find_lost=lambda device: tuple(self.lost & set(device.addresses)),
            set_link=lambda device, up: self.links.append((device.interface, up)),
        )

    def index(self, name: str) -> int:
        return self.interfaces.get(name, 0)

    def mac(self, name: str) -> bytes:
        return self.macs[name] if name in self.interfaces else b""

    def add(self, name: str) -> None:
        assert name not in self.interfaces
        self.interfaces[name] = self._next_index
        self.macs[name] = bytes.fromhex("0200000000") + bytes([self._next_index])
        self._next_index += 1

    def _provision(self, request: DeviceRequest, on_made: MadeHook) -> Provisioned:
        _check_request(request)
        name = request.name or "fake0"
        made = () if request.attach else (name, f"{name}io")
        if request.attach and name not in self.interfaces:
            raise DeviceError(f"cannot attach to {name}: it does not exist")
        for each in made:
            if each in self.interfaces:
                raise DeviceError(f"cannot create {each}: it already exists", hint="choose another")
            self.add(each)
            on_made(each)
            self.on_made_called()
        if self.failing:
            raise self.failing
        self.provisioned.append(request)
        reader, writer = os.pipe()
        os.write(writer, b"frame")
        os.close(writer)
        return Provisioned(
            interface=name,
            io_interface=f"{name}io",
            mac=request.mac or bytes.fromhex("020000000001"),
            mtu=request.mtu or 1500,
            addresses=request.addresses,
            up=True,
            descriptors=(reader,),
        )

    def _change(self, device: Provisioned, change: Change) -> None:
        assert self.provisioned
        assert device.interface == (self.provisioned[0].name or "fake0")
        assert all(_is_address(address) for address in (*change.add, *change.remove))
        assert change.mtu is None or 0 <= change.mtu < 1 << 31
        if ADDRESS in change.remove:
            raise DeviceError(f"cannot remove {ADDRESS}: EADDRNOTAVAIL")
        self.changes.append(change)

    def _destroy(self, name: str) -> None:
        if self.resisting:
            raise DeviceError(f"cannot destroy {name}: EBUSY")
        assert name not in ("eth0", "other")
        del self.interfaces[name]


def _open(provisioned: Provisioned) -> Device:
    raise AssertionError("the keeper moves no frames")


def _check_request(request: DeviceRequest) -> None:
    """Fail unless every field is what its type and the command line allow."""
    assert request.name is None or (1 <= len(request.name) <= 15 and request.name.isascii())
    assert type(request.attach) is bool
    assert all(_is_address(address) for address in request.addresses)
    assert request.mac is None or (len(request.mac) == 6 and not request.mac[0] & 1)
    assert request.mtu is None or 68 <= request.mtu <= 9000
    assert request.metric is None or 0 <= request.metric < 1 << 31
    assert request.inject in (None, "ndrv", "bpf")


def _is_address(address: object) -> bool:
    return "/" in str(address) and "%" not in str(address) and address == ip_interface(str(address))


class Running:
    """A keeper in a thread, and the socket of its pump."""

    def __init__(self, kernel: FakeKernel, folder: Path, *, later: Later | None = "change") -> None:
        self.kernel = kernel
        self._later = later
        self.folder = folder
        self.socket, its = socket.socketpair()
        self.socket.settimeout(PATIENCE)
        self.pump = KeeperProcess(Channel(self.socket))
        self._channel = Channel(its)
        self._failure: list[BaseException] = []
        self._thread = Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        try:
            with contextlib.closing(self._channel):
                Keeper(
                    self._channel,
                    later=self._later,
                    open_ledgers=lambda: open_folder(str(self.folder)),
                ).serve()
        except BaseException as error:  # noqa: BLE001 - to be shown by the test
            self._failure.append(error)

    def ledgers(self) -> str:
        """Return what all ledgers say."""
        return "".join(path.read_text() for path in self.folder.glob("*"))

    def say(self, payload: bytes, *, length: int | None = None, rights: int = 0) -> None:
        """Send a message with anything in it."""
        data = struct.pack(">I", len(payload) if length is None else length) + payload
        own = array("i", [self.socket.fileno()] * rights)
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, own)] if rights else []
        sent = self.socket.sendmsg([data], ancillary)
        self.socket.sendall(data[sent:])

    def ask(self, message: object) -> Message:
        """Return the answer to a message; descriptors are closed."""
        self.say(json.dumps(message).encode())
        return self.answer()

    def answer(self) -> Message:
        """Return the next answer; descriptors are closed."""
        answer, descriptors = Channel.receive(self.pump.channel, descriptors=True)
        for descriptor in descriptors:
            os.close(descriptor)
        return answer

    def end(self) -> None:
        """Let the pump die, and wait for the keeper, which must not have failed."""
        self.socket.close()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the keeper did not end"
        if self._failure:
            raise self._failure[0]


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> FakeKernel:
    kernel = FakeKernel()
    _install(monkeypatch, kernel)
    return kernel


def _install(monkeypatch: pytest.MonkeyPatch, kernel: FakeKernel) -> None:
    monkeypatch.setitem(KINDS, KIND, os.uname().sysname)
    module = SimpleNamespace(KIND=kernel.kind())
    monkeypatch.setitem(sys.modules, f"{provision.__name__}.{KIND}", module)
    monkeypatch.setattr(keeper_module, "interface_index", kernel.index)


@pytest.fixture
def running(kernel: FakeKernel, tmp_path: Path) -> Iterator[Running]:
    running = Running(kernel, tmp_path / "ledgers")
    yield running
    running.end()


def request(**values: Any) -> Message:
    return pack_request(KIND, DeviceRequest(**values))


# ---- a pump that behaves ----


def test_the_device_comes_with_its_facts_and_descriptors(running: Running) -> None:
    wanted = DeviceRequest(name="fp7", addresses=(ADDRESS,), mtu=1400, metric=3, inject="bpf")
    device = running.pump.provision(KIND, wanted)
    assert running.kernel.provisioned == [wanted]
    (descriptor,) = device.descriptors
    assert os.read(descriptor, 100) == b"frame"
    assert os.read(descriptor, 100) == b""  # nobody else holds the other end
    os.close(descriptor)
    assert device._replace(descriptors=()) == Provisioned(
        "fp7", "fp7io", bytes.fromhex("020000000001"), 1400, (ADDRESS,), True, ()
    )


def test_the_keeper_lets_go_of_the_descriptors(running: Running) -> None:
    before = os.listdir("/dev/fd")
    device = running.pump.provision(KIND, DeviceRequest())
    running.pump.change(Change())  # so the keeper is past the first answer
    for descriptor in device.descriptors:
        os.close(descriptor)
    opened = set(os.listdir("/dev/fd")) - set(before)
    assert len(opened) == 2  # the folder of ledgers, and the ledger


@given(
    name=st.none() | st.text("abcz0189%_-.", min_size=1, max_size=15),
    attach=st.booleans(),
    addresses=st.lists(addresses(), max_size=64).map(tuple),
    mac=st.none() | macs(),
    mtu=st.none() | st.integers(0, 2**31 - 1),
    metric=st.none() | st.integers(0, 2**31 - 1),
    inject=st.sampled_from([None, "ndrv", "bpf"]),
)
def test_a_request_arrives_as_it_was_meant(**values: Any) -> None:
    wanted = DeviceRequest(**values)
    message = json.loads(json.dumps(pack_request(KIND, wanted)))
    assert messages.unpack_request(message) == (KIND, wanted)


@given(
    add=st.lists(addresses(), max_size=64).map(tuple),
    remove=st.lists(addresses(), max_size=64).map(tuple),
    mtu=st.none() | st.integers(0, 2**31 - 1),
)
def test_a_change_arrives_as_it_was_meant(**values: Any) -> None:
    wanted = Change(**values)
    message = json.loads(json.dumps(pack_change(wanted)))
    assert messages.unpack_change(message) == wanted


def test_what_was_attached_to_stays(running: Running) -> None:
    running.ask(request(name="other", attach=True))
    running.end()
    assert running.kernel.interfaces == {"eth0": 1, "other": 2}


def test_changes_are_made_and_their_failures_told(running: Running) -> None:
    running.ask(request())
    change = Change(add=(IPv4Interface("10.9.0.2/24"),), mtu=1400)
    running.pump.change(change)
    assert running.kernel.changes == [change]
    with pytest.raises(DeviceError, match="EADDRNOTAVAIL"):
        running.pump.change(Change(remove=(ADDRESS,)))


@pytest.mark.parametrize(
    "failure",
    [
        DeviceError("cannot make it", hint="do that"),
        NotAllowedError("not you", hint="be root"),
        UsageError("no such thing"),
    ],
)
def test_a_failure_is_told_as_what_it_is(running: Running, failure: Exception) -> None:
    running.kernel.failing = failure
    with pytest.raises(type(failure)) as caught:
        running.pump.provision(KIND, DeviceRequest())
    assert str(caught.value) == str(failure)
    assert type(caught.value) is type(failure)


def test_a_module_that_cannot_be_loaded_is_told(running: Running) -> None:
    running.kernel.failing = ImportError("libcrypto.so: cannot map it")
    with pytest.raises(SystemFailureError) as caught:
        running.pump.provision(KIND, DeviceRequest())
    assert str(caught.value) == "cannot load the program: libcrypto.so: cannot map it"


def test_a_failure_leaves_nothing_and_another_attempt_may_follow(running: Running) -> None:
    for _ in range(3):
        running.kernel.failing = DeviceError("cannot make it")
        with pytest.raises(DeviceError):
            running.pump.provision(KIND, DeviceRequest())
        assert running.kernel.interfaces == {"eth0": 1, "other": 2}
        assert list(running.folder.iterdir()) == []
    running.kernel.failing = None
    assert "device" in running.ask(request())
    assert len(list(running.folder.iterdir())) == 1


def test_a_keeper_that_has_gone_is_told() -> None:
    ours, its = socket.socketpair()
    its.close()
    pump = KeeperProcess(Channel(ours))
    with pytest.raises(SystemFailureError, match="the keeper does not answer"):
        pump.provision(KIND, DeviceRequest())
    pump.close()
    pump.close()


def test_the_end_of_the_pump_is_the_end_of_the_keeper(running: Running) -> None:
    running.ask(request())
    running.pump.close()
    assert running.kernel.interfaces == {"eth0": 1, "other": 2}


def test_a_keeper_that_cannot_be_started_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fork() -> int:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(os, "fork", fork)
    with pytest.raises(SystemFailureError, match="cannot start the keeper: EAGAIN"):
        fork_keeper()


# ---- the ledger ----


def test_each_interface_is_on_record_the_moment_it_is_made(running: Running) -> None:
    seen: list[str] = []
    running.kernel.on_made_called = lambda: seen.append(running.ledgers())
    running.ask(request(name="fp7"))
    first = '{"kind": "tap", "interface": "fp7", "ifindex": 10, "mac": "02000000000a"}\n'
    second = '{"kind": "tap", "interface": "fp7io", "ifindex": 11, "mac": "02000000000b"}\n'
    assert seen == [first, first + second]


def test_what_goes_by_itself_is_not_in_the_ledger(
    kernel: FakeKernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        sys.modules[f"{provision.__name__}.{KIND}"], "KIND", kernel.kind(lasting=False)
    )
    running = Running(kernel, tmp_path / "ledgers")
    running.ask(request(name="fp7"))
    assert not running.folder.exists()
    running.end()
    assert running.kernel.interfaces == {"eth0": 1, "other": 2}


def test_a_start_removes_what_a_killed_keeper_left(kernel: FakeKernel, tmp_path: Path) -> None:
    folder = tmp_path / "ledgers"
    for name in ("left0", "left1", "reused", "another"):
        kernel.add(name)
    ledger = Ledger(open_folder(str(folder)))
    ledger.add(Entry(KIND, "left0", kernel.index("left0")))
    ledger.add(Entry(KIND, "left1", kernel.index("left1"), kernel.mac("left1").hex()))
    ledger.add(Entry(KIND, "reused", 77))
    ledger.add(Entry(KIND, "another", kernel.index("another"), "020000000077"))
    ledger.add(Entry(KIND, "gone", 78))
    ledger.add(Entry("no such kind", "other", 2))
    ledger.close(keep=True)
    running = Running(kernel, folder)
    running.ask(request())
    assert set(kernel.interfaces) == {"eth0", "other", "reused", "another", "fake0", "fake0io"}
    assert len(list(folder.iterdir())) == 1
    running.end()
    assert list(folder.iterdir()) == []


def test_a_mac_that_somebody_changed_does_not_save_what_we_made(running: Running) -> None:
    running.ask(request(name="fp7"))
    running.kernel.macs["fp7"] = bytes.fromhex("020000000077")
    running.end()
    assert running.kernel.interfaces == {"eth0": 1, "other": 2}


def test_what_resists_stays_on_record_and_does_not_stop_a_start(
    kernel: FakeKernel, tmp_path: Path
) -> None:
    folder = tmp_path / "ledgers"
    kernel.resisting = True
    first = Running(kernel, folder)
    first.ask(request(name="left"))
    first.end()
    second = Running(kernel, folder)
    assert "device" in second.ask(request(name="next"))
    kernel.resisting = False
    second.end()
    assert set(kernel.interfaces) == {"eth0", "other", "left", "leftio"}
    assert {made.interface for made in reap(lambda: open_folder(str(folder)))} == {"left", "leftio"}
    assert set(kernel.interfaces) == {"eth0", "other"}
    assert list(folder.iterdir()) == []


def test_a_start_does_without_a_folder(kernel: FakeKernel, tmp_path: Path) -> None:
    (tmp_path / "ledgers").write_text("not a folder")
    running = Running(kernel, tmp_path / "ledgers")
    assert "device" in running.ask(request())
    running.end()
    assert kernel.interfaces == {"eth0": 1, "other": 2}


def test_what_somebody_put_in_its_place_is_neither_changed_nor_destroyed(running: Running) -> None:
    running.ask(request())
    del running.kernel.interfaces["fake0"]
    running.kernel.add("fake0")
    with pytest.raises(DeviceError, match="fake0 has gone"):
        running.pump.change(Change(mtu=1400))
    running.end()
    assert set(running.kernel.interfaces) == {"eth0", "other", "fake0"}


# ---- a pump that somebody else has taken over ----

_PROVISION = request(name="fp7", addresses=(ADDRESS,), mac=b"\2\0\0\0\0\1", mtu=1400)
_CHANGE = pack_change(Change(add=(ADDRESS,), mtu=1400))


WRONG: dict[str, tuple[object, ...]] = {
    "kind": ("no such kind", None, ["tap"]),
    "name": ("", "a name of 16 by.", 7, "\ud800", "fp\0", "fp\n", "früh"),
    "attach": (1, None, "true"),
    "io_unit": (-1, True, "5100"),
    "addresses": (
        *(None, "10.9.0.1/24", {"10.9.0.1/24": 1}, [168361985], [None], ["10.9.0.1"]),
        *(["10.9.0.1/33"], ["fe80::1%eth0/64"], ["fe80::1%2/64"], ["10.9.0.1/24"] * 65),
        ["10.9.0.1/" + "9" * 5000],
    ),
    "mac": ("01005e000001", "000000000000", "0200000000", "02000000000z", 2),
    "mtu": (-1, 1400.0, True, "1400", 1 << 31, [1400]),
    "metric": (-1, 1 << 64),
    "inject": ("raw", 1),
    "do": ("reap", None, ["provision"]),
    "interface": ("eth0",),
}


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, values in WRONG.items() for value in values]
)
def test_a_request_with_a_wrong_field_is_refused(
    running: Running, field: str, value: object
) -> None:
    answer = running.ask({**_PROVISION, field: value})
    assert set(answer) == {"refused"}
    assert running.kernel.interfaces == {"eth0": 1, "other": 2}
    assert "device" in running.ask(_PROVISION)


@pytest.mark.parametrize("field", list(_PROVISION))
def test_a_request_without_a_field_is_refused(running: Running, field: str) -> None:
    answer = running.ask({name: value for name, value in _PROVISION.items() if name != field})
    assert set(answer) == {"refused"}


@pytest.mark.parametrize(
    "message",
    [
        pytest.param({**_CHANGE, "interface": "eth0"}, id="of another device"),
        pytest.param({**_CHANGE, "name": "eth0"}, id="of another name"),
        pytest.param({**_CHANGE, "mtu": -1}, id="to a negative MTU"),
        pytest.param({**_CHANGE, "add": ["fe80::1%eth0/64"]}, id="in another zone"),
        pytest.param({**_CHANGE, "remove": "10.9.0.1/24"}, id="with a string for a list"),
        pytest.param({"do": "change"}, id="of nothing"),
        pytest.param({"do": "destroy"}, id="into nothing"),
    ],
)
def test_nothing_but_a_change_of_the_device_is_a_change(running: Running, message: Message) -> None:
    running.ask(_PROVISION)
    assert set(running.ask(message)) == {"refused"}
    assert running.kernel.changes == []
    assert set(running.kernel.interfaces) == {"eth0", "other", "fp7", "fp7io"}
    assert running.ask(_CHANGE) == {"done": True}


def test_there_is_one_device_and_no_second(running: Running) -> None:
    assert set(running.ask(_CHANGE)) == {"refused"}
    running.ask(_PROVISION)
    assert set(running.ask(request(name="second"))) == {"refused"}
    assert set(running.ask(request(name="other", attach=True))) == {"refused"}
    assert set(running.ask({"do": "destroy"})) == {"refused"}
    assert set(running.kernel.interfaces) == {"eth0", "other", "fp7", "fp7io"}


@pytest.mark.parametrize(
    ("later", "attach", "message"),
    [
        (None, False, _CHANGE),
        ("dhcp", False, _CHANGE),
        ("change", False, {"do": "restore"}),
        ("change", False, {"do": "dhcp"}),
        ("change", False, {"do": "link", "up": False}),
        (None, True, {"do": "link", "up": False}),
    ],
)
def test_a_pump_may_do_what_it_was_given_and_no_more(
    kernel: FakeKernel, tmp_path: Path, later: Later | None, attach: bool, message: Message
) -> None:
    running = Running(kernel, tmp_path / "ledgers", later=later)
    running.ask(request(name="other" if attach else "fp7", addresses=(ADDRESS,), attach=attach))
    assert set(running.ask(message)) == {"refused"}
    assert (kernel.changes, kernel.links) == ([], [])
    running.end()


def test_lost_addresses_are_added_again_once_and_no_others(
    kernel: FakeKernel, tmp_path: Path
) -> None:
    running = Running(kernel, tmp_path / "ledgers", later=None)
    assert set(running.ask({"do": "restore"})) == {"refused"}
    kept, lost = ip_interface("10.9.0.1/24"), ip_interface("fd00:9::1/64")
    running.ask(request(name="fp7", addresses=(kept, lost)))
    kernel.lost = {lost}
    assert set(running.ask({"do": "restore", "add": ["10.0.0.1/8"]})) == {"refused"}
    assert running.ask({"do": "restore"}) == {"done": True}
    assert kernel.changes == [Change(add=(lost,))]
    assert set(running.ask({"do": "restore"})) == {"refused"}
    assert len(kernel.changes) == 1
    running.end()


def test_a_client_is_for_a_pump_that_was_given_it(
    kernel: FakeKernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[tuple[str, int]] = []

    def start(_self: AddressLease, interface: str, index: int) -> str:
        started.append((interface, index))
        return "client"

    monkeypatch.setattr(AddressLease, "start", start)
    monkeypatch.setattr(dhcp, "check_client", lambda: None)
    running = Running(kernel, tmp_path / "ledgers", later="dhcp")
    assert set(running.ask({"do": "dhcp"})) == {"refused"}
    running.ask(_PROVISION)
    assert set(running.ask({"do": "dhcp", "interface": "eth0"})) == {"refused"}
    assert started == []
    assert running.ask({"do": "dhcp"}) == {"by": "client"}
    assert started == [("fp7", kernel.interfaces["fp7"])]
    del kernel.interfaces["fp7"]
    assert running.ask({"do": "dhcp"})["message"] == "fp7 has gone"
    kernel.add("fp7")
    assert running.ask({"do": "dhcp"})["message"] == "fp7 has gone"
    assert len(started) == 1
    running.end()


def test_the_link_is_set_of_the_device_that_was_made(kernel: FakeKernel, tmp_path: Path) -> None:
    running = Running(kernel, tmp_path / "ledgers", later=None)
    assert set(running.ask({"do": "link", "up": True})) == {"refused"}
    running.ask(request(name="fp7"))
    for wrong in ({}, {"up": 1}, {"up": None}, {"up": False, "interface": "eth0"}):
        assert set(running.ask({"do": "link", **wrong})) == {"refused"}
    running.pump.set_link(up=False)
    running.ask({"do": "restore"})
    running.pump.set_link(up=True)
    del kernel.interfaces["fp7"]
    kernel.add("fp7")
    assert running.ask({"do": "link", "up": False})["message"] == "fp7 has gone"
    assert kernel.links == [("fp7", False), ("fp7", True)]
    running.end()


@pytest.mark.parametrize(
    "address", ["0.0.0.0/0", "128.0.0.1/1", "10.0.0.1/15", "::1/0", "fc00::1/39"]
)
def test_no_network_is_wider_than_what_zerotier_hands_out(running: Running, address: str) -> None:
    running.ask(request(name="fp7"))
    answer = running.ask(pack_change(Change(add=(ip_interface(address),))))
    assert "no network may be wider than /" in answer["message"]
    assert running.kernel.changes == []
    for fits in ("10.147.17.5/16", "192.168.191.2/24", "fc12:3456:7800::1/40", "fd00::1/88"):
        change = Change(add=(ip_interface(fits),))
        assert running.ask(pack_change(change)) == {"done": True}
        assert running.kernel.changes.pop() == change


def test_there_are_no_more_addresses_than_zerotier_hands_out(running: Running) -> None:
    running.ask(request(name="fp7"))
    for number in range(32):
        address = ip_interface(f"10.{number}.0.1/16")
        assert running.ask(pack_change(Change(add=(address,)))) == {"done": True}
    more = Change(add=(ip_interface("10.99.0.1/16"),))
    assert "more than 32 addresses" in running.ask(pack_change(more))["message"]
    instead = more._replace(remove=(address,))
    assert running.ask(pack_change(instead)) == {"done": True}


def test_a_value_out_of_range_is_told_like_any_other(running: Running) -> None:
    answer = running.ask({**_PROVISION, "mtu": 60000})
    assert answer["error"] == "UsageError"


def test_a_pump_that_does_not_read_its_answers_can_only_die(running: Running) -> None:
    running.ask(_PROVISION)
    running.socket.setblocking(False)
    message = struct.pack(">I", 2) + b"[]"
    with contextlib.suppress(BlockingIOError):
        while True:
            running.socket.send(message * 1000)
    running.end()
    assert running.kernel.interfaces == {"eth0": 1, "other": 2}


_words = st.sampled_from(
    [
        *_PROVISION,
        *_CHANGE,
        *("provision", "change", "destroy", "tap", "feth", "eth0", "other", "fp7", "fp7io"),
        *("10.9.0.1/24", "fe80::1%eth0/64", "::/0", "020000000001", "../../etc/passwd", "\ud800"),
    ]
)
_numbers = st.integers() | st.sampled_from([-1, 0, 2**31, 2**32, 2**63, 10**400]) | st.floats()
_values = st.recursive(
    st.none() | st.booleans() | _numbers | _words | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_words, inner, max_size=4),
    max_leaves=8,
)


@st.composite
def _twisted(draw: st.DrawFn) -> Any:
    """A right message with fields replaced, added and left out."""
    message = dict(
        draw(
            st.sampled_from(
                [
                    _PROVISION,
                    _CHANGE,
                    {"do": "destroy"},
                    {"do": "restore"},
                    {"do": "link", "up": False},
                    request(),
                ]
            )
        )
    )
    message.update(draw(st.dictionaries(_words, _values, max_size=2)))
    for name in draw(st.lists(_words, max_size=1)):
        message.pop(name, None)
    return message


_payloads = st.one_of(
    _twisted().map(lambda message: json.dumps(message).encode()),
    _values.map(lambda value: json.dumps(value).encode()),
    st.binary(max_size=200),
    st.sampled_from([b"[" * 60000, b'{"do":' * 10000, b"9" * 65536, bytes(65537), bytes(200000)]),
)


@given(
    st.lists(st.tuples(_payloads, st.integers(0, 3)), max_size=12),
    st.binary(max_size=3) | st.sampled_from([b"\xff\xff\xff\xff", b"\0\0\1\0{", b"\x7f\0\0\0{}"]),
)
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_nothing_that_a_pump_says_does_more_than_a_request_may(
    said: list[tuple[bytes, int]], last_words: bytes
) -> None:
    before = os.listdir("/dev/fd")
    kernel = FakeKernel()
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        _install(patch, kernel)
        running = Running(kernel, Path(folder) / "ledgers")
        try:
            for payload, rights in said:
                running.say(payload, rights=rights)
                answer = running.answer()
                assert set(answer) in (
                    {"refused"},
                    {"error", "message", "hint"},
                    {"done"},
                    {"device"},
                )
                assert len(kernel.provisioned) <= 1
                assert {"eth0": 1, "other": 2}.items() <= kernel.interfaces.items()
                assert len(kernel.interfaces) <= 4
            assert not select.select([running.socket], [], [], 0)[0]  # one answer for each
            expected = {"refused"} if kernel.provisioned else {"device"}
            assert set(running.ask(_PROVISION)) == expected
            assert len(kernel.provisioned) == 1
            running.socket.sendall(last_words)
        finally:
            running.end()
        assert kernel.interfaces == {"eth0": 1, "other": 2}
        assert list((Path(folder) / "ledgers").iterdir()) == []
    assert os.listdir("/dev/fd") == before


def test_the_channel_closes_for_the_pump_when_the_keeper_has_gone(running: Running) -> None:
    running.ask(_PROVISION)
    running.socket.shutdown(socket.SHUT_WR)
    with pytest.raises(ChannelClosedError):
        running.pump.channel.receive()


def test_every_fact_of_a_device_arrives() -> None:
    facts = VmnetFacts(
        "host", 1514, "192.168.105.1", "192.168.105.100", "255.255.255.0", "bridge100"
    )
    device = Provisioned(
        interface="feth10000",
        io_interface="feth20000",
        mac=bytes(range(6)),
        mtu=1500,
        addresses=(ipaddress.ip_interface("10.9.0.1/24"),),
        up=True,
        descriptors=(3, 4),
        vmnet=facts,
    )
    assert unpack_provisioned(json.loads(json.dumps(pack_provisioned(device))), [3, 4]) == device
