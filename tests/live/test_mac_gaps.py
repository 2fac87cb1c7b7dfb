"""A Mac while there is no far end: its pair is disconnected, and DHCP asks again afterwards."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from ipaddress import ip_interface
from pathlib import Path

import pytest

from fethpipe.netif.darwin import DarwinInterfaces
from tests.darwin.inside import Inside
from tests.darwin.simulation import SimulatedDarwin
from tests.live.netns import Namespace
from tests.live.peer import Peer
from tests.live.programs import LEFT, Fethpipe, changed, on_mac

pytestmark = pytest.mark.live

FETH, IO = "feth10000", "feth20000"
OFTEN = "tunnel.tunnel _CHECK_SECONDS = 0.05"
SOON = "tunnel.retry _FIRST_SECONDS = 0.2"
LEASE = ip_interface("10.9.0.50/24")

IPCONFIG = """\
#!/bin/sh
# ipconfig(8), as strict as it is with an interface that does not exist; NONE is for one with DHCP.
echo "$*" >>LOG
[ $# = 3 ] && [ "$1" = set ] || exit 1
grep -q "^ *$2:" /proc/self/net/dev || { echo "there is no $2" >>LOG; exit 1; }
case $3 in
DHCP) : >LOG.$2 ;;
NONE) rm LOG.$2 || { echo "$2 has no DHCP" >>LOG; exit 1; } ;;
*) exit 1 ;;
esac
"""


class Gate:
    """A COMMAND that says when the link is up, as a first byte then comes, and ends when told."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self._path = path
        script = f"head -c 1 >/dev/null; echo COMMAND hears us >&2; read line <{path}"
        self.command = ("--", "sh", "-c", script)

    def end_command(self) -> None:
        self._path.write_text("end\n")


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "gate")


@pytest.fixture
def inside(darwin: SimulatedDarwin, left: Namespace) -> Iterator[DarwinInterfaces]:
    with Inside(darwin, left.path) as inside:
        yield inside.make(DarwinInterfaces)


def test_the_pair_is_disconnected_in_a_gap_and_addresses_stay(
    left: Namespace, darwin: SimulatedDarwin, gate: Gate
) -> None:
    launcher = on_mac(darwin, *changed(OFTEN, SOON))
    options = ("--address", f"{LEFT}/24", "--reconnect", *gate.command)
    with Fethpipe(left, *options, launcher=launcher) as program:
        program.stderr.next(containing="COMMAND hears us")
        before = darwin.interfaces()
        assert before[FETH].peer == IO
        gate.end_command()
        program.stderr.next(containing="starting again in")
        in_gap = darwin.interfaces()
        assert (in_gap[FETH].peer, in_gap[IO].peer) == ("", "")
        assert (in_gap[FETH].flags, in_gap[FETH].addresses) == (
            before[FETH].flags,
            before[FETH].addresses,
        )
        program.stderr.next(containing="COMMAND hears us")
        assert darwin.interfaces() == before
        program.stop()
    assert darwin.interfaces() == {}
    assert darwin.violations() == []


def test_it_is_disconnected_until_ssh_has_started_the_far_end(
    left: Namespace, darwin: SimulatedDarwin
) -> None:
    options = ("--ssh", "host", "--ssh-command", "sh -c 'exec sleep 60'")
    with Fethpipe(left, *options, launcher=on_mac(darwin)).up() as program:
        assert darwin.interfaces()[FETH].peer == ""
        program.send_signal(signal.SIGKILL)
        left.wait_gone(FETH)
        left.wait_gone(IO)


def test_another_peer_meanwhile_is_told_and_left_alone(
    left: Namespace, darwin: SimulatedDarwin, inside: DarwinInterfaces, gate: Gate
) -> None:
    launcher = on_mac(darwin, *changed(SOON))
    with Fethpipe(left, "--reconnect", *gate.command, launcher=launcher) as program:
        program.stderr.next(containing="COMMAND hears us")
        darwin.create("feth7")
        gate.end_command()
        program.stderr.next(containing="starting again in")
        inside.set_peer(FETH, "feth7")
        program.ends(73, f"cannot join {FETH} and {IO}: {FETH} is joined to feth7")
    assert list(darwin.interfaces()) == ["feth7"]


def test_a_pair_of_somebody_else_stays_joined(
    left: Namespace, darwin: SimulatedDarwin, gate: Gate
) -> None:
    with Peer() as peer, peer.start(left, launcher=on_mac(darwin)).up():
        options = ("--attach", FETH, "--reconnect", *gate.command)
        with Fethpipe(left, *options, launcher=on_mac(darwin, *changed(SOON))) as program:
            program.stderr.next(containing="COMMAND hears us")
            gate.end_command()
            program.stderr.next(containing="starting again in")
            assert darwin.interfaces()[FETH].peer == IO


def test_dhcp_is_asked_for_again_and_ends_before_the_pair(
    left: Namespace, darwin: SimulatedDarwin, inside: DarwinInterfaces, gate: Gate, tmp_path: Path
) -> None:
    log, ipconfig = tmp_path / "log", tmp_path / "ipconfig"
    ipconfig.write_text(IPCONFIG.replace("LOG", str(log)))
    ipconfig.chmod(0o755)
    launcher = on_mac(darwin, *changed(OFTEN, SOON, f"keeper.dhcp _IPCONFIG = '{ipconfig}'"))
    with Fethpipe(left, "--dhcp", "--reconnect", *gate.command, launcher=launcher) as program:
        program.stderr.next(containing=f"{FETH}: ipconfig asks for an address")
        program.stderr.next(containing="COMMAND hears us")
        inside.add_address(FETH, LEASE)
        program.stderr.next(containing=f"{FETH}: got {LEASE} by DHCP")
        gate.end_command()
        program.stderr.next(containing=f"{FETH}: ipconfig asks for an address")
        program.stderr.next(containing="COMMAND hears us")
        assert log.read_text().splitlines() == [f"set {FETH} DHCP"] * 2
        inside.remove_address(FETH, LEASE)
        program.stderr.next(containing=f"{FETH} has lost {LEASE}: asking for an address again")
        inside.add_address(FETH, LEASE)
        program.stderr.next(containing=f"{FETH}: got {LEASE} by DHCP")
        program.stop()
    assert log.read_text().splitlines() == [*[f"set {FETH} DHCP"] * 3, f"set {FETH} NONE"]
    assert darwin.interfaces() == {}
