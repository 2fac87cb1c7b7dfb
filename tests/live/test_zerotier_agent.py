"""The agent, between a simulated Mac and a host that behaves as ZeroTier's MacEthernetTap."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.darwin.simulation import Interface, SimulatedDarwin, missing_requirement
from tests.live.ethernet import PacketSocket, make_frame
from tests.live.netns import PATIENCE, Namespace, readable
from tests.live.programs import ROOT, Lines

pytestmark = pytest.mark.live

FRAME, CONFIGURE, EXIT = b"\0", b"\1", b"\2"
MAC = "02:00:5e:00:53:01"
ARGUMENTS = ("100", MAC, "2800", "5")


@pytest.fixture
def darwin(left: Namespace) -> Iterator[SimulatedDarwin]:
    missing = missing_requirement()
    if missing is not None:
        pytest.skip(missing)
    with SimulatedDarwin(namespace=left.path) as darwin:
        yield darwin
        assert darwin.violations() == []


class Host:
    """MacEthernetTap, the service's side: every request is one write of length and command."""

    def __init__(self, namespace: Namespace, darwin: SimulatedDarwin, *arguments: str) -> None:
        stdin, self._to_agent = os.pipe()
        self._from_agent, stdout = os.pipe()
        stderr, its_stderr = os.pipe()
        self.stderr = Lines(stderr)
        environment = [f"{name}={value}" for name, value in darwin.environment.items()]
        agent = [sys.executable, "-m", "fethpipe.agent", *arguments]
        self.process: subprocess.Popen[bytes] = namespace.popen(
            ["env", *environment, *agent], stdin=stdin, stdout=stdout, stderr=its_stderr, cwd=ROOT
        )
        for descriptor in (stdin, stdout, its_stderr):
            os.close(descriptor)

    def put(self, frame: bytes) -> None:
        self.write(FRAME + frame)

    def add_ip(self, address: str) -> None:
        self._ifconfig("inet6" if ":" in address else "inet", address, "alias")

    def remove_ip(self, address: str) -> None:
        self._ifconfig("inet6" if ":" in address else "inet", address, "-alias")

    def set_mtu(self, mtu: int) -> None:
        self._ifconfig("mtu", str(mtu))

    def _ifconfig(self, *words: str) -> None:
        self.write(CONFIGURE + b"".join(word.encode() + b"\0" for word in words))

    def write(self, payload: bytes) -> None:
        os.write(self._to_agent, struct.pack("=H", len(payload)) + payload)

    def get(self) -> bytes:
        """Return the next frame from the device."""
        (length,) = struct.unpack("=H", self._read(2))
        return self._read(length)

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            assert readable(self._from_agent, PATIENCE), "no frame came"
            data += os.read(self._from_agent, size - len(data))
        return data

    def hang_up(self) -> None:
        os.close(self._to_agent)
        self._to_agent = -1

    def end(self) -> int:
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        with self.process:
            self.process.kill()
        for descriptor in (self._to_agent, self._from_agent):
            if descriptor >= 0:
                os.close(descriptor)
        self.stderr.close()

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def settled(host: Host, namespace: Namespace, darwin: SimulatedDarwin) -> Interface:
    """Return the interface when everything that was written has been acted on."""
    with PacketSocket(namespace, "feth100") as device:
        host.put(make_frame(999))
        while device.receive() != make_frame(999):
            pass
    return darwin.interfaces()["feth100"]


def test_it_does_what_the_service_wants(left: Namespace, darwin: SimulatedDarwin) -> None:
    with Host(left, darwin, *ARGUMENTS) as host:
        line = host.stderr.next()
        assert line.split()[:2] == ["I", "feth100"]
        found = darwin.interfaces()
        primary, io = found["feth100"], found[line.split()[2]]
        assert (primary.mac, primary.mtu, primary.metric, primary.up) == (MAC, 2800, 5, True)
        assert (io.peer, io.mtu, io.up) == ("feth100", 2800, True)

        host.add_ip("10.147.17.5/24")
        host.add_ip("fd00:9::5/64")
        host.set_mtu(1400)
        primary = settled(host, left, darwin)
        assert set(primary.addresses) >= {"10.147.17.5/24", "fd00:9::5/64"}
        assert primary.mtu == 1400
        host.remove_ip("10.147.17.5/24")
        assert "10.147.17.5/24" not in settled(host, left, darwin).addresses

        with PacketSocket(left, "feth100") as device:
            device.send(make_frame(1, size=1000))
        while host.get() != make_frame(1, size=1000):
            pass
        host.write(EXIT)
        assert host.end() == 0
    assert darwin.interfaces() == {}


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
    with Host(left, darwin, *ARGUMENTS) as host:
        assert host.stderr.next().startswith("I ")
        before = settled(host, left, darwin)
        host.write(payload)
        assert settled(host, left, darwin) == before
        host.write(EXIT)
        assert host.end() == 0


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
    with Host(left, darwin, *arguments) as host:
        assert host.stderr.next().startswith("E invalid or missing argument(s)")
        assert host.end() == 255
    assert darwin.interfaces() == {}


def test_a_device_that_exists_cannot_be_created(left: Namespace, darwin: SimulatedDarwin) -> None:
    darwin.create("feth100")
    with Host(left, darwin, *ARGUMENTS) as host:
        assert host.stderr.next().startswith("E cannot create feth100: it exists")
        assert host.end() == 254
    assert set(darwin.interfaces()) == {"feth100"}


def test_the_end_of_the_service_is_a_read_error(left: Namespace, darwin: SimulatedDarwin) -> None:
    with Host(left, darwin, *ARGUMENTS) as host:
        assert host.stderr.next().startswith("I ")
        host.hang_up()
        assert host.end() == 253
    assert darwin.interfaces() == {}


def test_a_service_that_kills_it_gets_its_devices_removed(
    left: Namespace, darwin: SimulatedDarwin
) -> None:
    with Host(left, darwin, *ARGUMENTS) as host:
        assert host.stderr.next().startswith("I ")
        host.process.send_signal(signal.SIGTERM)
        assert host.end() == 0
    assert darwin.interfaces() == {}
