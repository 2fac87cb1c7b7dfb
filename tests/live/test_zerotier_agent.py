"""The agent, between a simulated Mac and a host that behaves as ZeroTier's MacEthernetTap."""

from __future__ import annotations

import contextlib
import os
import signal
import struct
import sys
import time
from collections.abc import Sequence
from typing import Any

import pytest

from fethpipe import __version__
from tests.closing import Closing
from tests.darwin.simulation import Interface, SimulatedDarwin
from tests.live.ethernet import PacketSocket, make_frame
from tests.live.far_tap import far_tap
from tests.live.netns import Namespace, readable, require_tools
from tests.live.peer import records
from tests.live.peers import check_traffic
from tests.live.programs import LEFT, RIGHT, ROOT, listen, on_mac
from tests.patience import PATIENCE

pytestmark = pytest.mark.live

FRAME, CONFIGURE, EXIT = b"\0", b"\1", b"\2"
MAC = "02:00:5e:00:53:01"
MTU = 2800
ARGUMENTS = ("100", MAC, str(MTU), "5")
UP = f"I feth100 feth5100 {__version__}"


class Agent(Closing):
    """A running agent and the host's ends of its pipes; ``leaked`` are further descriptors."""

    def __init__(
        self,
        namespace: Namespace,
        darwin: SimulatedDarwin,
        *arguments: str,
        leaked: Sequence[int] = (),
        launcher: Sequence[str] = (),
    ) -> None:
        stdin, self.stdin = os.pipe()
        self.stdout, stdout = os.pipe()
        agent = [*launcher, sys.executable, "-m", "fethpipe.zerotier_agent", *arguments]
        pipes: dict[str, Any] = {"stdin": stdin, "stdout": stdout, "pass_fds": leaked, "cwd": ROOT}
        self.process, self.stderr = listen(namespace, on_mac(darwin, *agent), **pipes)
        for descriptor in (stdin, stdout):
            os.close(descriptor)

    def up(self) -> Agent:
        """Wait until it has made its interfaces."""
        assert self.stderr.next() == UP
        return self

    def write(self, payload: bytes) -> None:
        """Write a request, whatever it is."""
        os.write(self.stdin, records(payload, prefix="=H"))

    def hang_up(self) -> None:
        """Close the pipe towards it."""
        os.close(self.stdin)
        self.stdin = -1

    def end(self) -> int:
        """Wait for its end, and return its exit status."""
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        with self.process:
            self.process.kill()
        for descriptor in (self.stdin, self.stdout):
            if descriptor >= 0:
                os.close(descriptor)
        self.stderr.close()


class Tap(Closing):
    """What MacEthernetTap is to ZeroTier's service: one network's device.

    It allows an MTU of 10000, destroys every feth0 to feth9999, starts the agent for a number that
    is free, and waits at most ten seconds for its interface. It writes the length and the words of
    a configuration separately, a frame in one piece, and takes frames that are longer than their
    header. To end it, it kills the agent and destroys both interfaces.
    """

    def __init__(self, namespace: Namespace, darwin: SimulatedDarwin, *, mtu: int = MTU) -> None:
        self._namespace = namespace
        self._darwin = darwin
        self._mtu = mtu
        self._received = b""
        self._frames: list[bytes] = []
        darwin.max_mtu = 10000
        for name in darwin.interfaces():
            if name.startswith("feth") and len(name) <= len("feth9999"):
                darwin.destroy(name)
        self.number = 100
        self.device, self._io = f"feth{self.number}", f"feth{self.number + 5000}"
        self.agent = Agent(namespace, darwin, str(self.number), MAC, str(mtu), "5")
        deadline = time.monotonic() + PATIENCE
        while self.device not in darwin.interfaces():
            assert time.monotonic() < deadline, f"no {self.device} came"
            readable(self.agent.stderr.descriptor, 0.1)
        self.agent.up()

    def add_ip(self, address: str) -> None:
        self._ifconfig("inet6" if ":" in address else "inet", address, "alias")

    def remove_ip(self, address: str) -> None:
        self._ifconfig("inet6" if ":" in address else "inet", address, "-alias")

    def set_mtu(self, mtu: int) -> None:
        if mtu != self._mtu:
            self._ifconfig("mtu", str(mtu))
            self._mtu = mtu

    def _ifconfig(self, *words: str) -> None:
        payload = CONFIGURE + b"".join(word.encode() + b"\0" for word in words)
        os.write(self.agent.stdin, struct.pack("=H", len(payload)))
        os.write(self.agent.stdin, payload)

    def put(self, frame: bytes) -> None:
        if len(frame) - 14 <= self._mtu:
            os.writev(self.agent.stdin, [struct.pack("=H", len(frame) + 1), FRAME, frame])

    def get(self) -> bytes:
        """Return the next frame from the device."""
        while not self._frames:
            assert readable(self.agent.stdout, PATIENCE), "no frame came"
            self._frames = self.read()
        return self._frames.pop(0)

    def fileno(self) -> int:
        return self.agent.stdout

    def read(self) -> list[bytes]:
        """Read once, and return the frames that are whole."""
        self._received += os.read(self.agent.stdout, 131072)
        found = []
        while len(self._received) >= 2:
            (length,) = struct.unpack_from("=H", self._received)
            if len(self._received) < 2 + length:
                break
            found.append(self._received[2 : 2 + length])
            self._received = self._received[2 + length :]
        return [frame for frame in found if len(frame) > 14]

    def settled(self) -> Interface:
        """Return the interface when everything that was written has been acted on."""
        with PacketSocket(self._namespace, self.device) as device:
            self.put(make_frame(999))
            while device.receive() != make_frame(999):
                pass
        return self._darwin.interfaces()[self.device]

    def destroy(self) -> None:
        """End the network, as the service does it."""
        self.agent.process.kill()
        assert self.agent.end() == -signal.SIGKILL
        for name in (self.device, self._io):
            with contextlib.suppress(OSError):  # the agent's keeper may be faster
                self._darwin.destroy(name)

    def close(self) -> None:
        self.agent.close()


# ---- a whole life ----


def test_it_does_what_the_service_wants(left: Namespace, darwin: SimulatedDarwin) -> None:
    with Tap(left, darwin) as tap:
        found = darwin.interfaces()
        assert sorted(found) == ["feth100", "feth5100"]
        primary, io = found["feth100"], found["feth5100"]
        assert (primary.mac, primary.mtu, primary.metric, primary.up) == (MAC, MTU, 5, True)
        assert (io.peer, io.mtu, io.up) == ("feth100", MTU, True)

        tap.add_ip("10.147.17.5/24")
        tap.add_ip("fd00:9::5/64")
        tap.set_mtu(9000)
        primary = tap.settled()
        assert set(primary.addresses) >= {"10.147.17.5/24", "fd00:9::5/64"}
        assert primary.mtu == darwin.interfaces()["feth5100"].mtu == 9000
        tap.set_mtu(1400)
        tap.remove_ip("10.147.17.5/24")
        primary = tap.settled()
        assert "10.147.17.5/24" not in primary.addresses
        assert primary.mtu == 1400

        with PacketSocket(left, "feth100") as device:
            for size in (18, 60, 1000, 1414):
                device.send(make_frame(1, size=size))
                while tap.get() != make_frame(1, size=size):
                    pass
                tap.put(make_frame(2, size=size))
                assert device.receive() == make_frame(2, size=size)
        tap.destroy()
    assert darwin.interfaces() == {}


def test_the_next_network_of_the_service_gets_the_same_interfaces(
    left: Namespace, darwin: SimulatedDarwin
) -> None:
    for _ in range(3):
        with Tap(left, darwin) as tap:
            assert tap.settled().up
            tap.destroy()
    assert darwin.interfaces() == {}


def test_ip_passes_through_the_service(
    left: Namespace, right: Namespace, darwin: SimulatedDarwin
) -> None:
    with Tap(left, darwin) as tap:
        tap.add_ip(f"{LEFT}/24")
        tap.settled()
        with far_tap(tap, right, RIGHT, mtu=MTU):
            check_traffic(left, right, mtu=MTU, size=5_000_000)
        tap.agent.write(EXIT)
        assert tap.agent.end() == 0
    assert darwin.interfaces() == {}


# ---- what it is told ----


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(CONFIGURE, id="nothing"),
        pytest.param(CONFIGURE + b"down\0", id="another request"),
        pytest.param(CONFIGURE + b"inet\0" + b"10.1.1.1/24\0", id="too few words"),
        pytest.param(CONFIGURE + b"inet\0" + b"10.1.1.1/24\0alias\0up\0", id="too many words"),
        pytest.param(CONFIGURE + b"inet\0" + b"10.1.1.1\0alias\0", id="no prefix"),
        pytest.param(CONFIGURE + b"inet6\0" + b"10.1.1.1/24\0alias\0", id="the other family"),
        pytest.param(CONFIGURE + b"inet\0" + b"$(reboot)/24\0alias\0", id="a shell's words"),
        pytest.param(CONFIGURE + b"mtu\0" + b"-1\0", id="a number that is none"),
        pytest.param(CONFIGURE + b"mtu\0" + b"99999\0", id="an MTU too large"),
        pytest.param(CONFIGURE + b"\xff\xfe\0" * 100, id="bytes"),
        pytest.param(b"\x07what", id="an unknown command"),
        pytest.param(b"", id="an empty record"),
        pytest.param(FRAME + b"short", id="a short frame"),
    ],
)
def test_what_the_service_does_not_send_changes_nothing(
    left: Namespace, darwin: SimulatedDarwin, payload: bytes
) -> None:
    with Tap(left, darwin) as tap:
        before = tap.settled()
        tap.agent.write(payload)
        assert tap.settled() == before
        tap.agent.write(EXIT)
        assert tap.agent.end() == 0


def test_what_cannot_be_done_is_told(left: Namespace, darwin: SimulatedDarwin) -> None:
    with Tap(left, darwin) as tap:
        tap.remove_ip("10.147.17.5/24")
        line = tap.agent.stderr.next()
        assert line.startswith("E cannot remove 10.147.17.5/24 from feth100: SIOCDIFADDR")
        assert tap.settled().up


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param((), id="none"),
        pytest.param(ARGUMENTS[:3], id="too few"),
        pytest.param(("5000", *ARGUMENTS[1:]), id="a number too large"),
        pytest.param(("-1", *ARGUMENTS[1:]), id="a negative number"),
        pytest.param(("100", "zz", "2800", "0"), id="no MAC"),
        pytest.param(("100", MAC, "x", "0"), id="no MTU"),
    ],
)
def test_wrong_arguments_are_an_invalid_request(
    left: Namespace, darwin: SimulatedDarwin, arguments: tuple[str, ...]
) -> None:
    with Agent(left, darwin, *arguments) as agent:
        assert agent.end() == 255
        assert agent.stderr.all() == (
            "E invalid or missing argument(s) "
            "(usage: MacEthernetTapAgent <0-4999> <mac> <mtu> <metric>)\n"
        )
    assert darwin.interfaces() == {}


def test_more_arguments_are_nothing_to_it(left: Namespace, darwin: SimulatedDarwin) -> None:
    with Agent(left, darwin, *ARGUMENTS, "more") as agent:
        assert agent.stderr.next() == UP


def test_an_ordinary_user_is_refused(left: Namespace, darwin: SimulatedDarwin) -> None:
    require_tools("unshare")
    # To the program, the user is nobody; to the kernel, it is still root, who may read its files.
    with Agent(left, darwin, *ARGUMENTS, launcher=["unshare", "--user"]) as agent:
        assert agent.end() == 255
        assert agent.stderr.all() == (
            "E must be run as root or with root setuid bit on executable\n"
        )


@pytest.mark.parametrize("taken", ["feth100", "feth5100"])
def test_a_device_that_exists_cannot_be_created(
    left: Namespace, darwin: SimulatedDarwin, taken: str
) -> None:
    darwin.create(taken)
    darwin.max_mtu = 10000
    with Agent(left, darwin, *ARGUMENTS) as agent:
        assert agent.stderr.next().startswith(f"E unable to create {taken}: it already exists")
        assert agent.end() == 254
    assert set(darwin.interfaces()) == {taken}


# ---- how it ends ----


def test_the_end_of_the_service_is_a_read_error(left: Namespace, darwin: SimulatedDarwin) -> None:
    with Agent(left, darwin, *ARGUMENTS).up() as agent:
        agent.hang_up()
        assert agent.end() == 253
    assert darwin.interfaces() == {}


def test_the_pipes_that_the_service_leaks_keep_no_agent_alive(
    left: Namespace, darwin: SimulatedDarwin
) -> None:
    with Agent(left, darwin, *ARGUMENTS) as first:
        assert first.stderr.next() == UP
        with Agent(left, darwin, "101", MAC, "2800", "0", leaked=[first.stdin]) as second:
            assert second.stderr.next().startswith("I feth101 feth5101")
            first.hang_up()
            assert first.end() == 253
            assert sorted(darwin.interfaces()) == ["feth101", "feth5101"]
            second.write(EXIT)
            assert second.end() == 0


def test_a_device_that_goes_is_a_read_error(left: Namespace, darwin: SimulatedDarwin) -> None:
    with Agent(left, darwin, *ARGUMENTS).up() as agent:
        darwin.destroy("feth5100")
        assert agent.end() == 253
        assert agent.stderr.next().startswith("E feth100 has gone")
    assert darwin.interfaces() == {}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_is_its_exit_status(
    left: Namespace, darwin: SimulatedDarwin, number: signal.Signals
) -> None:
    with Agent(left, darwin, *ARGUMENTS).up() as agent:
        agent.process.send_signal(number)
        assert agent.end() == number
    assert darwin.interfaces() == {}
