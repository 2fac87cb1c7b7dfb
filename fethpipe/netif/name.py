"""Names of interfaces, as every system takes them."""

from __future__ import annotations

import re

NAME_LENGTH = 15
"""Bytes of a name: IFNAMSIZ less the zero at its end."""


def check_name(text: str) -> str:
    """Return the name of an interface; ``%d`` may stand for a number that the kernel chooses.

    Raises ValueError, with a reason that a person can read.
    """
    if len(text.encode()) > NAME_LENGTH:
        raise ValueError(f"an interface name has at most {NAME_LENGTH} bytes")
    if not re.fullmatch(r"[!-~]+", text) or re.search(r"[/:]", text) or text in {".", ".."}:
        raise ValueError("not an interface name")
    if "%" in text and (text.count("%") > 1 or "%d" not in text):
        raise ValueError("only one %d may stand for a number")
    return text
