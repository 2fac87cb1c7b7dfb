"""Names of interfaces, as every system takes them, and the index that tells one from the next."""

from __future__ import annotations

import re
import socket

NAME_LENGTH = 15
"""Bytes of a name: IFNAMSIZ less the zero at its end."""


def interface_index(name: str) -> int:
    """Return the index of the interface of this name, 0 if there is none."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0


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
