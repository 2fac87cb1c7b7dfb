"""What is sent to the remote end: all that it can need there, and little more."""

from __future__ import annotations

import ast
import itertools
import logging
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from ipaddress import ip_interface
from pathlib import Path

import pytest

from fethpipe.errors import SystemFailureError
from fethpipe.provision.request import DeviceRequest, VmnetOptions
from fethpipe.remote.handshake import SYSTEMS, FarSystem
from fethpipe.remote.session import RemoteSession
from fethpipe.remote.ssh import RemoteEnd
from fethpipe.system.bundle import EARLY, collect_sources
from fethpipe.tunnel.config import (
    Config,
    far_modules,
    pack_config,
    unpack_config,
)

ROOT = Path(__file__).parents[2]
LARGEST = 70_000
"""Bytes that a start may send, whatever the other end is."""

ENDS = list(itertools.product(SYSTEMS, (True, False)))
PLAIN = Config()
EVERYTHING = Config(pcap="file", up="true", down="true", dhcp=True)
VMNET = Config(device="vmnet", request=DeviceRequest(vmnet=VmnetOptions()))

# What functions import and the other end never does: it starts nobody, and shows no status line.
_NEVER = {"remote.session", "tunnel.command", "tunnel.reconnect", "tunnel.retry", "tunnel.status"}
_NOT_AS_ROOT = {"keeper.sudo", "keeper.trust"}
_AS_ROOT = {"system.parting"}
_ON = {
    "Linux": {"netif.linux", "abi.linux", "abi.seccomp"},
    "Darwin": {"netif.darwin", "abi.darwin", "system.libc_darwin"},
}
_ASKED_FOR = {"device.capture", "tunnel.hooks", "keeper.dhcp", "system.changes"}


def sent(config: Config, system: str, *, root: bool) -> dict[str, str]:
    """Return the modules that an end gets, with their sources."""
    modules = far_modules(config, system, root=root)
    sources = collect_sources(["fethpipe.tunnel.far", *modules])
    return {name(path): source for path, source in sources}


def name(path: str) -> str:
    return path[len("fethpipe/") : -len(".py")].replace("/__init__", "").replace("/", ".")


def late_imports(module: str, source: str) -> Iterator[str]:
    """Yield the modules of ours that a module imports in functions, or on one system only."""
    home = module.split(".")[:-1]
    for part in ast.walk(ast.parse(source)):
        on_one = isinstance(part, ast.If) and "sysname" in ast.unparse(part.test)
        if on_one or isinstance(part, ast.FunctionDef):
            for node in ast.walk(part):
                if isinstance(node, ast.ImportFrom) and node.level:
                    assert node.module, f"{module}: name the module after from"
                    yield ".".join([*home[: len(home) + 1 - node.level], node.module])
                elif isinstance(node, ast.ImportFrom) and str(node.module).startswith("fethpipe."):
                    yield str(node.module)[len("fethpipe.") :]


@pytest.mark.parametrize("config", [PLAIN, EVERYTHING], ids=["plain", "everything"])
@pytest.mark.parametrize(("system", "root"), ENDS)
def test_it_has_all_that_it_can_import(config: Config, system: str, root: bool) -> None:
    modules = sent(config, system, root=root)
    (other,) = {"Linux", "Darwin"} - {system}
    left_out = _NEVER | _ON[other] | (_NOT_AS_ROOT if root else _AS_ROOT)
    if config is PLAIN:
        left_out |= _ASKED_FOR
    late = {each for module, source in modules.items() for each in late_imports(module, source)}
    assert late - modules.keys() <= left_out
    assert not modules.keys() & _ON[other]
    assert not modules.keys() & (_NEVER | {"cli", "arguments", "ctl", "library", "selftest.run"})


def test_what_the_first_stage_imports_is_needed_anyway() -> None:
    # The first stage itself needs zlib, and the keeper hashlib.
    modules = set(EARLY.split(", ")) - {"zlib", "hashlib"}
    code = "import fethpipe.tunnel.far, fethpipe.tunnel.tunnel"
    assert python(f"{code}; print({modules} - sys.modules.keys() or 'all')") == "all"


@pytest.mark.parametrize("kind", ["provision.tap", "provision.feth", "vmnet.provision"])
def test_what_is_loaded_late_needs_no_more_of_python(kind: str) -> None:
    """Another user, whom the far end has become by then, may not be able to read it."""
    code = f"import {EARLY}, fethpipe.tunnel.far, fethpipe.{kind}; had = set(sys.modules)"
    code += "; import fethpipe.tunnel.tunnel, fethpipe.system.changes"
    code += "; late = sys.modules.keys() - had"
    code += "; print([each for each in late if not each.startswith('fethpipe.')] or 'none')"
    assert python(code) == "none"


def python(code: str) -> str:
    """Run a line in a Python that has nothing but fethpipe, and return what it prints."""
    code = f"import sys; sys.path[:] = {[str(ROOT), *sys.path]}; {code}"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, check=True)
    return done.stdout.decode().strip()


@pytest.mark.parametrize(("system", "root"), ENDS)
def test_it_is_small(system: str, root: bool) -> None:
    session = RemoteSession(RemoteEnd("host"))
    session.prepare(pack_config(PLAIN), partial(far_modules, PLAIN))
    session.relay.close()
    assert session.size(FarSystem(system, root)) <= LARGEST


def test_a_vmnet_is_for_macs_alone() -> None:
    assert {"vmnet.provision", "vmnet.process"} < sent(VMNET, "Darwin", root=True).keys()
    assert not [each for each in sent(VMNET, "Linux", root=True) if each.startswith("vmnet")]


def test_a_config_crosses() -> None:
    request = DeviceRequest(
        name="fp1",
        addresses=(ip_interface("192.0.2.1/24"), ip_interface("2001:db8::1/64")),
        mac=bytes.fromhex("02005e005301"),
        mtu=1400,
        bridge="br0",
        vmnet=VmnetOptions(mode="host"),
    )
    config = EVERYTHING._replace(
        device="tap",
        request=request,
        framing="u32be",
        stats_seconds=0.5,
        user="nobody",
        keepalive=15.0,
        hello=False,
        latency_control=False,
        level=logging.DEBUG,
    )
    assert unpack_config(pack_config(config)) == config


def test_what_no_device_can_have_is_refused() -> None:
    addresses = tuple(ip_interface(f"192.0.2.{last}/24") for last in range(1, 66))
    config = Config(request=DeviceRequest(addresses=addresses))
    with pytest.raises(SystemFailureError, match="the remote end refused the request: addresses"):
        unpack_config(pack_config(config))
