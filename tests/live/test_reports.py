"""What fethpipe tells about itself: to people on stderr, to programs on ``--ready-fd``."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
from pathlib import Path

import pytest

from tests.live.ethernet import PacketSocket, make_frame
from tests.live.netns import Namespace
from tests.live.peer import Peer, records
from tests.live.programs import FETHPIPE, Fethpipe, finish
from tests.patience import PATIENCE

pytestmark = pytest.mark.live

_COUNTERS = re.compile(
    r"fethpipe: fp0: from device (\d+) frames (\d+) bytes, "
    r"to device (\d+) frames (\d+) bytes, dropped: (.*)"
)


def test_it_tells_what_it_made(left: Namespace, peer: Peer) -> None:
    arguments = [
        *("--name", "wire", "--mac", "02:00:5e:00:53:01", "--mtu", "1400"),
        *("--address", "10.9.0.1/24", "--address", "10.10.0.1/16"),
    ]
    with peer.start(left, *arguments) as program:
        facts = program.ready()
        assert program.stderr.next() == (
            "fethpipe: wire is up, waiting for the peer: "
            "MAC 02:00:5e:00:53:01, MTU 1400, 10.9.0.1/24, 10.10.0.1/16"
        )
        shown = left.run(["ip", "address", "show", "dev", "wire"])
    assert facts.interface == "wire"
    assert facts.io_interface is None
    assert facts.mac == "02:00:5e:00:53:01"
    assert facts.mtu == 1400
    assert facts.addresses == ["10.9.0.1/24", "10.10.0.1/16"]
    assert facts.pid == program.pid
    assert "mtu 1400" in shown
    assert "link/ether 02:00:5e:00:53:01" in shown
    assert "inet 10.9.0.1/24" in shown
    assert "inet 10.10.0.1/16" in shown


def test_the_kernel_picks_a_free_name_and_the_mac_stays_the_same(left: Namespace) -> None:
    found: list[tuple[str, str]] = []
    for _ in range(2):
        with Peer() as one, Peer() as other, one.start(left) as first:
            facts = first.ready()
            found.append((facts.interface, facts.mac))
            with other.start(left) as second:
                facts = second.ready()
                found.append((facts.interface, facts.mac))
        left.wait_gone("fp0")
        left.wait_gone("fp1")
    first_mac, second_mac = found[0][1], found[1][1]
    assert found == [("fp0", first_mac), ("fp1", second_mac)] * 2
    assert first_mac != second_mac
    assert all(int(mac[:2], 16) & 3 == 2 for mac in (first_mac, second_mac))


def test_the_same_name_on_another_host_has_another_mac(left: Namespace, right: Namespace) -> None:
    with Peer() as one, Peer() as other, one.start(left) as first, other.start(right) as second:
        assert first.ready().mac != second.ready().mac


def test_sigusr1_tells_what_passed(left: Namespace, peer: Peer) -> None:
    out = [make_frame(number, size=100) for number in range(7)]
    into = [make_frame(number, size=200) for number in range(5)]
    with peer.start(left).up() as program:
        with PacketSocket(left, "fp0") as device:
            for frame in out:
                device.send(frame)
                assert peer.receive() == frame
            peer.send(records(*into, b"", b"too short"))
            for frame in into:
                assert device.receive() == frame
        line = program.report()
        assert program.report() == line
    counted = _COUNTERS.fullmatch(line)
    assert counted is not None, line
    assert counted.groups() == ("7", "700", "5", "1000", "1 shorter than an Ethernet header")


def test_stats_tell_again_and_again(left: Namespace, peer: Peer) -> None:
    with peer.start(left, "--stats", "0.05").up() as program:
        for _ in range(3):
            assert _COUNTERS.fullmatch(program.stderr.next(containing="dropped"))


def test_quiet_says_nothing_but_counters_that_were_asked_for(left: Namespace, peer: Peer) -> None:
    with peer.start(left, "--quiet", "--address", "10.9.0.1/24").up() as program:
        program.report()
        peer.stop_sending()
        said = program.ends(0)
    assert _COUNTERS.fullmatch(said.rstrip("\n"))


def test_a_stderr_that_nobody_reads_does_not_stop_frames(left: Namespace, peer: Peer) -> None:
    with peer.start(left).up() as program:
        program.stderr.fill()
        program.send_signal(signal.SIGUSR1)
        with PacketSocket(left, "fp0") as device:
            for number in range(100):
                peer.send(records(make_frame(number)))
                assert device.receive() == make_frame(number)
        program.stop()


def test_there_is_a_line_for_each_state(left: Namespace, peer: Peer, tmp_path: Path) -> None:
    states = tmp_path / "states"
    with peer.start(left, "--ready-file", str(states)) as program:
        first = program.next_state()
        assert (first["state"], first["interface"], first["mtu"]) == ("device", "fp0", 1500)
        program.report()
        assert [json.loads(line) for line in states.read_text().splitlines()] == [first]
        peer.send(records(make_frame(1)))
        connected = {"state": "connected", "interface": "fp0"}
        assert program.next_state() == connected
        assert program.stderr.next(containing="connected") == "fethpipe: fp0: connected"
        program.report()
        assert json.loads(states.read_text().splitlines()[-1]) == connected
        program.stop()
    assert len(states.read_text().splitlines()) == 2


def test_states_that_nobody_reads_do_not_stop_frames(left: Namespace, peer: Peer) -> None:
    with peer.start(left).up() as program:
        program.stop_listening()
        with PacketSocket(left, "fp0") as device:
            peer.send(records(make_frame(1)))
            assert device.receive() == make_frame(1)


def test_the_service_manager_is_told(left: Namespace, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE)
        launcher = ["env", f"NOTIFY_SOCKET={tmp_path}/notify", *FETHPIPE]
        script = "env >&2; printf '\\0\\16aaaaaaaaaaaaaa'; cat >/dev/null"
        command = ("--up", "env >&2", "--", "sh", "-c", script)
        with Fethpipe(left, *command, launcher=launcher) as program:
            assert manager.recv(1000) == b"STATUS=fp0 is up, connecting through sh"
            assert manager.recv(1000) == b"READY=1\nSTATUS=fp0: connected through sh"
            said = program.stop("PATH=", "FETHPIPE_REASON=device")
    assert "NOTIFY_SOCKET" not in said


def test_a_ready_descriptor_that_is_stderr_stays_open(left: Namespace) -> None:
    done = finish(left, "--ready-fd", "2").ends(0)
    said = done.stderr.splitlines()
    assert json.loads(said[1])["interface"] == "fp0"
    assert "the peer closed the stream" in said[2]


def test_a_ready_descriptor_that_nobody_reads_is_an_error(left: Namespace) -> None:
    unread, written = os.pipe()
    os.close(unread)
    try:
        done = finish(left, "--ready-fd", str(written), pass_fds=[written])
    finally:
        os.close(written)
    assert done.status == 64
    assert f"--ready-fd {written}: EPIPE" in done.stderr
    left.wait_gone("fp0")
