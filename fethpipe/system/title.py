"""The names that ps(1) and top(1) show of our processes, where they are all one program (Linux)."""

from __future__ import annotations

import os

from .libc import load_libc

# include/uapi/linux/prctl.h
_PR_SET_NAME = 15


def set_title(name: str) -> None:
    """Call this process ``name``, of at most 15 bytes. Call it before the process is confined."""
    if os.uname().sysname == "Linux":
        load_libc().prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)
