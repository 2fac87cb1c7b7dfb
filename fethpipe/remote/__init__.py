"""Run this program on another host, over the user's own ssh, with nothing installed there."""

from .bundle import Program, pack_program, stage_arguments
from .handshake import NotStartedError, make_marker
from .session import RemoteSession
from .ssh import RemoteEnd

__all__ = [
    "NotStartedError",
    "Program",
    "RemoteEnd",
    "RemoteSession",
    "make_marker",
    "pack_program",
    "stage_arguments",
]
