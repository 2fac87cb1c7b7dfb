"""A LAN at the far end: a bridge with three stations, a DHCP server, and an sshd."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from fethpipe.keeper.dhcp import CLIENTS, SEARCH_PATH
from tests.live.netns import Namespace, require_tools
from tests.live.sshd import Sshd, join

STATIONS = ("10.9.0.11", "10.9.0.12", "10.9.0.13")
DHCP_SERVER = (
    *("dnsmasq", "--keep-in-foreground", "--port=0", "--bind-interfaces", "--no-ping"),
    *("--user=root", "--conf-file=/dev/null", "--pid-file=", "--dhcp-authoritative"),
    "--dhcp-range=10.9.0.50,10.9.0.99,1h",
)
_ROUTER = ("--enable-ra", "--dhcp-range=fd00:9::,ra-only", "--ra-param=br0,4")
HOST6 = "fd00:9::254"


class Lan(NamedTuple):
    """A LAN: the host with its bridge, its DHCP server and its sshd, and its other stations."""

    host: Namespace
    stations: Sequence[Namespace]
    sshd: Sshd

    def arguments(self, *options: str) -> list[str]:
        """Return what joins it."""
        ssh = ["--ssh", "far", "--ssh-command", self.sshd.ssh_command]
        return ["--dhcp", *ssh, "--remote", "--bridge br0", *options]

    def ports(self) -> list[str]:
        """Return the ports of the bridge that are not of the stations."""
        lines = self.host.run(["ip", "-br", "link", "show", "master", "br0"]).splitlines()
        return [line for line in lines if not line.startswith("port")]


@contextlib.contextmanager
def far_lan(
    left: Namespace, right: Namespace, tmp_path: Path, *, ipv6: bool = False
) -> Iterator[Lan]:
    """Make a LAN on the right, and join its host to the left. With ``ipv6`` it advertises HOST6 as
    a router.
    """
    require_tools("dnsmasq")
    if not any(shutil.which(client.name, path=SEARCH_PATH) for client in CLIENTS):
        pytest.skip("needs a DHCP client")
    join(left, right)
    with ExitStack() as stack:
        right.make_bridge("10.9.0.254")
        stations = [stack.enter_context(Namespace(ipv6=ipv6)) for _ in STATIONS]
        for number, station in enumerate(stations):
            plug(right, station, f"port{number}", STATIONS[number])
        if ipv6:
            right.run(["ip", "address", "add", f"{HOST6}/64", "dev", "br0", "nodad"])
        server = [*DHCP_SERVER, "--interface=br0", *(_ROUTER if ipv6 else ())]
        right.popen([*server, f"--dhcp-leasefile={tmp_path}/leases"])
        yield Lan(right, stations, stack.enter_context(Sshd(right)))


def plug(host: Namespace, station: Namespace, port: str, address: str) -> None:
    """Join a station to the bridge."""
    host.lay_cable(port, station, "eth0")
    host.run(["ip", "link", "set", port, "master", "br0"])
    station.run(["ip", "address", "add", f"{address}/24", "dev", "eth0"])


def be_access_point(namespace: Namespace, interface: str, mac: str) -> None:
    """Let only frames of one MAC come in, as a Wi-Fi takes frames of its stations only."""
    require_tools("nft")
    chain = f"{{ type filter hook ingress device {interface} priority 0; }}"
    namespace.run(["nft", "add", "table", "netdev", "wifi"])
    namespace.run(["nft", "add", "chain", "netdev", "wifi", "in", chain])
    rule = ["ether", "saddr", "!=", mac, "drop"]
    namespace.run(["nft", "add", "rule", "netdev", "wifi", "in", *rule])


def be_switch(namespace: Namespace) -> None:
    """Let all frames come in again."""
    namespace.run(["nft", "delete", "table", "netdev", "wifi"])
