"""The program as blocks of bytes, and the few lines that start it from descriptor 0.

The receiver runs ``python3 -I -S -c BOOT LINE...``. The lines are the first stage: it takes the
program in parts, checks each, and runs the text of :mod:`fethpipe.system.importer`, which is in the
first part. That one takes the other parts while the modules of the first ones are imported. Nothing
is written to a disk, and no byte is read behind the last part, as records follow on the same
descriptor. Our own modules may come from a folder, a zip file, or such a program.

A program has the modules that are needed and no others, without comments. A part is the size of its
data and a CRC-32 of that size and the data (4 bytes each, big-endian), and the data: a piece of one
zlib stream.
In it are texts with a NUL behind each but the last: facts as JSON, then path and text of each file.
"""

from __future__ import annotations

import copy
import importlib.util
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:  # it costs more time than the rest of this module
    from importlib.abc import InspectLoader

_PACKAGE = __name__.partition(".")[0]
_IMPORTER = f"{_PACKAGE}.system.importer"
_IMPORTER_FILE = f"{_PACKAGE}/system/importer.py"
_WAS_SENT = __file__.startswith("<")
"""Whether we come out of such a program ourselves. Then all sources are stripped."""
_PART_SIZE = 1 << 15
"""Characters of source in a part, at least. A part takes some 6 KB."""

# An import at the start of a line. Others are made later or never: who packs names those he needs.
_IMPORT = re.compile(r"^from (\.+)([\w.]*) import (\([^)]*\)|.*)", re.MULTILINE)
_DOCSTRING = '"' * 3
_COMMENT = re.compile(r"  # [^\"']*$")
_RETURNED = re.compile(r"\) -> [^\"']*:$")

EARLY = "hashlib, json, os, sys, zlib, ctypes, ipaddress, logging, pathlib, socket, termios"
"""What the first stage imports, while the program is still on its way. All of it is needed later,
some only when the far end has become another user, who may not be able to read it.
"""

# The lines are words of a command line, in double quotes, and every login shell has to leave them
# as they are: no ", $, `, \ or !, and none so long that an old csh refuses it.
BOOT = "import sys;exec(chr(10).join(sys.argv[1:]))"
STAGE = (
    f"import {EARLY}",
    "del sys.argv[1:]",
    "stream = zlib.decompressobj()",
    "def take(size):",
    " data = b''",
    " while len(data) < size:",
    "  piece = os.read(0, size - len(data))",
    "  if not piece:",
    "   sys.exit('fethpipe: only a part of the program came: stdin ended')",
    "  data += piece",
    " return data",
    "def part():",
    " head = take(8)",
    " size = int.from_bytes(head[:4], 'big')",
    " data = b'' if size >> 20 else take(size)",
    " if not head[4:] == zlib.crc32(head[:4] + data).to_bytes(4, 'big'):",
    "  sys.exit('fethpipe: the program arrived damaged: something else reads or writes stdin')",
    " return stream.decompress(data).decode().split(chr(0))",
    "first = part()",
    "importer = {'__name__': 'importer'}",
    "exec(first[2], importer)",
    "sys.exit(importer['run'](first, part))",
)
STAGE_ARGUMENTS = ("-I", "-S", "-c", BOOT, *STAGE)
"""The arguments for a Python that reads a program from descriptor 0."""


def pack_program(function: str, arguments: Sequence[Any] = (), also: Iterable[str] = ()) -> bytes:
    """Return a program of one block. ``also`` names modules of ours that it imports later.

    For the rest like Packer.
    """
    return Packer(function, arguments).pack(also)


class Packer:
    """Packs a program that calls ``module:function`` with these arguments, as JSON can carry them.

    The function returns the exit status of the program. If there are several blocks, it is called
    while they still come, with one more argument: a function that waits until all are here. It must
    call that before it forks or reads from descriptor 0.
    """

    def __init__(self, function: str, arguments: Sequence[Any] = ()) -> None:
        self._facts: dict[str, Any] = {"function": function, "arguments": list(arguments)}
        self._roots = [_IMPORTER, function.partition(":")[0]]
        self._sent: set[str] = set()
        self._compressor = zlib.compressobj(9)

    def copy(self) -> Packer:
        """Return one that has packed the same blocks, and may go on with another one."""
        other = copy.copy(self)
        other._sent = set(self._sent)
        other._compressor = self._compressor.copy()
        return other

    def pack(self, modules: Iterable[str] = (), *, more: bool = False) -> bytes:
        """Return the next block, with these modules and all that they import, if it was not sent.

        The first one also has the module of the function. ``more`` is whether another one follows.
        Raises ImportError for a module without source.
        """
        roots, self._roots = [*self._roots, *modules], []
        sources = [each for each in collect_sources(roots) if each[0] not in self._sent]
        sources.sort(key=lambda each: each[0] != _IMPORTER_FILE)  # the first stage runs it
        self._sent.update(path for path, _ in sources)
        facts = {**self._facts, "index": [path for path, _ in sources], "more": more}
        self._facts = {}
        block = bytearray()
        for files in _divide(sources):
            text = "\0".join((json.dumps(facts), *files))
            facts = {}
            data = self._compressor.compress(text.encode())
            data += self._compressor.flush(zlib.Z_SYNC_FLUSH)
            size = len(data).to_bytes(4, "big")
            block += size + zlib.crc32(size + data).to_bytes(4, "big") + data
        return bytes(block)


def _divide(sources: Sequence[tuple[str, str]]) -> list[list[str]]:
    """Return the files of each part: a path, its text, the next path ... There is always a part,
    and the last one has a file if any has: the receiver looks for no more when it has all files.
    """
    parts: list[list[str]] = [[]]
    size = 0
    for path, source in sources:
        if size >= _PART_SIZE:
            parts.append([])
            size = 0
        text = source if _WAS_SENT else strip_source(source)
        parts[-1] += path, text
        size += len(text)
    return parts


def collect_sources(roots: Sequence[str]) -> list[tuple[str, str]]:
    """Return the path and the text of these modules and all that they import, each behind those
    that it imports. Modules that are none of ours are left out. Raises ImportError for a module
    without source.
    """
    found: dict[str, tuple[str, str]] = {}
    begun = set()

    def add(name: str) -> None:
        if name in begun or name.partition(".")[0] != _PACKAGE:
            return
        begun.add(name)
        add(name.rpartition(".")[0])
        path, source = _read(name)
        package = name if path.endswith("/__init__.py") else name.rpartition(".")[0]
        for match in _IMPORT.finditer(source):
            for imported in _imported(package, *match.groups()):
                add(imported)
        found[name] = path, source

    for root in roots:
        add(root)
    return list(found.values())


def has_module(name: str) -> bool:
    """Return whether we have this module of ours. One end need not have all."""
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _imported(package: str, dots: str, module: str, names: str) -> Iterator[str]:
    """Yield the modules of an import: that behind ``from``, and names that are modules."""
    home = package.split(".")
    base = ".".join(home[: len(home) - len(dots) + 1] + ([module] if module else []))
    yield base
    if not module:
        for name in re.findall(r"\w+", names):
            if has_module(f"{base}.{name}"):
                yield f"{base}.{name}"


def _read(name: str) -> tuple[str, str]:
    """Return the path and the text of a module."""
    spec = importlib.util.find_spec(name)
    # A zipimporter has the methods of InspectLoader, but is not derived from it.
    loader = cast("InspectLoader | None", spec and spec.loader)
    source = loader.get_source(name) if loader else None
    if loader is None or source is None:
        raise ImportError(f"{name} has no source to send", name=name)
    suffix = "/__init__.py" if loader.is_package(name) else ".py"
    return name.replace(".", "/") + suffix, source


def strip_source(source: str) -> str:
    """Return the source of a module of ours without comments, docstrings, the types of results and
    most of the spaces in front. Every line keeps its number.

    It knows the form of our sources only: a docstring starts its line, with three double quotes,
    and the lines are indented by four spaces.
    """
    lines = []
    within = skipping = False  # a string with three quotes; a docstring
    for line in source.split("\n"):
        bare = line.lstrip(" ")
        indented = " " * ((len(line) - len(bare)) // 4) + bare
        if not within and bare.startswith(_DOCSTRING):
            skipping = True
            spaces = indented[: -len(bare)]
            lines.append(f"{spaces}0" if spaces else "")  # a body needs a statement
        elif skipping or (not within and bare.startswith("#")):
            lines.append("")
        else:
            lines.append(line if within else _RETURNED.sub("):", _COMMENT.sub("", indented)))
        within ^= line.count(_DOCSTRING) % 2 == 1
        skipping &= within
    return "\n".join(lines)
