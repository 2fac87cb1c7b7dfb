"""A device that is a port of a bridge, from its first frame to its end."""

from __future__ import annotations

import json
import signal
import subprocess

import pytest

from tests.darwin.simulation import SimulatedDarwin
from tests.live.lan import be_access_point, be_switch
from tests.live.netns import Namespace
from tests.live.ordinary import NOBODY, as_nobody, with_public_tun_device
from tests.live.peers import wait_reachable
from tests.live.programs import LEFT, Fethpipe, changed, finish, on_mac, tunnel

pytestmark = pytest.mark.live

FAR = "10.9.0.3"


@pytest.fixture
def bridged(left: Namespace) -> Namespace:
    """Return a namespace whose bridge has an address and no port."""
    left.make_bridge(FAR)
    return left


def ports(namespace: Namespace) -> str:
    return namespace.run(["ip", "-br", "link", "show", "master", "br0"])


def mac_of(namespace: Namespace, interface: str) -> str:
    (link,) = json.loads(namespace.run(["ip", "-j", "link", "show", interface]))
    mac: str = link["address"]
    return mac


def test_what_is_behind_the_bridge_is_reached_through_the_tunnel(
    bridged: Namespace, right: Namespace
) -> None:
    right_options = ("--address", f"{LEFT}/24")
    with tunnel(bridged, right, left_options=("--bridge", "br0"), right_options=right_options):
        assert ports(bridged).startswith("fp0 ")
        wait_reachable(right, FAR)
    assert ports(bridged) == ""


def test_the_bridge_keeps_its_own_mac(bridged: Namespace) -> None:
    """A bridge without a MAC of its own takes the lowest of its ports', and loses its leases."""
    bridged.run(["ip", "tuntap", "add", "dev", "d0", "mode", "tap"])
    bridged.run(["ip", "link", "set", "d0", "address", "02:00:5e:00:53:01", "master", "br0"])
    with Fethpipe(bridged, "--bridge", "br0", stdin=subprocess.PIPE) as program:
        assert program.ready().mac.startswith("fe:")
        assert mac_of(bridged, "br0") == "02:00:5e:00:53:01"


def test_a_bridge_behind_which_nobody_answers_is_told(left: Namespace, right: Namespace) -> None:
    right.make_bridge()
    options, launcher = ("--bridge", "br0"), changed("ether.silence SECONDS = 0.1")
    with Namespace() as others:
        right.lay_cable("wlan0", others, "wlan0")
        right.run(["ip", "link", "set", "wlan0", "master", "br0"])
        others.run(["ip", "address", "add", f"{FAR}/24", "dev", "wlan0"])
        be_access_point(others, "wlan0", mac_of(right, "wlan0"))
        with tunnel(left, right, right_options=options, launcher=launcher) as (near, far):
            left.run(["sysctl", "-q", "-w", "net.ipv4.neigh.fp0.retrans_time_ms=20"])
            left.popen(["ping", "-i", "0.2", FAR])
            said = far.stderr.next(containing="nobody behind br0 answers")
            assert f"answers {mac_of(left, 'fp0')}; " in said
            assert "proxy ARP" in said
            be_switch(others)
            wait_reachable(left, FAR)
            far.send_signal(signal.SIGTERM)
            assert "nobody behind" not in far.end()[1].partition(said)[2]
            near.close()


def test_a_killed_program_leaves_no_port(bridged: Namespace) -> None:
    with Fethpipe(bridged, "--bridge", "br0", stdin=subprocess.PIPE) as program:
        assert program.ready().interface == "fp0"
        program.send_signal(signal.SIGKILL)
        bridged.wait_gone("fp0")
    assert ports(bridged) == ""


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (["--bridge", "br1"], 73, "br1 does not exist; make it first: ip link add br1 type bridge"),
        (["--bridge", "lo"], 73, "cannot make fp0 a port of lo: lo is not a bridge"),
        (["--bridge", "br0", "--mtu", "1400"], 73, "but br0 has 1500; use --mtu 1500"),
        (["--bridge", "br0", "--address", "10.9.0.1/24"], 64, "or add the address to br0"),
        (["--bridge", "br0", "--attach", "fp0"], 64, "use either --attach fp0 or --bridge br0"),
    ],
)
def test_a_bridge_that_cannot_take_the_device(
    bridged: Namespace, options: list[str], status: int, said: str
) -> None:
    finish(bridged, *options).ends(status, said)
    assert "fp0" not in bridged.interfaces()


def test_a_tap_that_exists_is_put_into_the_bridge_by_its_owner(bridged: Namespace) -> None:
    bridged.run(["ip", "tuntap", "add", "dev", "fp0", "mode", "tap", "user", str(NOBODY)])
    launcher = [*with_public_tun_device(), *as_nobody()]
    finish(bridged, "--name", "fp0", "--bridge", "br0", launcher=launcher).ends(
        64, "ip link set fp0 master br0"
    )


# ---- on a Mac ----

FETH, IO, BRIDGE = "feth10000", "feth20000", "bridge700"


@pytest.fixture
def bridged_mac(left: Namespace, darwin: SimulatedDarwin) -> SimulatedDarwin:
    """Return a Mac with a bridge that has an address and no member."""
    darwin.create(BRIDGE)
    left.run(["ip", "address", "add", f"{FAR}/24", "dev", BRIDGE])
    return darwin


def test_a_feth_is_a_member_of_a_bridge(
    left: Namespace, right: Namespace, bridged_mac: SimulatedDarwin
) -> None:
    options = ("--bridge", BRIDGE)
    with tunnel(left, right, left_options=options, left_launcher=on_mac(bridged_mac)):
        wait_reachable(right, FAR)
        assert bridged_mac.interfaces()[FETH].bridge == BRIDGE
        calls = [(call.name, call.interface) for call in bridged_mac.calls()]
        assert calls.index(("SIOCSDRVSPEC", BRIDGE)) < calls.index(("SIOCSIFFLAGS", FETH))
    left.wait_gone(FETH)
    assert FETH not in bridged_mac.interfaces()


def test_a_killed_mac_leaves_no_member(left: Namespace, bridged_mac: SimulatedDarwin) -> None:
    launcher = on_mac(bridged_mac)
    for _ in range(2):
        program = Fethpipe(left, "--bridge", BRIDGE, stdin=subprocess.PIPE, launcher=launcher)
        with program:
            assert program.ready().interface == FETH
            assert bridged_mac.interfaces()[FETH].bridge == BRIDGE
            program.send_signal(signal.SIGKILL)
            left.wait_gone(FETH)
            left.wait_gone(IO)
        assert bridged_mac.interfaces() == {}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--bridge", "bridge9"], "bridge9 does not exist; make it first: ifconfig bridge9 create"),
        (["--bridge", "en0"], f"cannot make {FETH} a port of en0: en0 is not a bridge"),
        (["--bridge", BRIDGE, "--mtu", "1400"], f"but {BRIDGE} has 1500; use --mtu 1500"),
    ],
)
def test_a_bridge_that_cannot_take_the_feth(
    left: Namespace, bridged_mac: SimulatedDarwin, options: list[str], said: str
) -> None:
    finish(left, *options, launcher=on_mac(bridged_mac)).ends(73, said)
    assert bridged_mac.interfaces() == {}
