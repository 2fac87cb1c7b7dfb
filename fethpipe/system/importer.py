"""Import a package from memory, and run a function of it.

A Python without fethpipe executes the text of this file, so it uses the standard library only, and
no relative imports. The sources get an entry on ``sys.path``, as a zip file does. So imports work
as usual, ``pkgutil`` lists the modules, and tracebacks show the lines.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from importlib.abc import ExecutionLoader
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

ROOT = "<fethpipe>"
"""The entry of ``sys.path``. No file has this name, so nothing on disk can take its place."""

_PACKAGE = "/__init__.py"


class SourceFinder(ExecutionLoader):
    """Find and load the modules under one entry of a search path.

    ``files`` maps paths such as ``fethpipe/wire/hello.py`` to their text.
    """

    def __init__(self, entry: str, files: Mapping[str, str]) -> None:
        self._folder = entry[len(ROOT) + 1 :]
        self._files = files

    def find_spec(self, name: str, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return the spec of a module, None if it is not here."""
        del target
        path = self._path(name)
        if path is None:
            return None
        # spec_from_loader would make the file name absolute, as if it were in the current folder.
        package = path.endswith(_PACKAGE)
        spec = ModuleSpec(name, self, origin=f"{ROOT}/{path}", is_package=package)
        spec.has_location = True
        if package:
            spec.submodule_search_locations = [f"{ROOT}/{path[: -len(_PACKAGE)]}"]
        return spec

    def get_filename(self, fullname: str) -> str:
        """Return the file name of a module in tracebacks."""
        return f"{ROOT}/{self._found(fullname)}"

    def get_source(self, fullname: str) -> str:
        """Return the text of a module."""
        return self._files[self._found(fullname)]

    def is_package(self, fullname: str) -> bool:
        """Return whether a module is a package."""
        return self._found(fullname).endswith(_PACKAGE)

    def iter_modules(self, prefix: str = "") -> Iterator[tuple[str, bool]]:
        """Yield the name of each module of this entry, and whether it is a package (pkgutil)."""
        start = f"{self._folder}/" if self._folder else ""
        for path in sorted(self._files):
            inside = path[len(start) :]
            if path.startswith(start) and inside.endswith(_PACKAGE) and inside.count("/") == 1:
                yield prefix + inside[: -len(_PACKAGE)], True
            elif path.startswith(start) and "/" not in inside and inside != _PACKAGE[1:]:
                yield prefix + inside[: -len(".py")], False

    def _path(self, name: str) -> str | None:
        stem = name.replace(".", "/")
        return next((path for path in (stem + _PACKAGE, f"{stem}.py") if path in self._files), None)

    def _found(self, name: str) -> str:
        path = self._path(name)
        if path is None:
            raise ImportError(f"the bundle has no module {name}", name=name)
        return path


def install(files: Mapping[str, str]) -> None:
    """Let imports look into these files first."""

    def hook(entry: str) -> SourceFinder:
        if entry == ROOT or entry.startswith(f"{ROOT}/"):
            return SourceFinder(entry, files)
        raise ImportError(f"{entry} is not in the bundle")

    sys.path_hooks.insert(0, hook)
    sys.path.insert(0, ROOT)


def run(files: Mapping[str, str], function: str, arguments: Sequence[Any]) -> Any:
    """Call ``module:function`` of these files, and return what it returns."""
    install(files)
    sys.excepthook = traceback.print_exception  # the default one reads the lines from the disk
    module, _, name = function.partition(":")
    return getattr(importlib.import_module(module), name)(*arguments)
