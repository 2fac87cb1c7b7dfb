"""The recipes of docs/PEERS.md work as they are written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.documents import Document
from tests.live.netns import require_tools
from tests.live.private import let_others_in
from tests.live.shell import Shell

pytestmark = pytest.mark.live

recipe = Document("docs/PEERS.md").recipe
_WAIT = "ping -q -c 1 -i 0.05 -w 10"


def configure_other(tap: str) -> str:
    """Return what gives the other end's TAP, made beforehand, an address."""
    in_other = "ip -n other"
    return (
        f"{in_other} tuntap add dev {tap} mode tap; "
        f"{in_other} address add 10.9.0.2/24 dev {tap}; {in_other} link set {tap} up"
    )


def is_reached(shell: Shell, jobs: str) -> str:
    """Check that the other end answers, end these jobs, and return what was said."""
    shell.run(f"{_WAIT} 10.9.0.2; kill {jobs}; wait")
    said = shell.finish()
    assert re.search(r" [1-9]\d* received", said)
    return said


@pytest.mark.parametrize(
    ("name", "tap", "then"),
    [("vde tap", "vde0", ""), ("vde tap", "vde0", "vde rate"), ("qemu", "qemu0", "")],
)
def test_a_cable(shell: Shell, name: str, tap: str, then: str) -> None:
    require_tools("vde_plug", "qemu-system-x86_64", "socat", "tc")
    first, _, rest = recipe(name).partition("\n")
    shell.run(f"{first}; {configure_other(tap)}")
    shell.run(rest)
    shell.wait_for_lines("fp0 is up", count=1)
    if then:
        shell.run(recipe(then))
    is_reached(shell, "%1")


def test_a_guest_of_passt(shell: Shell, tmp_path: Path) -> None:
    require_tools("passt", "socat", "udhcpc")
    let_others_in(tmp_path)
    tmp_path.chmod(0o777)  # passt does not stay root
    shell.run("ip link add out0 type veth peer name out1; ip link set out0 up; ip link set out1 up")
    shell.run("ip address add 192.0.2.2/24 dev out0; ip route add default via 192.0.2.1")
    shell.run(recipe("passt"))
    shell.wait_for_lines("fp0 is up", count=1)
    shell.run(recipe("passt lease"))
    shell.run("kill %2; wait %2; kill %1; wait")
    assert "lease of 192.0.2.2 obtained" in shell.finish()


def test_nc_and_socat_are_a_cable(shell: Shell) -> None:
    require_tools("nc", "socat")
    shell.run(recipe("nc"))
    shell.wait_for_lines("fp0 is up", count=2)
    is_reached(shell, "%2")


def test_a_stream_is_kept_and_replayed(shell: Shell) -> None:
    require_tools("tee")
    shell.run(recipe("tee"))
    shell.wait_for_lines("fp0 is up", count=2)
    shell.run(f"{_WAIT} 10.9.0.2; kill %1; wait")
    shell.run(recipe("replay"))
    said = shell.finish()
    assert re.search(r" [1-9]\d* received", said)
    assert re.search(r"replay0: the peer closed the stream; .* to device [1-9]\d* frames", said)


def test_a_capture_is_read_along(shell: Shell) -> None:
    require_tools("tcpdump", "tail")
    shell.run(recipe("capture"))
    shell.wait_for_lines("fp0 is up", count=2)
    shell.run(recipe("read along").rstrip() + " &")
    shell.run(f"{_WAIT} 10.9.0.2")
    shell.wait_for_lines("ICMP echo reply", count=1)
    shell.run("kill %2; wait %2 || true; kill %1; wait")
    assert "10.9.0.1 > 10.9.0.2: ICMP echo request" in shell.finish()


def test_a_switch(shell: Shell) -> None:
    require_tools("vde_switch", "vde_plug")
    shell.run(recipe("vde switch"))
    shell.wait_for_lines("fp0 is up", count=1)
    second = recipe("vde switch").splitlines()[1]
    shell.run("ip netns add other")
    shell.run("ip netns exec other " + second.replace("10.9.0.1", "10.9.0.2"))
    shell.wait_for_lines("fp0 is up", count=2)
    is_reached(shell, "%1 %2")
