"""What the command lines of our programs share: a parser, and functions that convert values."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from typing import NoReturn, TypeVar

from .errors import UsageError

_T = TypeVar("_T")


class Parser(argparse.ArgumentParser):
    """A parser that raises UsageError instead of ending the program."""

    def error(self, message: str) -> NoReturn:
        """Refuse the command line. Raises UsageError."""
        raise UsageError(message, hint=f"see {self.prog} --help")


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
