"""Who may import whom: the architecture, as a table that the imports are held to.

A module imports modules of lower layers and of its own package, without cycles, and besides them
the standard library alone. Modules that share a layer, such as those of netif and of device, do not
know each other. The two lowest layers are pure: they compute, and meet no operating system.
"""

from __future__ import annotations

import ast
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).parents[1] / "fethpipe"

LAYERS = {
    "errors": 0,
    "stats": 0,
    "statusline": 1,
    # Bytes between peers, bytes to kernels.
    "wire": 1,
    "wire.framing": 1,
    "wire.connection": 1,
    "wire.hello": 1,
    "wire.virtio": 1,
    "wire.coalesce": 1,
    "wire.offload": 1,
    "wire.slots": 1,
    "wire.pcap": 1,
    "wire.describe": 1,
    "wire.responder": 1,
    "abi": 1,
    "abi.linux": 1,
    "abi.darwin": 1,
    "abi.vmnet": 1,
    # Services of the operating system, one subject each.
    "channel": 2,
    "descriptors": 2,
    "keepalive": 2,
    "libc_darwin": 2,
    "namespace": 2,
    "netlink": 2,
    "privileges": 2,
    "reconnect": 2,
    "records": 2,
    "report": 2,
    "signals": 2,
    "stream": 2,
    "vmnet": 2,
    "vmnet.blocks": 2,
    "vmnet.library": 2,
    "vmnet.options": 2,
    "vmnet.refusals": 2,
    "vmnet.cable": 2,
    "vmnet.interface": 2,
    "vmnet.process": 3,
    # Manage interfaces; move frames; start programs.
    "netif": 3,
    "netif.address": 3,
    "netif.mac": 3,
    "netif.name": 3,
    "netif.linux": 3,
    "netif.darwin": 3,
    "device": 3,
    "device.tap": 3,
    "device.bpf": 3,
    "device.ndrv": 3,
    "device.packet": 3,
    "device.feth": 3,
    "device.vmnet": 3,
    "launcher": 3,
    # What the parts of a tunnel are made of.
    "arguments": 4,
    "capture": 4,
    "command": 4,
    "provision": 4,
    "provision.request": 4,
    "provision.kind": 4,
    "provision.tap": 4,
    "provision.feth": 4,
    "provision.vmnet": 6,  # it sends itself to a process of its own, as remote does
    "pump": 4,
    # The other processes: who owns what root made, and the far end.
    "keeper": 5,
    "remote": 5,
    "remote.bundle": 5,
    "remote.diagnosis": 5,
    "remote.handshake": 5,
    "remote.importer": 5,
    "remote.relay": 5,
    "remote.session": 5,
    "remote.ssh": 5,
    "configuration": 5,
    "keeper_main": 6,
    "sudo": 7,
    # The library, and what its package shows of it.
    "values": 5,
    "ethernet": 5,
    "existing": 5,
    "opening": 6,
    "feth": 7,
    "aio": 7,
    "api": 8,
    "fethpipe": 9,
    # Put together, and started.
    "selftest": 10,
    "selftest.bench": 10,
    "selftest.darwin": 10,
    "selftest.datagram": 10,
    "selftest.deadline": 10,
    "selftest.demonstration": 10,
    "selftest.end": 10,
    "selftest.facts_bpf": 10,
    "selftest.facts_feth": 10,
    "selftest.facts_ndrv": 10,
    "selftest.linux": 10,
    "selftest.reflection": 10,
    "selftest.report": 10,
    "selftest.run": 10,
    "selftest.traffic": 10,
    "tunnel": 10,
    "agent": 11,
    "cli": 11,
    "ctl": 11,
    "ctl.cli": 11,
    "ctl.manage": 11,
    "ctl.show": 11,
    "ctl.traffic": 11,
    "ctl.__main__": 11,
    "__main__": 12,
}

PURE_LAYERS = (0, 1)
IMPURE = {
    *("os", "io", "pathlib", "shutil", "tempfile", "fcntl", "ctypes", "platform", "pwd", "sys"),
    *("socket", "select", "selectors", "ssl", "asyncio", "subprocess", "multiprocessing"),
    *("signal", "threading", "time", "datetime", "random", "secrets", "logging", "importlib"),
}


class Imports(NamedTuple):
    """What one module imports: modules of the package, and top-level modules from elsewhere."""

    inside: frozenset[str]
    outside: frozenset[str]


def read_package(package: Path) -> dict[str, Imports]:
    """Return the imports of every module of a package, those inside of functions included."""
    names = {_name(path.relative_to(package)): path for path in package.rglob("*.py")}
    return {name: _imports(package.name, name, path, names) for name, path in names.items()}


def _name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "fethpipe"


def _imports(root: str, name: str, path: Path, known: Mapping[str, Path]) -> Imports:
    folder = () if name == root else tuple(name.split("."))
    if path.name != "__init__.py":
        folder = folder[:-1]
    inside: set[str] = set()
    outside: set[str] = set()
    for target in _targets(ast.parse(path.read_bytes()), (root, *folder)):
        if target[0] != root:
            outside.add(target[0])
            continue
        # The last part may be a name in a module instead of a module.
        whole, parent = ".".join(target[1:]), ".".join(target[1:-1])
        inside.add(whole if whole in known else parent or root)
    return Imports(frozenset(inside), frozenset(outside))


def _targets(tree: ast.AST, folder: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yield the dotted names that are imported, in parts, with the names that come out of them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield tuple(alias.name.split("."))
        elif isinstance(node, ast.ImportFrom):
            base = folder[: len(folder) - node.level + 1] if node.level else ()
            base += tuple(node.module.split(".")) if node.module else ()
            for alias in node.names:
                yield (*base, alias.name)


def violations(modules: Mapping[str, Imports], layers: Mapping[str, int]) -> list[str]:
    """Return every breach of the rules in words."""
    found = [f"{name} has no layer" for name in modules.keys() - layers.keys()]
    found += [f"{name} has a layer and is no module" for name in layers.keys() - modules.keys()]
    for name in modules.keys() & layers.keys():
        layer = layers[name]
        found += [
            f"{name} imports {other}, which is not below it"
            for other in modules[name].inside & layers.keys()
            if layers[other] >= layer and _home(other) != _home(name)
        ]
        found += [
            f"{name} is pure and imports {other}"
            for other in modules[name].outside & IMPURE
            if layer in PURE_LAYERS
        ]
    found += [
        f"{name} imports {other}, which is not in the standard library"
        for name, imports in modules.items()
        for other in imports.outside
        if not is_standard(other)
    ]
    try:
        TopologicalSorter({name: imports.inside for name, imports in modules.items()}).prepare()
    except CycleError as error:
        found.append(f"import cycle: {' <- '.join(error.args[1])}")
    return sorted(found)


def _home(name: str) -> str:
    """Return the package that a module is in: its own name, for one at the top."""
    return name.partition(".")[0]


def is_standard(name: str) -> bool:
    """Return whether a top-level module comes with Python."""
    if name in sys.builtin_module_names:
        return True
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        return False
    if spec.origin in ("built-in", "frozen"):
        return True
    origin = Path(spec.origin).resolve()
    folders = (sysconfig.get_path("stdlib"), sysconfig.get_config_var("DESTSHARED"))
    installed = {"site-packages", "dist-packages"} & set(origin.parts)
    return not installed and any(
        Path(folder).resolve() in origin.parents for folder in folders if folder
    )


def test_the_package_keeps_to_its_layers() -> None:
    assert violations(read_package(PACKAGE), LAYERS) == []


# ---- the check itself, on small packages ----


def breaches(folder: Path, sources: Mapping[str, str], layers: Mapping[str, int]) -> list[str]:
    package = folder / "fethpipe"
    for name, source in {"__init__.py": "", **sources}.items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
    return violations(read_package(package), {"fethpipe": 0, **layers})


@pytest.mark.parametrize(
    "statement",
    [
        "from . import low",
        "from .low import anything",
        "from .low import *",
        "import fethpipe.low",
        "from fethpipe import low",
        "from fethpipe.low import anything",
        "def f():\n    from .low import anything",
        "if TYPE_CHECKING:\n    from .low import Anything",
    ],
)
def test_every_form_of_import_is_seen(tmp_path: Path, statement: str) -> None:
    sources = {"high.py": statement, "low.py": ""}
    assert breaches(tmp_path, sources, {"low": 2, "high": 3}) == []
    assert breaches(tmp_path, sources, {"low": 3, "high": 2}) == [
        "high imports low, which is not below it"
    ]
    assert breaches(tmp_path, sources, {"low": 3, "high": 3}) == [
        "high imports low, which is not below it"
    ]


def test_modules_of_one_package_know_each_other(tmp_path: Path) -> None:
    sources = {
        "device/__init__.py": "from .tap import Tap",
        "device/tap.py": "from ..netif import mac\nfrom .base import Base",
        "device/base.py": "from .. import version",
        "netif/__init__.py": "",
        "netif/mac.py": "",
    }
    layers = {"device": 3, "device.tap": 3, "device.base": 3, "netif": 3, "netif.mac": 3}
    assert breaches(tmp_path, sources, layers) == [
        "device.tap imports netif.mac, which is not below it"
    ]


def test_an_import_cycle_is_found(tmp_path: Path) -> None:
    sources = {
        "wire/__init__.py": "",
        "wire/a.py": "from .b import B",
        "wire/b.py": "from . import a",
    }
    (found,) = breaches(tmp_path, sources, {"wire": 1, "wire.a": 1, "wire.b": 1})
    assert found.startswith("import cycle: ")


def test_a_module_without_a_layer_is_found(tmp_path: Path) -> None:
    assert breaches(tmp_path, {"new.py": ""}, {}) == ["new has no layer"]


def test_a_layer_without_a_module_is_found(tmp_path: Path) -> None:
    assert breaches(tmp_path, {}, {"old": 1}) == ["old has a layer and is no module"]


@pytest.mark.parametrize("name", sorted(IMPURE))
def test_a_pure_module_meets_no_operating_system(tmp_path: Path, name: str) -> None:
    sources = {"module.py": f"import {name}"}
    assert breaches(tmp_path, sources, {"module": 1}) == [f"module is pure and imports {name}"]
    assert breaches(tmp_path, sources, {"module": 2}) == []


@pytest.mark.parametrize("statement", ["import pytest", "from _pytest.outcomes import skip"])
def test_what_must_be_installed_is_found(tmp_path: Path, statement: str) -> None:
    (found,) = breaches(tmp_path, {"module.py": statement}, {"module": 2})
    assert found.endswith("pytest, which is not in the standard library")


def test_what_exists_nowhere_is_found(tmp_path: Path) -> None:
    (found,) = breaches(tmp_path, {"module.py": "import no_such_module"}, {"module": 2})
    assert found == "module imports no_such_module, which is not in the standard library"


@pytest.mark.parametrize("name", ["sys", "os", "struct", "_struct", "fcntl", "json", "graphlib"])
def test_what_comes_with_python_is_known(name: str) -> None:
    assert is_standard(name)
