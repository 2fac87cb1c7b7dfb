"""Names of interfaces that every system accepts, and the index of an interface."""

from __future__ import annotations

import re
import socket

NAME_LENGTH = 15
"""The longest name in bytes: IFNAMSIZ without the zero at the end."""


def interface_index(name: str) -> int:
    """Return the index of the interface of this name, 0 if there is none."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0


def check_name(text: str) -> str:
    """Return the name if it is valid. It may contain one ``%d``: the kernel puts a number there.

    Raises ValueError with a reason for the user.
    """
    if len(text.encode()) > NAME_LENGTH:
        raise ValueError(f"an interface name has at most {NAME_LENGTH} bytes")
    if not re.fullmatch(r"[!-~]+", text) or re.search(r"[/:]", text) or text in {".", ".."}:
        raise ValueError("not an interface name")
    if "%" in text and (text.count("%") > 1 or "%d" not in text):
        raise ValueError("a name may contain one %d, and no other %")
    return text
