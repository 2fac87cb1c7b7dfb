"""The program as one block of bytes, and the few lines that start it from descriptor 0.

The receiver runs ``python3 -I -c BOOT SIZE DIGEST LINE...``. The lines are the first stage: it
reads exactly SIZE bytes, as records follow on the same descriptor, checks them, and runs the text
of :mod:`fethpipe.system.importer`, which is part of the block. Nothing is written to a disk. Our
own modules may come from a folder, a zip file, or such a block.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import pkgutil
import zlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

if TYPE_CHECKING:  # it costs more time than the rest of this module
    from importlib.abc import InspectLoader

_PACKAGE = __name__.partition(".")[0]
_IMPORTER = f"{_PACKAGE}/system/importer.py"

# The lines are words of a command line, in double quotes, and every login shell has to leave them
# as they are: no ", $, `, \ or !, and none so long that an old csh refuses it.
BOOT = "import sys;exec(chr(10).join(sys.argv[3:]))"
STAGE = (
    "import hashlib, json, os, sys, zlib",
    "size, digest, block = int(sys.argv[1]), sys.argv[2], b''",
    "del sys.argv[1:]",
    "while len(block) < size:",
    "    piece = os.read(0, size - len(block))",
    "    if not piece:",
    "        sys.exit('fethpipe: only %d of %d bytes of the program came' % (len(block), size))",
    "    block += piece",
    "if not digest == hashlib.sha256(block).hexdigest():",
    "    sys.exit('fethpipe: the program arrived damaged: something else reads or writes stdin')",
    "program = json.loads(zlib.decompress(block))",
    "importer = {'__name__': 'importer'}",
    "exec(program.pop('importer'), importer)",
    "sys.exit(importer['run'](**program))",
)


class Program(NamedTuple):
    """What to send on descriptor 0 of a Python started with :func:`stage_arguments`."""

    block: bytes

    @property
    def digest(self) -> str:
        """The SHA-256 of the block, in hexadecimal."""
        return hashlib.sha256(self.block).hexdigest()


def pack_program(function: str, arguments: Sequence[Any] = ()) -> Program:
    """Return a program that calls ``module:function`` with these arguments, as JSON can carry them.

    The function returns the exit status of the program.
    """
    files = dict(collect_files())
    program = {
        "importer": files[_IMPORTER],
        "files": files,
        "function": function,
        "arguments": list(arguments),
    }
    return Program(zlib.compress(json.dumps(program).encode(), 9))


def stage_arguments(program: Program) -> list[str]:
    """Return the arguments for a Python that reads this program from descriptor 0."""
    return ["-I", "-c", BOOT, str(len(program.block)), program.digest, *STAGE]


def collect_files() -> Iterator[tuple[str, str]]:
    """Yield the path and the text of each module of this package. Raises ImportError for a module
    without source.
    """
    yield _file(_PACKAGE)
    root = importlib.util.find_spec(_PACKAGE)
    locations = root.submodule_search_locations if root else None
    for module in pkgutil.walk_packages(locations, f"{_PACKAGE}."):
        yield _file(module.name)


def _file(name: str) -> tuple[str, str]:
    spec = importlib.util.find_spec(name)
    # A zipimporter has the methods of InspectLoader, but is not derived from it.
    loader = cast("InspectLoader | None", spec and spec.loader)
    source = loader.get_source(name) if loader else None
    if loader is None or source is None:
        raise ImportError(f"{name} has no source to send", name=name)
    suffix = "/__init__.py" if loader.is_package(name) else ".py"
    return name.replace(".", "/") + suffix, source
