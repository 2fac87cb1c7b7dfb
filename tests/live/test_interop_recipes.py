"""The recipes of docs/PEERS.md work as they are written."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.netns import require_kernel, require_tools
from tests.live.programs import ROOT
from tests.test_readme import Shell

pytestmark = pytest.mark.live

PEERS = (ROOT / "docs/PEERS.md").read_text()
_WAIT = "ping -q -c 1 -i 0.05 -w 10"


def recipe(name: str) -> str:
    """Return the commands of a block that a comment in front of it names."""
    found = re.findall(rf"<!-- recipe: {re.escape(name)} -->\n```sh\n(.*?)```", PEERS, re.DOTALL)
    assert len(found) == 1, f"docs/PEERS.md has {len(found)} recipes named {name}"
    return str(found[0])


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    require_kernel()
    require_tools("bash", "unshare", "mount")
    shell = Shell(tmp_path)
    yield shell
    shell.close()
    for file in tmp_path.glob("*.pid"):  # daemons are in no process group of the shell's
        with contextlib.suppress(ProcessLookupError, ValueError):
            os.kill(int(file.read_text()), signal.SIGTERM)


def configure_other(tap: str) -> str:
    """Return what gives the other end's TAP, made beforehand, an address."""
    in_other = "ip -n other"
    return (
        f"{in_other} tuntap add dev {tap} mode tap; "
        f"{in_other} address add 10.9.0.2/24 dev {tap}; {in_other} link set {tap} up"
    )


@pytest.mark.parametrize(("name", "tap"), [("vde tap", "vde0"), ("qemu", "qemu0")])
def test_a_cable(shell: Shell, name: str, tap: str) -> None:
    require_tools("vde_plug", "qemu-system-x86_64", "socat")
    first, _, rest = recipe(name).partition("\n")
    shell.run(f"{first}; {configure_other(tap)}")
    shell.run(rest)
    shell.wait_for_lines("fp0 is ready", count=1)
    shell.run(f"{_WAIT} 10.9.0.2; kill %1; wait")
    assert re.search(r" [1-9]\d* received", shell.finish())


def test_a_switch(shell: Shell) -> None:
    require_tools("vde_switch", "vde_plug")
    shell.run(recipe("vde switch"))
    shell.wait_for_lines("fp0 is ready", count=1)
    second = recipe("vde switch").splitlines()[1]
    shell.run("ip netns add other")
    shell.run("ip netns exec other " + second.replace("10.9.0.1", "10.9.0.2"))
    shell.wait_for_lines("fp0 is ready", count=2)
    shell.run(f"{_WAIT} 10.9.0.2; kill %1 %2; wait")
    assert re.search(r" [1-9]\d* received", shell.finish())
