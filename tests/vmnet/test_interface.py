"""The binding and the interface, against the stand-in for the framework."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from fethpipe.errors import DeviceError, FethpipeError, NotAllowedError, SystemFailureError
from fethpipe.provision.request import VmnetOptions
from tests.darwin.inside import Inside, become
from tests.live.ethernet import PacketSocket, make_frame
from tests.live.netns import Namespace
from tests.live.programs import ROOT, on_mac
from tests.patience import PATIENCE
from tests.vmnet import interfaces
from tests.vmnet.framework import MacWithVmnet

pytestmark = pytest.mark.live

BRIDGE = "bridge100"
OPTIONS = VmnetOptions()


# ---- starting ----


def test_it_tells_what_it_was_started_with(inside: Inside, left: Namespace) -> None:
    options = VmnetOptions("host", start="10.9.0.1", end="10.9.0.99", mask="255.255.255.0")
    inside.make(interfaces.start, options, 9000)
    assert "10.9.0.1/24" in left.run(["ip", "address", "show", BRIDGE])
    assert "mtu 9000" in left.run(["ip", "link", "show", BRIDGE])


def test_isolation_is_asked_for(inside: Inside, mac: MacWithVmnet) -> None:
    inside.make(interfaces.start, VmnetOptions(isolated=True))
    assert mac.noted("isolated") == ["isolated 1"]


def test_a_network_of_its_own_has_no_addresses(inside: Inside, left: Namespace) -> None:
    network = "12345678-9abc-def0-1234-56789abcdef0"
    inside.make(interfaces.start, VmnetOptions("host", network=network))
    assert "inet" not in left.run(["ip", "address", "show", BRIDGE])


def test_what_cannot_be_bridged_to_is_told(inside: Inside) -> None:
    with pytest.raises(DeviceError) as raised:
        inside.call(interfaces.start, VmnetOptions("bridged", "en7"))
    assert str(raised.value) == "vmnet cannot bridge to en7; it offers en0, bridge0"
    inside.make(interfaces.start, VmnetOptions("bridged", "en0"))


@pytest.mark.parametrize("settings", [{"start_status": str(code)} for code in (1001, 1009, 77)])
def test_a_refusal_comes_with_its_code(inside: Inside, settings: dict[str, str]) -> None:
    with pytest.raises(DeviceError, match=f"vmnet_start_interface: {settings['start_status']}"):
        inside.call(interfaces.start, OPTIONS)


def test_who_is_not_root_is_told(inside: Inside) -> None:
    inside.call(become, 65534, "fethpipe.vmnet.interface", "tests.vmnet.interfaces")
    with pytest.raises(NotAllowedError, match="1001"):
        inside.call(interfaces.start, OPTIONS)


@pytest.mark.parametrize(
    ("settings", "kind", "why"),
    [
        ({"start_silent": "null"}, DeviceError, "1001"),
        ({"start_silent": "hang"}, SystemFailureError, "vmnet did not answer in 1 s"),
    ],
)
def test_a_start_without_an_answer_is_a_failure(
    inside: Inside, kind: type[FethpipeError], why: str
) -> None:
    inside.call(interfaces.wait_less, "_START_SECONDS", 0.51)
    inside.call(interfaces.wait_less, "_NO_REFERENCE_SECONDS", 0.1)
    with pytest.raises(kind, match=why):
        inside.call(interfaces.start, OPTIONS)


@pytest.mark.usefixtures("mac")  # which skips
def test_an_old_macos_lacks_some_options(left: Namespace) -> None:
    with MacWithVmnet(left.path, old=True) as old, Inside(old, left.path) as inside:
        with pytest.raises(DeviceError, match="has no vmnet_enable_isolation_key; leave"):
            inside.call(interfaces.start, VmnetOptions(isolated=True))
        interface = inside.make(interfaces.start, OPTIONS)
        with PacketSocket(left, BRIDGE) as bridge:
            bridge.send(make_frame(1))
            assert inside.call(interfaces.read, interface, 1) == [make_frame(1)]
        interface.close()


# ---- frames ----


@contextlib.contextmanager
def _started(
    inside: Inside, left: Namespace, *, mtu: int | None = None
) -> Iterator[tuple[Any, PacketSocket]]:
    """Start an interface, and open a socket on the host's side of it."""
    interface = inside.make(interfaces.start, OPTIONS, mtu)
    with PacketSocket(left, BRIDGE) as bridge:
        yield interface, bridge
    interface.close()


@pytest.mark.parametrize("settings", [{}, {"short_reads": "1"}], ids=["whole", "in part"])
def test_every_frame_is_read(inside: Inside, left: Namespace) -> None:
    random = Random(7)
    with _started(inside, left) as (interface, bridge):
        for burst in (1, 2, 199, 200, 201, 450, 1):
            sizes = [random.randrange(60, 1515) for _ in range(burst)]
            frames = [make_frame(number, size=size) for number, size in enumerate(sizes)]
            for frame in frames:
                bridge.send(frame)
            assert inside.call(interfaces.read, interface, burst) == frames


@pytest.mark.parametrize("size", [60, 1514])
def test_every_frame_is_written(inside: Inside, left: Namespace, size: int) -> None:
    with _started(inside, left) as (interface, bridge):
        frames = [make_frame(number, size=size) for number in range(450)]
        assert inside.call(interfaces.write, interface, frames) == 0
        assert [bridge.receive() for _ in frames] == frames


def test_a_write_has_no_more_bytes_than_vmnet_takes(inside: Inside, left: Namespace) -> None:
    with _started(inside, left, mtu=9000) as (interface, bridge):
        frames = [make_frame(number, size=9014) for number in range(200)]
        assert inside.call(interfaces.write, interface, frames) == 0
        assert [bridge.receive() for _ in frames] == frames


def test_what_is_no_frame_of_the_interface_is_not_written(inside: Inside, left: Namespace) -> None:
    with _started(inside, left) as (interface, bridge):
        frames = [b"short", make_frame(1), make_frame(2, size=1515), make_frame(3, size=1514)]
        assert inside.call(interfaces.write, interface, frames) == 2
        assert [bridge.receive() for _ in range(2)] == [frames[1], frames[3]]


@pytest.mark.parametrize("settings", [{"exhaust": "30"}])
def test_a_write_that_is_refused_or_cut_short_goes_on(inside: Inside, left: Namespace) -> None:
    with _started(inside, left) as (interface, bridge):
        for _ in range(20):
            frames = [make_frame(number) for number in range(50)]
            assert inside.call(interfaces.write, interface, frames) == 0
            assert [bridge.receive() for _ in frames] == frames


@pytest.mark.parametrize("settings", [{"exhaust": "100"}])
def test_what_is_refused_too_often_is_counted(inside: Inside) -> None:
    interface = inside.make(interfaces.start, OPTIONS)
    assert inside.call(interfaces.write, interface, [make_frame(1)] * 7) == 7


@pytest.mark.parametrize("settings", [{"break_after": "5"}])
def test_an_interface_that_fails_is_told(inside: Inside) -> None:
    interface = inside.make(interfaces.start, OPTIONS)
    said = inside.call(interfaces.read_until_it_fails, interface)
    assert said == "vmnet_read: 1004 (VMNET_SETUP_INCOMPLETE)"


# ---- the end ----


@pytest.mark.parametrize("times", [8, pytest.param(50, marks=pytest.mark.exhaustive)])
def test_many_starts_and_stops_leave_nothing(inside: Inside, left: Namespace, times: int) -> None:
    loads = [inside.call(interfaces.restart, times) for _ in range(5)]
    assert len({(load.descriptors, load.threads) for load in loads}) == 1
    # An allocator may take a large piece once, so the largest growth does not count.
    growth = [after.resident - before.resident for before, after in zip(loads, loads[1:])]
    assert sum(growth) - max(growth) < 1 << 16
    assert left.interfaces() == ["lo"]


@pytest.mark.parametrize("settings", [{"stop_silent": "1"}])
def test_a_stop_without_an_answer_is_told(inside: Inside) -> None:
    interface = inside.make(interfaces.start, OPTIONS)
    inside.call(interfaces.wait_less, "_STOP_SECONDS", 0.2)
    with pytest.raises(SystemFailureError, match="vmnet does not stop"):
        interface.close()


_UNTIL_THE_END = """
import time
from fethpipe.vmnet import interface
from fethpipe.provision.request import (VmnetOptions)

class SlowToGo:
    def __del__(self, sleep=time.sleep):
        sleep(0.3)  # the interpreter ends, and threads that want it are turned away

{prepare}
running = interface.start_interface(VmnetOptions(), None)
running.close()
slow = SlowToGo()
"""
_WITHOUT_BARRIER = "interface._drain = lambda library, queue: None"


@pytest.mark.parametrize("settings", [{"late": "100"}])
def test_no_callback_meets_an_interpreter_that_ends(mac: MacWithVmnet, left: Namespace) -> None:
    assert _run(mac, left, _UNTIL_THE_END.format(prepare="")) == 0


def test_without_the_barrier_one_would(mac: MacWithVmnet, left: Namespace) -> None:
    """The stand-in can tell the difference (Python 3.14 hangs such a thread instead)."""
    with MacWithVmnet(left.path, {"late": "100"}) as another:
        code = _UNTIL_THE_END.format(prepare=_WITHOUT_BARRIER)
        assert _run(another, left, code) == -signal.SIGABRT


def _run(mac: MacWithVmnet, left: Namespace, code: str) -> int:
    argv = on_mac(mac, sys.executable, "-c", code)
    process = left.popen(argv, stderr=subprocess.PIPE, cwd=ROOT)
    process.communicate(timeout=PATIENCE)
    return process.returncode


def test_nothing_of_it_works_after_a_fork(mac: MacWithVmnet, left: Namespace) -> None:
    """The stand-in can tell, so starting the process by exec is what the tests show."""
    with MacWithVmnet(left.path) as another:
        code = (
            "import os; from fethpipe.vmnet.interface import start_interface;"
            "from fethpipe.vmnet.options import VmnetOptions;"
            "child = os.fork(); child or start_interface(VmnetOptions(), None);"
            "os._exit(os.WTERMSIG(os.waitpid(child, 0)[1]))"
        )
        assert _run(another, left, code) == signal.SIGABRT
