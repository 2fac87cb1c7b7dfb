"""Tell the service manager that started us how we are (sd_notify(3) of systemd)."""

from __future__ import annotations

import os
import socket
from contextlib import suppress


class ServiceManager:
    """The socket that NOTIFY_SOCKET names. Without one, nobody is told.

    Make it before the process is confined. It removes the variable, so that the programs that we
    start do not speak for us.
    """

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        name = os.environ.pop("NOTIFY_SOCKET", "")
        if name.startswith(("/", "@")):
            self._socket = _connect(f"\0{name[1:]}" if name.startswith("@") else name)

    def tell(self, message: str) -> None:
        """Send lines like ``READY=1``. Never waits."""
        if self._socket:
            with suppress(OSError):
                self._socket.send(message.encode("utf-8", "backslashreplace"))


def _connect(name: str) -> socket.socket | None:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    made.setblocking(False)
    try:
        made.connect(name)
    except OSError:
        made.close()
        return None
    return made
