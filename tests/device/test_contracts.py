"""Every device of the product, and the fake of the tests, keeps the contract of a device."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Callable

import pytest

from fethpipe.device.packet import PacketDevice, open_packet
from fethpipe.device.tap import TapDevice, open_tap
from fethpipe.provision.kind import find_kind, provision
from fethpipe.provision.request import DeviceRequest
from tests.darwin import simulation
from tests.darwin.inside import Inside
from tests.darwin.simulation import SimulatedDarwin
from tests.device.contracts import CONTRACTS, Ends, Near
from tests.fakes import FakeDevice
from tests.live.ethernet import PacketSocket, make_frame
from tests.live.netns import Namespace, require_kernel
from tests.patience import PATIENCE
from tests.vmnet import framework
from tests.vmnet.framework import MacWithVmnet

_TOO_SHORT = (bytes(13), "refused by the kernel")


class _Stack:
    """The side of the IP stack, beside it."""

    def __init__(self, socket: PacketSocket) -> None:
        self._socket = socket

    def send(self, frames: Sequence[bytes]) -> None:
        for frame in frames:
            self._socket.send(frame)

    def receive(self, count: int) -> list[bytes]:
        return [self._socket.receive() for _ in range(count)]


class _FakeKernel:
    """The side of the kernel that a fake has."""

    def __init__(self, fake: FakeDevice) -> None:
        self._fake = fake

    def send(self, frames: Sequence[bytes]) -> None:
        assert all(self._fake.emit(frame, seconds=PATIENCE) for frame in frames)

    def receive(self, count: int) -> list[bytes]:
        return [self._fake.absorb(seconds=PATIENCE) or b"" for _ in range(count)]


def _open_near(kind: str, request: dict[str, Any]) -> Near:
    """Make and open a device, in this process."""
    found = find_kind(kind)
    made: list[str] = []
    return Near(found.open(provision(found, DeviceRequest(**request), on_made=made.append)))


@contextmanager
def _fake() -> Iterator[Ends]:
    fake = FakeDevice()
    try:
        yield Ends(Near(fake), _FakeKernel(fake), fake.vanish, *_TOO_SHORT, counts_overflow=False)
    finally:
        fake.close()


@contextmanager
def _namespace() -> Iterator[Namespace]:
    """Enter a new namespace."""
    require_kernel()
    with Namespace() as namespace, namespace.entered():
        yield namespace


@contextmanager
def _tap(*, offload: bool) -> Iterator[Ends]:
    with _namespace() as namespace:
        descriptor, name = open_tap("fp0", offload=offload)
        device = TapDevice(descriptor, name)
        namespace.run(["ip", "link", "set", name, "up"])
        with PacketSocket(namespace, name) as socket:
            delete = ["ip", "link", "delete", name]
            yield Ends(Near(device), _Stack(socket), lambda: namespace.run(delete), *_TOO_SHORT)
        device.close()


@contextmanager
def _packet_socket() -> Iterator[Ends]:
    with _namespace() as namespace:
        namespace.run(["ip", "link", "add", "va", "type", "veth", "peer", "name", "vb"])
        for each in (["ip", "link", "set", name, "up"] for name in ("va", "vb")):
            namespace.run(each)
        namespace.wait_up("va")
        device = PacketDevice(open_packet("va"), "va")
        with PacketSocket(namespace, "vb") as socket:
            delete = ["ip", "link", "delete", "va"]
            too_long = (make_frame(1, size=2000), "too long for the device")
            yield Ends(Near(device), _Stack(socket), lambda: namespace.run(delete), *too_long)
        device.close()


@contextmanager
def _feth(inject: str) -> Iterator[Ends]:
    with ExitStack() as stack:
        namespace = stack.enter_context(_namespace())
        if missing := simulation.missing_requirement():
            pytest.skip(missing)
        darwin = stack.enter_context(SimulatedDarwin(namespace=namespace.path))
        inside = stack.enter_context(Inside(darwin, namespace.path))
        near = inside.make(_open_near, "feth", {"inject": inject})
        far = _Stack(stack.enter_context(PacketSocket(namespace, "feth10000")))
        too_long = (make_frame(1, size=16389), "too long for the device")
        yield Ends(near, far, lambda: darwin.destroy("feth20000"), *too_long)
        assert darwin.violations() == []


@contextmanager
def _vmnet() -> Iterator[Ends]:
    with ExitStack() as stack:
        namespace = stack.enter_context(_namespace())
        if missing := framework.missing_requirement():
            pytest.skip(missing)
        mac = stack.enter_context(MacWithVmnet(namespace.path))
        inside = stack.enter_context(Inside(mac, namespace.path))
        near = inside.make(_open_near, "vmnet", {})
        (process,) = (int(line.split()[1]) for line in mac.noted("start"))
        stack.callback(near.close)  # which ends the process
        yield Ends(
            near,
            _Stack(stack.enter_context(PacketSocket(namespace, "bridge100"))),
            lambda: os.kill(process, signal.SIGKILL),
            *(make_frame(1, size=1515), "too long for the device"),
            counts_overflow=False,
            longest=1514,
            vectored=False,
        )
        assert mac.violations() == []


_live = pytest.mark.live
_DEVICES = [
    pytest.param(_fake, id="fake"),
    pytest.param(lambda: _tap(offload=False), id="TAP", marks=_live),
    pytest.param(lambda: _tap(offload=True), id="TAP with headers", marks=_live),
    pytest.param(_packet_socket, id="packet socket", marks=_live),
    pytest.param(lambda: _feth("ndrv"), id="feth", marks=_live),
    pytest.param(lambda: _feth("bpf"), id="feth with batches", marks=_live),
    pytest.param(_vmnet, id="vmnet", marks=_live),
]


@pytest.mark.parametrize("device", _DEVICES)
@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.__name__)
def test_it(contract: Callable[[Ends], None], device: Callable[[], Any]) -> None:
    with device() as ends:
        contract(ends)
