"""The keeper as a program of its own, for sudo: its channel is descriptor 0.

Run as ``python3 -I FILE``: neither the environment nor the current folder decides what it imports.
"""

import socket
import sys
from pathlib import Path


def main() -> None:
    """Keep until the channel ends."""
    if not __package__:
        sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from fethpipe.channel import Channel  # noqa: PLC0415 - only now is there a path to it
    from fethpipe.keeper import keep  # noqa: PLC0415

    channel = Channel(socket.socket(fileno=0))
    channel.send({"ready": True})
    keep(channel)


if __name__ == "__main__":
    main()
