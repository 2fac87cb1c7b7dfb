"""A folder of ledgers for this test run alone.

A keeper destroys what the ledgers of dead keepers name, and some tests kill keepers. With one
folder, tests that run at the same time, or somebody's tunnel, would meet in it.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress

from fethpipe.keeper.ledger import RUNTIME_FOLDER

# include/uapi/linux/sched.h, mount.h
_CLONE_NEWNS = 0x00020000
_MS_REC, _MS_PRIVATE = 0x4000, 1 << 18


def hide_ledgers() -> None:
    """Mount an empty folder over that of the ledgers, which this process and its children see.

    Whoever may not mount cannot start a keeper either.
    """
    if os.uname().sysname != "Linux" or os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    folder = os.fsencode(RUNTIME_FOLDER)
    with suppress(FileExistsError):
        os.mkdir(folder, 0o700)
    if libc.unshare(_CLONE_NEWNS) == 0:
        libc.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None)
        libc.mount(b"tmpfs", folder, b"tmpfs", 0, b"mode=700")
