"""What the command lines of our programs share: a parser, and functions that convert values."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

from .errors import UsageError

_T = TypeVar("_T")


class Parser(argparse.ArgumentParser):
    """A parser that raises UsageError instead of ending the program.

    ``word_hint`` is what to do about a word that is no option.
    """

    word_hint = ""

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Return the options. Raises UsageError."""
        options, unknown = self.parse_known_args(arguments)
        if unknown:
            raise UsageError(
                f"unrecognized arguments: {' '.join(unknown)}",
                hint=self._guess(unknown[0]) or f"see {self.prog} --help",
            )
        return options

    def _guess(self, unknown: str) -> str:
        """Return what was meant, "" if nobody knows."""
        if not unknown.startswith("-"):
            return self.word_hint
        from difflib import get_close_matches  # noqa: PLC0415 - which takes its time to import

        near = get_close_matches(unknown.partition("=")[0], self._option_names(), 1)
        return f"did you mean {near[0]}?" if near else ""

    def _option_names(self) -> Iterator[str]:
        for action in self._actions:
            yield from action.option_strings
            if isinstance(action, argparse._SubParsersAction):
                for verb in action.choices.values():
                    yield from verb._option_names()

    def error(self, message: str) -> NoReturn:
        """Refuse the command line. Raises UsageError."""
        raise UsageError(message, hint=f"see {self.prog} --help")


def add_options(
    target: argparse._ActionsContainer,
    texts: Mapping[str, str],
    converters: Mapping[str, Callable[[str], object]],
    special: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Add options and positional arguments: each ``NAMES METAVAR``, with the text of its help.

    Its METAVAR decides how a value is converted. An option without one is a flag, unless it has
    choices. ``special`` has further arguments of add_argument(), by the last of the names.
    """
    for option, text in texts.items():
        *names, last = option.split(" ")
        arguments: dict[str, Any] = {"help": text}
        if not names or last.startswith("-"):
            names.append(last)
        else:
            arguments["metavar"] = last
            if last in converters:
                arguments["type"] = checked(converters[last])
        arguments.update((special or {}).get(names[-1], {}))
        if "metavar" not in arguments and "choices" not in arguments:
            arguments["action"] = "store_true"
        target.add_argument(*[name.rstrip(",") for name in names], **arguments)


def checked(convert: Callable[[str], _T]) -> Callable[[str], _T]:
    """Make argparse show the reason of a ValueError, not just the name of the converter."""

    def convert_or_tell(text: str) -> _T:
        try:
            return convert(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!a}: {error}") from error

    return convert_or_tell


def count(text: str) -> int:
    """Return the whole number that the text is. Raises ValueError with a reason for the user."""
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise ValueError("not a whole number")
    return int(text)
