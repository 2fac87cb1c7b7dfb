"""Traffic between a feth of a simulated Mac and a TAP of Linux, and how the Mac's end ends."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from collections.abc import Sequence
from ipaddress import ip_interface
from pathlib import Path

import pytest

from fethpipe.netif.darwin import DarwinInterfaces
from tests.darwin.inside import Inside
from tests.darwin.simulation import SimulatedDarwin
from tests.live.ethernet import PacketSocket, make_frame
from tests.live.netns import Namespace
from tests.live.peer import Peer
from tests.live.peers import ping_at_once, ping_in_turn
from tests.live.programs import LEFT, RIGHT, Fethpipe, changed, finish, on_mac, tunnel
from tests.live.traffic import transfer_both_ways

pytestmark = pytest.mark.live

FETH, IO, TAP = "feth10000", "feth20000", "fp0"


def _start_on_mac(left: Namespace, peer: Peer, darwin: SimulatedDarwin, *options: str) -> Fethpipe:
    return peer.start(left, *options, launcher=on_mac(darwin))


def _tunnel(
    left: Namespace,
    right: Namespace,
    darwin: SimulatedDarwin,
    *options: str,
    left_options: Sequence[str] = ("--address", f"{LEFT}/24"),
    right_options: Sequence[str] = ("--address", f"{RIGHT}/24"),
) -> contextlib.AbstractContextManager[tuple[Fethpipe, Fethpipe]]:
    """Join the Mac and Linux; ``options`` are for both ends."""
    return tunnel(
        left,
        right,
        *options,
        left_options=left_options,
        right_options=right_options,
        left_launcher=on_mac(darwin),
    )


# ---- traffic ----


@pytest.mark.parametrize("options", [("--inject", "ndrv"), ()], ids=["AF_NDRV", "batches"])
def test_a_flood_of_pings_is_answered_to_the_last(
    left: Namespace, right: Namespace, darwin: SimulatedDarwin, options: tuple[str, ...]
) -> None:
    mac_options = ("--address", f"{LEFT}/24", *options)
    with _tunnel(left, right, darwin, left_options=mac_options):
        for size in ("20", "1400"):
            said = right.run(["ping", "-f", "-q", "-c", "2000", "-s", size, LEFT])
            assert "2000 packets transmitted, 2000 received, 0% packet loss" in said
    counters = darwin.counters()
    assert bool(counters["ndrv_writes"]) == bool(options)


@pytest.mark.parametrize("mtu", [1500, 16370])
@pytest.mark.parametrize("inject", ["ndrv", "bpf"])
def test_tcp_carries_50_mb_each_way(
    left: Namespace, right: Namespace, darwin: SimulatedDarwin, mtu: int, inject: str
) -> None:
    mac_options = ("--address", f"{LEFT}/24", "--inject", inject)
    with _tunnel(left, right, darwin, "--mtu", str(mtu), left_options=mac_options):
        transfer_both_ways(left, LEFT, right, RIGHT, 50_000_000)
    counters = darwin.counters()
    assert counters["refused_writes"] == 0
    assert counters["bpf_bytes_read"] > 50_000_000


def test_ipv6_passes(darwin: SimulatedDarwin, left: Namespace) -> None:
    with Namespace(ipv6=True) as right:
        ends = _tunnel(
            left,
            right,
            darwin,
            left_options=("--address", "fd00:9::1/64"),
            right_options=("--address", "fd00:9::2/64"),
        )
        with ends:
            right.wait_usable("fd00:9::2")
            said = ping_at_once(right, "fd00:9::1", 20, "-6", "-q")
    assert "20 packets transmitted, 20 received, 0% packet loss" in said


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(make_frame(1, size=18), id="the shortest that a test can tell"),
        pytest.param(make_frame(2, size=14 + 1500), id="one that fills the MTU"),
        pytest.param(make_frame(3, tag=bytes.fromhex("8100 0005")), id="one in VLAN 5"),
        pytest.param(
            make_frame(4, size=14 + 4 + 1500, tag=bytes.fromhex("8100 efff")),
            id="one in a VLAN that fills the MTU",
        ),
    ],
)
def test_a_frame_arrives_unchanged_both_ways(
    left: Namespace, right: Namespace, darwin: SimulatedDarwin, frame: bytes
) -> None:
    with contextlib.ExitStack() as stack:
        stack.enter_context(_tunnel(left, right, darwin, left_options=(), right_options=()))
        mac = stack.enter_context(PacketSocket(left, FETH))
        linux = stack.enter_context(PacketSocket(right, TAP))
        mac.send(frame)
        assert linux.receive() == frame
        linux.send(frame)
        assert mac.receive() == frame


# ---- how it starts ----


def test_the_facts_are_told(left: Namespace, peer: Peer, darwin: SimulatedDarwin) -> None:
    with _start_on_mac(left, peer, darwin, "--address", f"{LEFT}/24", "--mtu", "9000") as program:
        facts = program.ready()
        assert (facts.interface, facts.io_interface, facts.mtu) == (FETH, IO, 9000)
        assert facts.addresses == [f"{LEFT}/24"]
        assert facts.mac == darwin.interfaces()[FETH].mac


@pytest.mark.parametrize("options", [("--unit", "12"), ("--name", "feth12")])
def test_a_unit_is_chosen(
    left: Namespace, peer: Peer, darwin: SimulatedDarwin, options: tuple[str, str]
) -> None:
    with _start_on_mac(left, peer, darwin, *options) as program:
        facts = program.ready()
        assert (facts.interface, facts.io_interface) == ("feth12", "feth10012")


def test_an_attached_pair_stays(left: Namespace, darwin: SimulatedDarwin) -> None:
    with Peer() as first, _start_on_mac(left, first, darwin).up() as maker:
        with Peer() as second:
            with _start_on_mac(left, second, darwin, "--attach", FETH) as program:
                assert program.ready().io_interface == IO
                program.stop()
            assert sorted(darwin.interfaces()) == [FETH, IO]
        maker.stop()
    assert darwin.interfaces() == {}


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (("--device", "tap"), 64, "--device tap needs Linux, but this is Darwin"),
        (("--unit", "22768"), 64, "feth22768 cannot have an I/O side"),
        (("--name", "fp0"), 64, "fp0 is not a feth name"),
        (("--unit", "1", "--name", "feth1"), 64, "use either --unit N or --name fethN, not both"),
        (("--unit", "1", "--attach", "feth1"), 64, "not both"),
        (("--mtu", "16371"), 64, "72 to 16370"),
        (("--attach", "en0"), 73, "cannot attach to en0: it is not a feth"),
        (("--inject", "magic"), 64, "--inject"),
    ],
)
def test_what_cannot_be_is_refused(
    left: Namespace,
    darwin: SimulatedDarwin,
    options: tuple[str, ...],
    status: int,
    message: str,
) -> None:
    command = ["--", "true"]
    ended = finish(left, *options, *command, launcher=on_mac(darwin)).ends(status, message)
    assert len(ended.stderr.splitlines()) == 1
    assert darwin.interfaces() == {}


@pytest.mark.parametrize(
    ("call", "error", "status"),
    [
        ("SIOCIFCREATE2", errno.EPERM, 77),
        ("SIOCSDRVSPEC", errno.EBUSY, 73),
        ("BIOCSETIF", errno.ENXIO, 73),
        ("bind", errno.EADDRNOTAVAIL, 73),
    ],
)
def test_a_step_that_fails_is_told_and_leaves_nothing(
    left: Namespace, darwin: SimulatedDarwin, call: str, error: int, status: int
) -> None:
    darwin.fail(call, error)
    finish(left, "--", "true", launcher=on_mac(darwin)).ends(
        status, f": {call}: {errno.errorcode[error]} ("
    )
    assert darwin.interfaces() == {}


def test_linux_has_no_feth(right: Namespace) -> None:
    ended = finish(right, "--device", "feth", "--", "true").ends(64)
    assert ended.stderr == "fethpipe: --device feth needs macOS, but this is Linux\n"


@pytest.mark.parametrize("options", [("--unit", "5"), ("--inject", "bpf")])
def test_linux_has_no_options_of_feth(right: Namespace, options: tuple[str, str]) -> None:
    finish(right, *options, "--", "true").ends(64, f"{options[0]} works with --device feth only")


# ---- how it ends ----


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL], ids=lambda n: n.name
)
def test_no_pair_is_left_however_it_ends(
    left: Namespace, peer: Peer, darwin: SimulatedDarwin, number: signal.Signals
) -> None:
    with _start_on_mac(left, peer, darwin).up() as program:
        assert sorted(darwin.interfaces()) == [FETH, IO]
        program.send_signal(number)
        status, said = program.end()
        for name in (FETH, IO):
            left.wait_gone(name)
    assert darwin.interfaces() == {}
    if number != signal.SIGKILL:
        assert status == 0
        assert f"{FETH}: stopped by {number.name}" in said


@pytest.mark.parametrize("of_another", [False, True], ids=["as it was", "of somebody else by now"])
def test_what_a_killed_keeper_left_goes_at_the_next_start(
    left: Namespace, darwin: SimulatedDarwin, of_another: bool
) -> None:
    with Peer() as first, _start_on_mac(left, first, darwin).up() as program:
        (keeper,) = Path(f"/proc/{program.pid}/task/{program.pid}/children").read_text().split()
        os.kill(int(keeper), signal.SIGKILL)
        program.ends(71, f"the keeper of {FETH} has died")
    assert sorted(darwin.interfaces()) == [FETH, IO]
    if of_another:  # XNU gives a later one the same index; its MAC is what tells
        with Inside(darwin, left.path) as inside:
            inside.make(DarwinInterfaces).set_mac(FETH, bytes.fromhex("02005e005377"))
    with Peer() as second, _start_on_mac(left, second, darwin) as program:
        facts = program.ready()
        assert facts.interface == ("feth10001" if of_another else FETH)
        program.stop()
    assert list(darwin.interfaces()) == ([FETH] if of_another else [])


@pytest.mark.parametrize(
    ("side", "why"), [(IO, "ENXIO"), (FETH, f"{IO} is no longer joined to it")]
)
def test_it_ends_when_somebody_destroys_one_side(
    left: Namespace, peer: Peer, darwin: SimulatedDarwin, side: str, why: str
) -> None:
    often = on_mac(darwin, *changed("tunnel.tunnel _CHECK_SECONDS = 0.1"))
    with peer.start(left, launcher=often).up() as program:
        darwin.destroy(side)
        program.ends(73, f"{FETH} has gone: {why}")
    assert darwin.interfaces() == {}


@pytest.mark.parametrize("lost", [f"{LEFT}/24", "fd00:9::1/64"])
def test_an_address_that_vanishes_is_added_again_once(
    left: Namespace, peer: Peer, darwin: SimulatedDarwin, lost: str
) -> None:
    often = on_mac(darwin, *changed("tunnel.tunnel _CHECK_SECONDS = 0.1"))
    options = ("--address", f"{LEFT}/24", "--address", "fd00:9::1/64")
    with (
        Inside(darwin, left.path) as inside,
        peer.start(left, *options, launcher=often) as program,
    ):
        program.ready()
        interfaces = inside.make(DarwinInterfaces)
        interfaces.remove_address(FETH, ip_interface(lost))
        program.stderr.next(containing=f"{FETH} had lost {lost}: added it again")
        assert lost in darwin.interfaces()[FETH].addresses
        interfaces.remove_address(FETH, ip_interface(lost))
        program.stderr.next(containing=f"{FETH} has lost {lost}; add it again")
        assert lost not in darwin.interfaces()[FETH].addresses
        program.stop()


def test_without_batches_it_says_so_and_goes_on(
    left: Namespace, right: Namespace, darwin: SimulatedDarwin
) -> None:
    darwin.deviate("batch_write_missing")
    mac_options = ("--address", f"{LEFT}/24", "--inject", "bpf")
    with _tunnel(left, right, darwin, left_options=mac_options) as (mac, _):
        assert "BIOCSBATCHWRITE: EINVAL" in mac.stderr.next(containing="batches")
        ping_in_turn(right, LEFT, 100)
