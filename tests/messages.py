"""The messages in the source of fethpipe, as templates: found by reading it, not by running it.

These are the errors that a user can meet, what is logged from a warning up, the reasons why the
value of an option is refused, and the reasons why a tunnel ended.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).parents[1] / "fethpipe"

# Values of options are converted in these.
_CONVERTERS = (
    "cli.py",
    "arguments.py",
    "ctl/cli.py",
    "netif/address.py",
    "netif/mac.py",
    "netif/name.py",
)
_STEPS = ("step", "system_step")
_CHILDREN = ("fork_child", "end_with")
_LEVELS = ("warning", "error")
_GAP = "\0"
_FORMATS = "%[sdra]"


class Message(NamedTuple):
    """What is said somewhere, in pieces; between two of them stands what differs each time."""

    place: str
    pieces: tuple[str, ...]

    def __str__(self) -> str:
        return "\N{HORIZONTAL ELLIPSIS}".join(self.pieces)

    @property
    def generic(self) -> bool:
        """Whether it says nothing of its own, and passes on what is said elsewhere."""
        return not re.search(r"[a-z]{3}", "".join(self.pieces).replace("cannot", ""))

    def is_told_by(self, words: str) -> bool:
        """Whether a text says this, with words in capitals where something differs each time."""
        here = ".*".join(map(re.escape, self.pieces))
        there = ".*".join(map(re.escape, re.split(r"[A-Z][A-Z]+|\b[NM]\b", words)))
        return bool(re.fullmatch(here, words) or re.fullmatch(there, "N".join(self.pieces)))


def find_messages(package: Path = PACKAGE) -> list[Message]:
    """Return every message that is not generic."""
    paths = sorted(package.rglob("*.py"))
    trees = {path: ast.parse(path.read_bytes()) for path in paths}
    errors = _error_names(list(trees.values()))
    found: list[Message] = []
    for path, tree in trees.items():
        name = path.relative_to(package).as_posix()
        kinds = errors | ({"ValueError"} if name in _CONVERTERS else set())
        for scope in _scopes(tree):
            for line, text in _Reader(scope, kinds).texts():
                found.append(Message(f"{name}:{line}", tuple(text.split(_GAP))))
    return [message for message in found if not message.generic]


def _scopes(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield each function, and what is in none."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    yield from (node for node in ast.walk(tree) if isinstance(node, functions))
    body = [node for node in tree.body if not isinstance(node, (*functions, ast.ClassDef))]
    yield ast.Module(body=body, type_ignores=[])


def _error_names(trees: list[ast.Module]) -> set[str]:
    """Return the names of FethpipeError and all that is derived from it, and of Ending."""
    names = {"FethpipeError", "Ending"}
    classes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    while True:
        bases = {node.name for node in classes for base in node.bases if _name(base) in names}
        if bases <= names:
            return names
        names |= bases


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else ""


class _Reader:
    """Find the messages of one function."""

    def __init__(self, tree: ast.AST, errors: set[str]) -> None:
        self._tree = tree
        self._errors = errors
        self._assigned: dict[str, list[ast.expr]] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    self._assigned.setdefault(_name(target), []).append(node.value)

    def texts(self) -> Iterator[tuple[int, str]]:
        """Yield line and text, with gaps."""
        for node in ast.walk(self._tree):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = _name(node.func)
            for text in self._read(node.args[0]):
                if name in self._errors:
                    yield node.lineno, text
                elif name in _STEPS:
                    yield node.lineno, f"cannot {text}: {_GAP}"
                elif name == "os_errors_as":  # of the self-test
                    yield node.lineno, f"{text}: {_GAP}"
                elif name in _CHILDREN:
                    yield node.lineno, f"{text} failed: {_GAP}"
                elif isinstance(node.func, ast.Attribute) and node.func.attr == "ask":
                    yield node.lineno, f"{text} does not answer: {_GAP}"
                elif _logs(node.func):
                    yield node.lineno, re.sub(_FORMATS, _GAP, text)

    def _read(self, node: ast.expr) -> Iterator[str]:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            texts = [""]
            for part in node.values:
                texts = [text + more for text in texts for more in self._read_part(part)]
            yield from texts
        elif isinstance(node, ast.IfExp):
            yield from self._read(node.body)
            yield from self._read(node.orelse)
        elif isinstance(node, ast.Name):
            for value in self._assigned.get(node.id, ()):
                if not isinstance(value, ast.Name):  # which might lead around in a circle
                    yield from list(self._read(value)) or [_GAP]

    def _read_part(self, part: ast.expr) -> Iterator[str]:
        if isinstance(part, ast.FormattedValue):
            inner = part.value
            resolved = (
                isinstance(inner, ast.IfExp) or len(self._assigned.get(_name(inner), ())) == 1
            )
            texts = list(self._read(inner)) if resolved else []
            yield from texts or [_GAP]
        else:
            yield from self._read(part)


def _logs(function: ast.expr) -> bool:
    return (
        isinstance(function, ast.Attribute)
        and function.attr in _LEVELS
        and _name(function.value) == "log"
    )
