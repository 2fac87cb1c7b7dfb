"""Who may import whom: the architecture, as a table of folders that the imports are held to.

A module imports modules of folders on lower floors and of its own folder, without cycles, and
besides them the standard library alone. Folders that share a floor, such as netif and device, do
not know each other. The pure ones compute, and meet no operating system.
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

FLOORS = {
    # The ground that everything stands on.
    "errors": 0,
    "stats": 0,
    "_version": 0,
    "_names": 0,
    "arguments": 1,
    # Bytes, and what they mean: pure.
    "ether": 1,
    "abi": 1,
    "flow": 1,
    "wire": 2,
    # What the operating system does for us.
    "system": 3,
    "netif": 4,
    "device": 4,
    # Make a device, own it, reach another machine.
    "provision": 5,
    "vmnet": 6,
    "keeper": 6,
    "remote": 6,
    "library": 6,
    # Put together.
    "tunnel": 7,
    "selftest": 7,
    "ctl": 7,
    # What people start and import.
    "cli": 8,
    "zerotier_agent": 8,
    "aio": 8,
    "fethpipe": 8,
    "__main__": 9,
}
"""The floor of each folder, and of each module at the top of the package."""

PURE = {"errors", "stats", "_version", "ether", "abi", "flow", "wire"}

LONGEST_CHAIN = 9
MOST_AT_THE_TOP = 10

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


def violations(modules: Mapping[str, Imports], floors: Mapping[str, int]) -> list[str]:
    """Return every breach of the rules in words."""
    homes = {_home(name) for name in modules}
    found = [f"{home} has no floor" for home in homes - floors.keys()]
    found += [f"{home} has a floor and does not exist" for home in floors.keys() - homes]
    for name, imports in modules.items():
        home = _home(name)
        found += [
            f"{name} imports {other}, which is not below it"
            for other in imports.inside
            if _home(other) != home and floors.get(_home(other), 0) >= floors.get(home, 0)
        ]
        found += [
            f"{name} is pure and imports {other}"
            for other in imports.outside & IMPURE
            if home in PURE
        ]
        found += [
            f"{name} imports {other}, which is not in the standard library"
            for other in imports.outside
            if not is_standard(other)
        ]
    try:
        chain = longest_chain(modules)
    except CycleError as error:
        found.append(f"import cycle: {' <- '.join(error.args[1])}")
    else:
        if len(chain) > LONGEST_CHAIN:
            found.append(f"{len(chain)} modules in a row: {' -> '.join(chain)}")
    return sorted(found)


def longest_chain(modules: Mapping[str, Imports]) -> list[str]:
    """Return the longest row of modules of which each imports the next. Raises CycleError."""
    graph = {name: imports.inside & modules.keys() for name, imports in modules.items()}
    chains: dict[str, list[str]] = {}
    for name in TopologicalSorter(graph).static_order():
        below = max((chains[other] for other in sorted(graph[name])), key=len, default=[])
        chains[name] = [name, *below]
    return max(chains.values(), key=len)


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


def test_the_package_keeps_to_its_floors() -> None:
    assert violations(read_package(PACKAGE), FLOORS) == []


def test_few_modules_lie_at_the_top() -> None:
    assert len(list(PACKAGE.glob("*.py"))) <= MOST_AT_THE_TOP


# ---- the check itself, on small packages ----


def breaches(folder: Path, sources: Mapping[str, str], floors: Mapping[str, int]) -> list[str]:
    package = folder / "fethpipe"
    for name, source in {"__init__.py": "", **sources}.items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
    return violations(read_package(package), {"fethpipe": 9, **floors})


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


def test_modules_of_one_folder_know_each_other(tmp_path: Path) -> None:
    sources = {
        "device/__init__.py": "from .tap import Tap",
        "device/tap.py": "from ..netif import mac\nfrom .base import Base",
        "device/base.py": "from ..errors import DeviceError",
        "netif/__init__.py": "",
        "netif/mac.py": "",
        "errors.py": "",
    }
    floors = {"errors": 0, "device": 3, "netif": 3}
    assert breaches(tmp_path, sources, floors) == [
        "device.tap imports netif.mac, which is not below it"
    ]


def test_a_row_of_imports_that_is_too_long_is_found(tmp_path: Path) -> None:
    row = [f"m{index}" for index in range(LONGEST_CHAIN + 1)]
    sources = {f"wire/{name}.py": f"from . import {below}" for name, below in zip(row, row[1:])}
    sources |= {"wire/__init__.py": "", f"wire/{row[-1]}.py": ""}
    (found,) = breaches(tmp_path, sources, {"wire": 1})
    assert found.startswith(f"{LONGEST_CHAIN + 1} modules in a row: wire.m0 -> wire.m1 -> ")


def test_an_import_cycle_is_found(tmp_path: Path) -> None:
    sources = {
        "wire/__init__.py": "",
        "wire/a.py": "from .b import B",
        "wire/b.py": "from . import a",
    }
    (found,) = breaches(tmp_path, sources, {"wire": 1})
    assert found.startswith("import cycle: ")


def test_a_module_without_a_floor_and_a_floor_without_one_are_found(tmp_path: Path) -> None:
    assert breaches(tmp_path, {"new.py": ""}, {"old": 1}) == [
        "new has no floor",
        "old has a floor and does not exist",
    ]


@pytest.mark.parametrize("name", sorted(IMPURE))
def test_a_pure_module_meets_no_operating_system(tmp_path: Path, name: str) -> None:
    sources = {"wire/__init__.py": f"import {name}"}
    assert breaches(tmp_path, sources, {"wire": 1}) == [f"wire is pure and imports {name}"]
    assert breaches(tmp_path / "other", {"module.py": f"import {name}"}, {"module": 1}) == []


@pytest.mark.parametrize("name", ["pytest", "_pytest.outcomes", "no_such_module"])
def test_what_must_be_installed_is_found(tmp_path: Path, name: str) -> None:
    (found,) = breaches(tmp_path, {"module.py": f"import {name}"}, {"module": 2})
    top = name.partition(".")[0]
    assert found == f"module imports {top}, which is not in the standard library"


@pytest.mark.parametrize("name", ["sys", "os", "struct", "_struct", "fcntl", "json", "graphlib"])
def test_what_comes_with_python_is_known(name: str) -> None:
    assert is_standard(name)
