"""Traffic between the host's side of a vmnet interface and a TAP of Linux, and how it ends."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

import pytest

from tests.live.ethernet import PacketSocket, frame_number, make_frame
from tests.live.netns import Namespace
from tests.live.peer import Peer
from tests.live.private import UID, Private, Process, descriptors_of
from tests.live.programs import Fethpipe, Finished, finish, on_mac, tunnel
from tests.live.terminals import TerminalSession
from tests.live.traffic import transfer, transfer_both_ways
from tests.vmnet.framework import MacWithVmnet

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux, and pidfd_open"),
]

BRIDGE, TAP = "bridge100", "fp0"
HOST, GUEST = "192.168.77.1", "192.168.77.2"
RANGE = (
    *("--vmnet-start", HOST, "--vmnet-end", "192.168.77.99"),
    *("--vmnet-mask", "255.255.255.0"),
)
NOBODY = 65534
AT_ONCE = 10.0
"""Seconds after which nothing may be left of a tunnel that was killed; a leak stays for ever."""
VMNET = ("--device", "vmnet")


def _start(
    left: Namespace, peer: Peer, mac: MacWithVmnet, *options: str, before: Sequence[str] = ()
) -> Fethpipe:
    """Start a fethpipe on the Mac, whose stream ends in the test."""
    return peer.start(left, *VMNET, *options, launcher=mac.launcher(*before))


def _tunnel(
    left: Namespace, right: Namespace, mac: MacWithVmnet, *options: str
) -> contextlib.AbstractContextManager[tuple[Fethpipe, Fethpipe]]:
    """Join the Mac and Linux; ``options`` are for both ends."""
    return tunnel(
        left,
        right,
        *options,
        left_options=(*VMNET, *RANGE),
        right_options=("--address", f"{GUEST}/24"),
        left_launcher=mac.launcher(),
    )


@contextlib.contextmanager
def _bridged(
    left: Namespace, peer: Peer, mac: MacWithVmnet, *options: str
) -> Iterator[tuple[Fethpipe, PacketSocket]]:
    """Start a fethpipe, and open a socket on the host's side of its interface."""
    with _start(left, peer, mac, *options) as program:
        program.ready()
        with PacketSocket(left, BRIDGE) as bridge:
            yield program, bridge


# ---- traffic ----


def test_a_flood_of_pings_is_answered_to_the_last(
    left: Namespace, right: Namespace, mac: MacWithVmnet
) -> None:
    with _tunnel(left, right, mac) as (_, guest):
        for size in ("20", "1400"):
            said = left.run(["ping", "-f", "-q", "-c", "2000", "-s", size, GUEST])
            assert "2000 packets transmitted, 2000 received, 0% packet loss" in said
        assert "dropped: none" in guest.report()


@pytest.mark.parametrize("mtu", [1500, 9000])
def test_tcp_carries_50_mb_each_way(
    left: Namespace, right: Namespace, mac: MacWithVmnet, mtu: int
) -> None:
    with _tunnel(left, right, mac, "--mtu", str(mtu)):
        transfer_both_ways(left, HOST, right, GUEST, 50_000_000)


@pytest.mark.parametrize("settings", [{"exhaust": "20", "short_reads": "1"}])
def test_tcp_gets_through_a_framework_that_is_short_of_buffers(
    left: Namespace, right: Namespace, mac: MacWithVmnet
) -> None:
    with _tunnel(left, right, mac):
        transfer(left, right, GUEST, 5_000_000)
        transfer(right, left, HOST, 5_000_000)


@pytest.mark.parametrize("settings", [{"exhaust": "100"}])
def test_frames_that_vmnet_does_not_take_are_counted(
    left: Namespace, mac: MacWithVmnet, peer: Peer
) -> None:
    with _start(left, peer, mac).up() as program:
        for number in range(3):
            frame = make_frame(number)
            peer.send(len(frame).to_bytes(2, "big") + frame)
        program.report(showing="dropped: 3 kernel out of buffers")


_LARGEST_BURST = 12


@pytest.mark.parametrize("count", [10_000, pytest.param(100_000, marks=pytest.mark.exhaustive)])
@pytest.mark.parametrize("settings", [{"short_reads": "1"}])
def test_no_wakeup_is_lost(left: Namespace, mac: MacWithVmnet, peer: Peer, count: int) -> None:
    """A burst is sent when the one before it has come, so a wake-up that is lost stops all."""
    random = Random(2)
    with _bridged(left, peer, mac, "--no-hello") as (_, bridge):
        sent = received = 0
        while sent < count:
            burst = range(sent, sent + random.randint(1, _LARGEST_BURST))
            for number in burst:
                bridge.send(make_frame(number))
            sent = burst.stop
            while received < sent:
                assert frame_number(peer.receive()) == received
                received += 1


def test_it_goes_on_when_the_stream_was_stuck(
    left: Namespace, mac: MacWithVmnet, peer: Peer
) -> None:
    with _bridged(left, peer, mac) as (_, bridge):
        frame = make_frame(1, size=1500)
        # More than all queues on the way hold, so the device drops some, like any other.
        for _ in range(5000):
            with contextlib.suppress(OSError):
                bridge.send(frame)
        while frame_number(peer.receive()) != 2:
            with contextlib.suppress(OSError):
                bridge.send(make_frame(2))


# ---- how it starts ----


def test_the_facts_are_told(left: Namespace, peer: Peer, mac: MacWithVmnet) -> None:
    with _start(left, peer, mac, *RANGE, "--vmnet-mode", "host", "--mtu", "1400") as program:
        facts = program.ready()
        assert facts.interface == "vmnet"
        assert re.fullmatch("5a:94:ef:0c:..:..", facts.mac)
        assert facts.mtu == 1400
        assert facts.vmnet == {
            "mode": "host",
            "max_packet": 1414,
            "start_address": HOST,
            "end_address": "192.168.77.99",
            "subnet_mask": "255.255.255.0",
            "host_interface": BRIDGE,
        }
        line = program.stderr.next(containing="vmnet is up")
        assert line.endswith(
            f"MAC {facts.mac}, MTU 1400, host mode, longest frame 1414, "
            f"host {HOST} on {BRIDGE}, up to 192.168.77.99, mask 255.255.255.0"
        )


def test_vmnet_chooses_what_nobody_asks_for(left: Namespace, peer: Peer, mac: MacWithVmnet) -> None:
    with _start(left, peer, mac) as program:
        facts = program.ready().vmnet or {}
        assert (facts["mode"], facts["start_address"]) == ("shared", "192.168.64.1")


def test_a_bridged_interface_has_no_addresses(
    left: Namespace, peer: Peer, mac: MacWithVmnet
) -> None:
    options = ("--vmnet-mode", "bridged", "--vmnet-interface", "en0")
    with _start(left, peer, mac, *options) as program:
        facts = program.ready().vmnet or {}
        assert (facts["mode"], facts["start_address"]) == ("bridged", None)
        assert facts["host_interface"] == "en0"


def _mac_of_a_start(left: Namespace, peer: Peer, mac: MacWithVmnet, *options: str) -> str:
    with _start(left, peer, mac, *options) as program:
        return program.ready().mac


def test_the_mac_is_the_same_at_each_start(left: Namespace, peer: Peer, mac: MacWithVmnet) -> None:
    first = _mac_of_a_start(left, peer, mac)
    assert _mac_of_a_start(left, peer, mac) == first
    assert _mac_of_a_start(left, peer, mac, *RANGE) != first


@pytest.mark.parametrize(("code", "status"), [(1001, 73), (1002, 71), (1005, 77), (1009, 73)])
def test_a_start_that_is_refused_is_told(
    left: Namespace, mac: MacWithVmnet, code: int, status: int
) -> None:
    mac.settings["start_status"] = str(code)
    ended = _finish(left, mac).ends(status)
    start = "fethpipe: cannot start a vmnet interface in shared mode: vmnet_start_interface: "
    assert ended.stderr.startswith(f"{start}{code}")
    assert ended.stderr.count("\n") == 1
    if code == 1009:
        assert "turn Internet Sharing off" in ended.stderr
    assert left.interfaces() == ["lo"]


def _finish(left: Namespace, mac: MacWithVmnet, *options: str) -> Finished:
    return finish(left, *VMNET, *options, "--", "true", launcher=mac.launcher())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--address", f"{HOST}/24"), "--address does not work with vmnet: set this Mac's address"),
        (("--name", "feth1"), "--name does not work with vmnet"),
        (("--attach", "feth1"), "--attach does not work with vmnet"),
        (("--mac", "02:00:5e:00:53:01"), "--mac does not work with vmnet"),
        (("--metric", "1"), "--metric does not work with vmnet"),
        (("--unit", "1"), "--unit works with --device feth only, not with vmnet"),
        (("--inject", "bpf"), "--inject works with --device feth only, not with vmnet"),
        (("--mtu", "67"), "--mtu 67 is out of range"),
        (("--vmnet-mode", "magic"), "--vmnet-mode"),
        (("--vmnet-mode", "bridged"), "add --vmnet-interface en0"),
        (("--vmnet-start", HOST), "need each other"),
        (("--vmnet-mode", "host", "--vmnet-network", "x"), "is not a UUID"),
    ],
)
def test_what_cannot_be_is_refused(
    left: Namespace, mac: MacWithVmnet, options: tuple[str, ...], message: str
) -> None:
    ended = _finish(left, mac, *options).ends(64, message)
    assert ended.stderr.count("\n") == 1
    assert mac.noted() == []


@pytest.mark.parametrize(
    "option",
    [
        ("--vmnet-mode", "host"),
        ("--vmnet-isolated",),
        ("--vmnet-interface", "en0"),
        ("--vmnet-mask", "255.0.0.0"),
    ],
)
def test_other_devices_have_no_options_of_vmnet(
    left: Namespace, mac: MacWithVmnet, option: tuple[str, ...]
) -> None:
    finish(left, *option, "--", "true", launcher=mac.launcher()).ends(
        64, f"{option[0]} works with --device vmnet only, not feth"
    )


def test_linux_has_no_vmnet(right: Namespace) -> None:
    ended = finish(right, *VMNET, "--", "true").ends(64)
    assert ended.stderr == "fethpipe: --device vmnet needs macOS, but this is Linux\n"


def test_a_mac_without_the_framework_says_so(left: Namespace, mac: MacWithVmnet) -> None:
    only_darwin = mac.environment["LD_PRELOAD"].partition(":")[0]
    launcher = mac.launcher("env", f"LD_PRELOAD={only_darwin}")
    ended = finish(left, *VMNET, "--", "true", launcher=launcher).ends(
        73, "cannot use vmnet.framework"
    )
    assert ended.stderr.count("\n") == 1


# ---- who runs what ----


@pytest.fixture
def private(left: Namespace, mac: MacWithVmnet) -> Iterator[Private]:
    with Private(left) as private:
        yield private


COMMAND = ("--", "sh", "-c", "echo COMMAND runs >&2; exec cat")


def _private_launcher(private: Private, mac: MacWithVmnet) -> list[str]:
    return private.fethpipe(*on_mac(mac, "env"))


def _start_private(private: Private, mac: MacWithVmnet) -> Fethpipe:
    """Start a tunnel with a COMMAND as root, and wait until both run."""
    launcher = _private_launcher(private, mac)
    program = Fethpipe(private.namespace, *VMNET, *COMMAND, launcher=launcher).up()
    assert program.stderr.next(containing="COMMAND runs")
    return program


class _Roles:
    """The processes of a running tunnel with a COMMAND."""

    def __init__(self, private: Private, mac: MacWithVmnet) -> None:
        (line,) = mac.noted("start")
        processes = private.processes()
        self.vmnet = processes[int(line.split()[1])]
        self.keeper = processes[self.vmnet.parent]


def test_frames_are_moved_by_nobody(private: Private, left: Namespace, mac: MacWithVmnet) -> None:
    with _start_private(private, mac) as program:
        roles = _Roles(private, mac)
        assert roles.keeper.uids == [0] * 4
        _is_nobody(roles.vmnet)
        assert roles.vmnet.groups == [NOBODY]
        assert roles.vmnet.session == roles.vmnet.pid
        about = Path(f"/proc/{roles.vmnet.pid}")
        assert os.readlink(about / "cwd") == "/"
        limits = (about / "limits").read_text()
        assert re.search(r"^Max core file size +0 +0 ", limits, re.MULTILINE)
        held = descriptors_of(roles.vmnet.pid).values()
        assert sum(link.startswith("socket:") for link in held) == 2  # the channel and the cable
        assert not any("fethpipe" in link for link in held)  # nor the keeper's record
        with PacketSocket(left, BRIDGE) as bridge:
            bridge.send(make_frame(1))
            assert bridge.receive() == make_frame(1)
        program.stop()
        private.wait_empty(AT_ONCE)


def _is_nobody(process: Process) -> None:
    assert process.uids == [NOBODY] * 4
    assert process.gids == [NOBODY] * 4
    assert not process.has_root


def test_the_process_of_vmnet_reads_no_terminal(
    private: Private, left: Namespace, mac: MacWithVmnet
) -> None:
    argv = [*_private_launcher(private, mac), *VMNET, "--user", "root", *COMMAND]
    with TerminalSession(left, argv) as terminal:
        assert terminal.wait_for("COMMAND runs")
        (line,) = mac.noted("start")
        about = Path(f"/proc/{line.split()[1]}")
        held = [
            each
            for each in descriptors_of(int(about.name))
            if "/dev/pts" in os.readlink(about / f"fd/{each}")
        ]
        assert held
        for each in held:
            flags = re.search(
                r"^flags:\s+(\d+)", (about / f"fdinfo/{each}").read_text(), re.MULTILINE
            )
            assert flags
            assert int(flags[1], 8) & os.O_ACCMODE == os.O_WRONLY, each
        terminal.type("\x03")
        assert terminal.wait_for("status 0")


@pytest.mark.parametrize("settings", [{"entitled": "1"}])
def test_where_macos_allows_it_no_root_is_needed(
    private: Private, left: Namespace, mac: MacWithVmnet
) -> None:
    left.make_tap(BRIDGE, user=UID)
    launcher = private.fethpipe_for_user(*private.as_user(), *on_mac(mac, "env"))
    with Fethpipe(left, *VMNET, *COMMAND, launcher=launcher).up() as program:
        assert program.stderr.next(containing="COMMAND runs")
        processes = private.processes()
        assert len(processes) == 4  # pump, launcher, COMMAND, and the one of vmnet
        assert all(process.uids == [UID] * 4 for process in processes.values())
        program.stop()
        assert private.processes() == {}


# ---- how it ends ----


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL], ids=lambda n: n.name
)
def test_nothing_is_left_however_it_ends(
    private: Private, left: Namespace, mac: MacWithVmnet, number: signal.Signals
) -> None:
    with _start_private(private, mac) as program:
        program.send_signal(number)
        status, said = program.end()
        if number != signal.SIGKILL:
            assert status == 0
            assert f"vmnet: stopped by {number.name}" in said
            assert left.interfaces() == ["lo"]  # it has waited for that
        private.wait_empty(AT_ONCE)
    assert len(mac.noted("start")) == len(mac.noted("stop")) == 1


def test_the_end_of_its_process_is_the_end_of_the_tunnel(
    private: Private, left: Namespace, mac: MacWithVmnet
) -> None:
    with _start_private(private, mac) as program:
        roles = _Roles(private, mac)
        os.kill(roles.vmnet.pid, signal.SIGKILL)
        program.ends(73, "vmnet has gone; its process ended")
        private.wait_empty(AT_ONCE)


@pytest.mark.parametrize("settings", [{"break_after": "20"}])
def test_an_interface_that_fails_is_told(left: Namespace, mac: MacWithVmnet, peer: Peer) -> None:
    with _bridged(left, peer, mac) as (program, bridge):
        with contextlib.suppress(OSError):  # there is no bridge any more
            for number in range(1000):
                bridge.send(make_frame(number))
                if program.ended_by(time.monotonic() + 0.01):
                    break
        program.ends(73, "the vmnet interface failed: vmnet_", "1004 (VMNET_SETUP_INCOMPLETE)")


@pytest.mark.exhaustive
@pytest.mark.parametrize("settings", [{"stop_silent": "1"}])
def test_a_framework_that_does_not_stop_is_not_waited_for(
    private: Private, left: Namespace, mac: MacWithVmnet
) -> None:
    with _start_private(private, mac) as program:
        program.stop("vmnet does not stop")
        private.wait_empty(AT_ONCE)
