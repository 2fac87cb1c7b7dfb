"""Import a package from memory, and run a function of it.

A Python without fethpipe executes the text of this file, so it uses the standard library only, and
no relative imports. The sources get an entry on ``sys.path``, as a zip file does. So imports work
as usual, and tracebacks show the lines.
"""

from __future__ import annotations

import importlib
import json
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, cast

ROOT = "<fethpipe>"
"""The entry of ``sys.path``. No file has this name, so nothing on disk can take its place."""

_OURS = ROOT.strip("<>")
_PACKAGE = "/__init__.py"


class Sources:
    """The text of files such as ``fethpipe/wire/hello.py``, which come in parts.

    A part is a list of texts: facts as JSON, then path and text of each file. ``take`` waits for
    the next one.
    """

    def __init__(self, first: Sequence[str], take: Callable[[], Sequence[str]]) -> None:
        self._take = take
        self._files: dict[str, str] = {}
        self._index: set[str] = set()
        self._more = True
        self.facts = self._add(first)

    def find(self, *paths: str) -> str | None:
        """Return the first of these paths that there is. None if there is none."""
        while True:
            found = next((path for path in paths if path in self._index), None)
            if found or not self._more:
                return found
            self._add(self._take())

    def text(self, path: str) -> str:
        """Return the text of a file that there is. Wait until it is here."""
        while path not in self._files:
            self._add(self._take())
        return self._files[path]

    def complete(self) -> None:
        """Wait until all files are here."""
        while self._more or len(self._files) < len(self._index):
            self._add(self._take())

    def _add(self, part: Sequence[str]) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads(part[0])
        self._index.update(facts.get("index", ()))
        self._more = facts.get("more", self._more)
        self._files.update(zip(part[1::2], part[2::2]))
        return facts


class SourceFinder:
    """Find and load the modules of some sources.

    It is no importlib.abc.ExecutionLoader, as that module imports tempfile, random and more.
    """

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def find_spec(self, name: str, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return the spec of a module, None if it is not here.

        Another package's is not: to look for it would mean to wait for all that still comes.
        """
        del target
        path = self._path(name) if name.partition(".")[0] == _OURS else None
        if path is None:
            return None
        # spec_from_loader would make the file name absolute, as if it were in the current folder.
        package = path.endswith(_PACKAGE)
        spec = ModuleSpec(name, cast("Any", self), origin=f"{ROOT}/{path}", is_package=package)
        spec.has_location = True
        if package:
            spec.submodule_search_locations = [f"{ROOT}/{path[: -len(_PACKAGE)]}"]
        return spec

    def create_module(self, _spec: ModuleSpec) -> ModuleType | None:
        """Leave it to Python to make the module."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Execute the text of a module."""
        name = module.__name__
        code = compile(self.get_source(name), self.get_filename(name), "exec", dont_inherit=True)
        exec(code, module.__dict__)  # noqa: S102 - as every loader does

    def get_filename(self, fullname: str) -> str:
        """Return the file name of a module in tracebacks."""
        return f"{ROOT}/{self._found(fullname)}"

    def get_source(self, fullname: str) -> str:
        """Return the text of a module."""
        return self._sources.text(self._found(fullname))

    def is_package(self, fullname: str) -> bool:
        """Return whether a module is a package."""
        return self._found(fullname).endswith(_PACKAGE)

    def _path(self, name: str) -> str | None:
        stem = name.replace(".", "/")
        return self._sources.find(stem + _PACKAGE, f"{stem}.py")

    def _found(self, name: str) -> str:
        path = self._path(name)
        if path is None:
            raise ImportError(f"the bundle has no module {name}", name=name)
        return path


def install(sources: Sources) -> None:
    """Let imports look into these sources first."""
    finder = SourceFinder(sources)

    def hook(entry: str) -> SourceFinder:
        if entry == ROOT or entry.startswith(f"{ROOT}/"):
            return finder
        raise ImportError(f"{entry} is not in the bundle")

    sys.path_hooks.insert(0, hook)
    sys.path.insert(0, ROOT)


def run(first: Sequence[str], take: Callable[[], Sequence[str]]) -> Any:
    """Call the ``module:function`` that the first part names, and return what it returns.

    Its module is imported while other parts still come. The function has descriptor 0 for itself:
    at once, or with several blocks when it has called its last argument, which waits for them.
    """
    sources = Sources(first, take)
    install(sources)
    sys.excepthook = traceback.print_exception  # the default one reads the lines from the disk
    module, _, name = sources.facts["function"].partition(":")
    called = getattr(importlib.import_module(module), name)
    if sources.facts["more"]:
        return called(*sources.facts["arguments"], sources.complete)
    sources.complete()
    return called(*sources.facts["arguments"])
