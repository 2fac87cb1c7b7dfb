"""What the DHCP server of the far network may change here: the address of the device."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fethpipe.keeper import dhcp
from tests.live.lan import DHCP_SERVER
from tests.live.netns import Namespace, require_tools
from tests.live.private import descendants, pids_in, wait_for_process
from tests.live.programs import ROOT, Fethpipe, Lines
from tests.patience import PATIENCE

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(sys.platform != "linux", reason="needs Linux"),
]

# Routers, name servers, domain, host name, MTU, and routes in three ways.
_OPTIONS = (
    *("3,10.9.0.254", "6,198.51.100.6", "15,other.example", "12,othername", "26,600"),
    *("33,198.51.100.1,10.9.0.254", "42,198.51.100.6", "119,other.example"),
    *("121,0.0.0.0/1,10.9.0.254,128.0.0.0/1,10.9.0.254", "249,0.0.0.0/1,10.9.0.254"),
)
_FORCED = tuple(f"--dhcp-option-force={option}" for option in _OPTIONS)
_CLIENT = """
import sys
from fethpipe.keeper import dhcp
dhcp.CLIENTS = tuple(each for each in dhcp.CLIENTS if each.name == sys.argv[1])
dhcp._END_SECONDS = 0.1
lease = dhcp.AddressLease()
lease.start("fp0", 1)
sys.stdin.read()
lease.end()
"""
# A second dhcpcd for an interface of the same name would only speak to the first one.
_FILES = """
touch "$1"
mount --bind "$1" /etc/resolv.conf
mount -t tmpfs none /run
mount -t tmpfs none /var/lib
mkdir /var/lib/dhcpcd
shift
exec "$@"
"""


def with_own_files(names: Path) -> list[str]:
    """Return what gives a program a /run, a /var/lib, and these name servers."""
    return ["unshare", "--mount", "--uts", "sh", "-ec", _FILES, "sh", str(names)]


@pytest.mark.parametrize("client", [each.name for each in dhcp.CLIENTS])
def test_a_server_sets_the_address_and_nothing_else(
    left: Namespace, right: Namespace, tmp_path: Path, client: str
) -> None:
    require_tools("dnsmasq")
    if not shutil.which(client, path=dhcp.SEARCH_PATH):
        pytest.skip(f"needs {client}")
    left.lay_cable("fp0", right, "server")
    right.run(["ip", "address", "add", "10.9.0.254/24", "dev", "server"])
    files = f"--dhcp-leasefile={tmp_path}/leases"
    right.popen([*DHCP_SERVER, "--interface=server", *_FORCED, files])
    names = tmp_path / "resolv.conf"
    argv = [*with_own_files(names), sys.executable, "-c", _CLIENT, client]
    hostname = left.run(["hostname"])
    monitor = left.popen(["ip", "-4", "monitor", "address"], stdout=subprocess.PIPE)
    assert monitor.stdout is not None
    with left.popen(argv, stdin=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdin is not None
        assert Lines(os.dup(monitor.stdout.fileno())).next(containing="10.9.0.")
        later = time.monotonic() + 1  # for all that comes with the address
        while time.monotonic() < later:
            routes = left.run(["ip", "route"]).splitlines()
            assert [line.split()[0] for line in routes] == ["10.9.0.0/24"]
            assert " mtu 1500 " in left.run(["ip", "link", "show", "dev", "fp0"])
            assert names.read_text() == ""
            assert (
                left.run(["nsenter", f"--uts=/proc/{process.pid}/ns/uts", "hostname"]) == hostname
            )
        family = descendants(process.pid)
        os.kill(family[0], signal.SIGSTOP)  # a client that does not answer ends too
        process.stdin.close()
        assert process.wait(PATIENCE) == 0
        for pid in family:
            wait_for_process(pid, time.monotonic() + PATIENCE)
    monitor.kill()


def addresses(namespace: Namespace) -> str:
    return namespace.run(["ip", "-4", "-br", "address", "show", "dev", "fp0"])


_TUNNEL = """
import sys
from fethpipe.cli import main
from fethpipe.keeper import dhcp
name = sys.argv.pop(1)
dhcp.CLIENTS = tuple(each for each in dhcp.CLIENTS if each.name == name)
sys.exit(main())
"""


@pytest.mark.parametrize("victim", ["fethpipe-keeper", "fethpipe-pump"])
@pytest.mark.parametrize("client", [each.name for each in dhcp.CLIENTS])
def test_a_client_ends_with_its_tunnel(
    left: Namespace, tmp_path: Path, client: str, victim: str
) -> None:
    if not shutil.which(client, path=dhcp.SEARCH_PATH):
        pytest.skip(f"needs {client}")
    launcher = [*with_own_files(tmp_path / "resolv.conf"), sys.executable, "-c", _TUNNEL, client]
    with Fethpipe(left, "--dhcp", stdin=subprocess.PIPE, launcher=launcher) as program:
        assert program.stderr.next(containing=f"{client} asks for an address")
        before = sorted(pids_in(left))
        (pid,) = (each for each in before if name(each) == victim)
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 5
        while pids := list(pids_in(left)):
            for each in pids:
                wait_for_process(each, deadline)
    left.wait_gone("fp0")


def name(pid: int) -> str:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it may have ended
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


_NARROW = ("24", "8", "32", "255.255.255.0", "255.0.0.0")
_WIDE = ("7", "1", "0", "", "254.0.0.0", "128.0.0.0", "0.0.0", "255.0.255.0", "255.x")


@pytest.mark.parametrize("mask", [*_NARROW, *_WIDE])
def test_no_network_may_be_wider_than_a_bound(left: Namespace, mask: str) -> None:
    left.run(["ip", "link", "add", "fp0", "type", "veth", "peer", "name", "other"])
    left.run(["ip", "link", "set", "fp0", "up"])
    left.run(["ip", "address", "add", "10.8.0.1/24", "dev", "fp0"])
    facts = ["interface=fp0", "lease=3600", "new_dhcp_lease_time=3600"]
    if "." in mask:
        facts += ["reason=BOUND", "new_ip_address=10.9.0.5", f"new_subnet_mask={mask}"]
    else:
        facts += ["ip=10.9.0.5", f"mask={mask}"]
    # The client calls the script like this, and ignores its failure.
    how = 'sh -c "$0" sh $1 2>/dev/null || true'
    event = [] if "." in mask else ["bound"]
    left.run(["env", *facts, "sh", "-c", how, dhcp.SCRIPT, *event])
    assert ("10.9.0.5/" in addresses(left)) == (mask in _NARROW)
